"""Models by their names on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from ...errors import UserError, one_line

__all__ = ["HUB", "snapshot"]

HUB = "hf:"
NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def snapshot(spec: str, what: str) -> Path:
    """The folder with the files of `hf:OWNER/NAME[@REVISION]`, fetched where they are not in the hub's cache yet. Of
    weights in both kinds of file only safetensors is fetched.

    Raises UserError, in one line: offline (HF_HUB_OFFLINE=1) without a copy, no such model, no connection.
    """
    name = spec.removeprefix(HUB)
    if not NAME.fullmatch(name):
        raise UserError(f"{what}: a name on the hub is hf:OWNER/NAME or hf:OWNER/NAME@REVISION")
    name, _, revision = name.partition("@")
    try:
        from huggingface_hub import constants, hf_hub_download, snapshot_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError:
        raise UserError(f"{what} needs diffusers: pip install 'samplerbench[diffusers]'") from None
    try:
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=["*.json"]))
        inside = "unet/" if (folder / "unet").is_dir() else ""
        for ending in ("safetensors", "bin"):
            file = f"{inside}diffusion_pytorch_model.{ending}"
            if (folder / file).is_file():
                break
            try:
                hf_hub_download(name, file, revision=folder.name)
                break
            except LocalEntryNotFoundError:
                if ending == "bin":
                    raise
            except EntryNotFoundError:
                continue
    except Exception as error:  # whatever the hub, its client or the connection have to say
        if constants.HF_HUB_OFFLINE:
            raise UserError(
                f"{what} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it: name a folder, or fetch it "
                f"where there is a connection: hf download {name}"
            ) from None
        raise UserError(f"{what} cannot be fetched from the hub: {one_line(error)}") from None
    return folder
