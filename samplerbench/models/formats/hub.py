"""Models by their names on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from ...errors import UserError, one_line
from ...files import read_json
from .diffusers_index import PIPELINES
from .diffusers_parts import STEM

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
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=["*.json", "tokenizer*/*"]))
        for files in _weights(folder, what):
            for file in files:
                try:
                    if not (folder / file).is_file():
                        hf_hub_download(name, file, revision=folder.name)
                    break
                except LocalEntryNotFoundError:
                    if file == files[-1]:
                        raise
                except EntryNotFoundError:
                    continue
    except UserError:
        raise
    except Exception as error:  # whatever the hub, its client or the connection have to say
        if constants.HF_HUB_OFFLINE:
            raise UserError(
                f"{what} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it: name a folder, or fetch it "
                f"where there is a connection: hf download {name}"
            ) from None
        raise UserError(f"{what} cannot be fetched from the hub: {one_line(error)}") from None
    return folder


def _weights(folder: Path, what: str) -> list[list[str]]:
    """The files of weights that a model with these JSON files has; of each list the first that there is."""
    index = read_json(folder / "model_index.json", what) if (folder / "model_index.json").is_file() else {}
    pipeline = PIPELINES.get(str(index.get("_class_name")))
    stems = [f"{'unet/' if (folder / 'unet').is_dir() else ''}{STEM}"]
    if pipeline is not None:
        encoders = [name for name in pipeline.parts if name.startswith("text_encoder") and (folder / name).is_dir()]
        stems = [f"{pipeline.network}/{STEM}", f"{pipeline.decoder}/{STEM}", *(f"{name}/model" for name in encoders)]
    found = []
    for stem in stems:
        table = folder / f"{stem}.safetensors.index.json"
        if table.is_file():
            named = read_json(table, what).get("weight_map")
            shards = sorted(set(named.values())) if isinstance(named, dict) else []
            found += [[f"{stem.rpartition('/')[0]}/{shard}".removeprefix("/")] for shard in shards]
        else:
            found.append([f"{stem}.safetensors", f"{stem}.bin"])
    return found
