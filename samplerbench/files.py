"""Reading and writing the few kinds of files there are, without pickle, with one clear line when one is not what it
should be.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "LOCK",
    "PART",
    "Damaged",
    "arrays_as_bytes",
    "content_key",
    "fill",
    "load_about",
    "load_arrays",
    "load_weights",
    "locked",
    "read_json",
    "save_arrays",
    "save_weights",
    "sha256",
    "sha256_of_all",
    "write_whole",
]

PART = ".part"  # the ending of a file that is still being written
LOCK = ".lock"  # who has it replaces files in its folder


class Damaged(Exception):
    """A file that is not as it was written; the message says how that shows."""


def content_key(content: Any) -> str:
    """The hash of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def write_whole(path: Path, data: bytes, stays: Callable[[], bool] | None = None) -> None:
    """Writes a file whole or not at all, and on the disk when it returns. Raises OSError; nothing is left then.

    The name that it has until then tells host, process and call apart, so that many may write into one folder. stays:
    asked whether what is there is better; nobody else who asks replaces the file meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}{PART}")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if stays is None:
            part.replace(path)
            return
        with locked(path.parent / LOCK):
            if not stays():
                part.replace(path)
        part.unlink(missing_ok=True)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One at a time, of all processes that name this file. Where the disk knows no locks, all at once."""
    with path.open("a") as file:
        with suppress(ImportError, OSError):
            from fcntl import LOCK_EX, flock

            flock(file, LOCK_EX)
        yield


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], about: dict[str, Any]) -> None:
    """Writes arrays and plain values about them as safetensors, with a checksum over both. Raises OSError."""
    write_whole(path, arrays_as_bytes(arrays, about))


def arrays_as_bytes(arrays: Mapping[str, np.ndarray], about: dict[str, Any]) -> bytes:
    """The bytes of the file that `save_arrays` writes."""
    from safetensors.numpy import save

    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    # one entry: several would come in an order that differs from call to call
    text = json.dumps({"about": about, "sha256": _checksum(whole, about)}, sort_keys=True)
    data: bytes = save(whole, metadata={"json": text})
    return data


def load_arrays(source: Path | bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `save_arrays` wrote, or `arrays_as_bytes` gave. Raises FileNotFoundError where there is no file, and
    Damaged.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load

    if isinstance(source, Path) and not source.is_file():
        raise FileNotFoundError(source)
    try:
        if isinstance(source, Path):
            with safe_open(source, framework="numpy") as file:
                said = json.loads((file.metadata() or {})["json"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        else:
            arrays = load(source)
            header = json.loads(source[8 : 8 + int.from_bytes(source[:8], "little")])
            said = json.loads(header["__metadata__"]["json"])
        about: dict[str, Any] = said["about"]
        if said["sha256"] != _checksum(arrays, about):
            raise Damaged("its checksum is wrong")
    except KeyError as error:
        raise Damaged(f"it lacks {error}") from None
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise Damaged(str(error)) from None
    return arrays, about


def load_about(path: Path) -> dict[str, Any]:
    """What such a file says of its arrays, which are not read; the checksum is not compared. Raises as `load_arrays`
    does.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        with safe_open(path, framework="numpy") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {})["json"])["about"]
    except KeyError as error:
        raise Damaged(f"it lacks {error}") from None
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise Damaged(str(error)) from None
    return about


def _checksum(arrays: Mapping[str, np.ndarray], about: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def sha256_of_all(path: Path) -> dict[str, str]:
    """The hashes of all files in a folder, by their paths below it; of a file its own, named '.'. Raises OSError."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return {file.relative_to(path).as_posix(): sha256(file) for file in files}


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The object in a JSON file; `what` names its owner in errors."""
    if not path.is_file():
        raise UserError(f"{what}: {path.parent} has no {path.name}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{what}: {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
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
    """Fills `module` from a safetensors file, or says what does not fit. Pickled checkpoints are refused. A module on
    device `meta` takes the file's tensors for its own.
    """
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
    except PermissionError:
        raise UserError(f"{what}: {path} may not be read") from None
    except (SafetensorError, OSError) as error:
        head = path.read_bytes()[:2]
        if head in (b"PK", b"\x80\x02"):
            raise UserError(
                f"{what}: {path.name} is a pickle with another ending, and is refused; save it as safetensors"
            ) from None
        raise UserError(f"{what}: {path.name} is truncated or not safetensors ({error})") from None
    fill(module, state, f"{what}: {path.name}", "config.json")


def fill(
    module: nn.Module,
    state: Mapping[str, Tensor],
    what: str,
    config: str,
    named: Callable[[str], str] = lambda name: name,
) -> None:
    """Fills `module` from tensors by name, all of them and no others; `what` names their file in errors, `config` what
    the module was made from, `named` a tensor as the file does. A module on device `meta` takes the tensors for its
    own.
    """
    import torch

    expected = module.state_dict()
    missing, extra = expected.keys() - state.keys(), state.keys() - expected.keys()
    if missing or extra:
        told = (("lacks", missing), ("has unexpected", extra))
        listed = ", ".join(
            f"{verb} {name}"
            for verb, names in told
            for name in [*dict.fromkeys(named(name) for name in sorted(names))][:2]
        )
        raise UserError(f"{what} does not fit {config}: it {listed}")
    for name, value in state.items():
        if value.shape != expected[name].shape:
            raise UserError(
                f"{what} does not fit {config}: {named(name)} is {list(value.shape)}, expected "
                f"{list(expected[name].shape)}"
            )
        if value.is_floating_point() != expected[name].is_floating_point() or value.is_complex():
            raise UserError(f"{what}: {named(name)} is {value.dtype}, expected {expected[name].dtype}")
        if not torch.isfinite(value).all():
            raise UserError(f"{what}: {named(name)} has values that are not finite")
    # copies: what is mapped from a file changes when that is written over
    own = {name: value.to(expected[name].dtype, copy=True) for name, value in state.items()}
    module.load_state_dict(own, assign=True)
