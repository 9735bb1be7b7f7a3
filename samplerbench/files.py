"""Reading and writing the few kinds of files there are, without pickle, with one clear line when one is not what it
should be.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load_weights", "read_json", "save_weights", "sha256"]


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The object in a JSON file; `what` names its owner in errors."""
    if not path.is_file():
        raise UserError(f"{what}: {path.parent} has no {path.name}")
    try:
        value = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{what}: {path.name} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{what}: {path.name} must hold a JSON object")
    return value


def save_weights(module: nn.Module, path: Path, dtype: str = "float32") -> None:
    """Writes a module's state as safetensors, its floats in `dtype`: float32 or float16."""
    import torch
    from safetensors.torch import save

    floats = {"float32": torch.float32, "float16": torch.float16}[dtype]
    state = {n: value.to(floats) if value.is_floating_point() else value for n, value in module.state_dict().items()}
    path.write_bytes(save({name: value.contiguous().clone() for name, value in state.items()}))


def load_weights(module: nn.Module, path: Path, what: str) -> None:
    """Fills `module` from a safetensors file, or says what does not fit. Pickled checkpoints are refused."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        pickles = [p.name for suffix in ("*.pt", "*.pth", "*.ckpt", "*.bin", "*.pkl") for p in path.parent.glob(suffix)]
        if pickles:
            raise UserError(
                f"{what}: {pickles[0]} is a pickle, which can run code when loaded, and is refused; "
                "convert it where you trust it: "
                f"safetensors.torch.save_file(torch.load('{pickles[0]}', weights_only=True), '{path.name}')"
            )
        raise UserError(f"{what}: {path.parent} has no {path.name}")
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        head = path.read_bytes()[:2]
        if head in (b"PK", b"\x80\x02"):
            raise UserError(
                f"{what}: {path.name} is a pickle with another ending, and is refused; save it as safetensors"
            ) from None
        raise UserError(f"{what}: {path.name} is truncated or not safetensors ({error})") from None
    expected = module.state_dict()
    missing, extra = expected.keys() - state.keys(), state.keys() - expected.keys()
    if missing or extra:
        listed = ", ".join(
            [*(f"lacks {n}" for n in sorted(missing)[:2]), *(f"has unexpected {n}" for n in sorted(extra)[:2])]
        )
        raise UserError(f"{what}: {path.name} does not fit config.json: it {listed}")
    for name, value in state.items():
        if value.shape != expected[name].shape:
            raise UserError(
                f"{what}: {path.name} does not fit config.json: "
                f"{name} is {list(value.shape)}, expected {list(expected[name].shape)}"
            )
    module.load_state_dict(state)
