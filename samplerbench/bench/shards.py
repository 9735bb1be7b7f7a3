"""Finished work on disk: the features of a cell's samples, a shard of `SHARD` samples a file, found again by content.
Metrics are computed from them, so another metric later draws no sample again.

A cell's key is the hash of everything that its features depend on: model and extractor bytes, the plugin's source,
options and times, budget, seed, precision, device type, torch and our own code. The number of samples is not in it, so
more samples later compute only what is missing; the batch size is not, because it changes nothing but rounding. Files
are written whole or not at all, and carry a checksum: one that is damaged is reported and made again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

__all__ = ["KEPT", "SHARD", "Shard", "ShardCache", "code_sha256", "content_key", "default_cache"]

SHARD = 1024
KEPT = 256  # samples of a cell that are kept as they are


@dataclass(frozen=True)
class Shard:
    """features: float32 [n, D] of the shard's first n samples, and logits [n, K]; x0: float32 [k, C, H, W], the first k
    of them as they are, where they are among the first `KEPT` of their cell; nfe: evaluations a sample, their mean.
    """

    features: Tensor
    logits: Tensor
    x0: Tensor
    nfe: float

    def __len__(self) -> int:
        return len(self.features)

    def first(self, count: int) -> Shard:
        """The shard of its first samples alone."""
        return Shard(self.features[:count], self.logits[:count], self.x0[:count], self.nfe)

    def followed_by(self, other: Shard) -> Shard:
        """This shard with further samples behind it."""
        nfe = (self.nfe * len(self) + other.nfe * len(other)) / (len(self) + len(other))
        more = other.tensors()
        return Shard(**{name: torch.cat([tensor, more[name]]) for name, tensor in self.tensors().items()}, nfe=nfe)

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return {"features": self.features, "logits": self.logits, "x0": self.x0}


def content_key(content: dict[str, Any]) -> str:
    """The hash of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@cache
def code_sha256() -> str:
    """The hash of the code that samples and features go through, so that a change of it is not served old numbers."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for part in ("diffusion", "models", "images.py", "sampling.py", "metrics/cnn.py", "metrics/extractors.py"):
        path = root / part
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def default_cache() -> Path:
    """$SAMPLERBENCH_CACHE, or a folder under the user's cache."""
    return Path(os.environ.get("SAMPLERBENCH_CACHE") or Path.home() / ".cache" / "samplerbench" / "shards")


class ShardCache:
    """The shards under a folder.

    Args:
        notice: told, in one line, of a damaged shard and of a folder that cannot be written; neither stops a run.
        fresh: read nothing, so that everything is computed anew (and written).
    """

    def __init__(self, root: Path, notice: Callable[[str], None], fresh: bool = False) -> None:
        self.root, self.notice, self.fresh = root, notice, fresh
        self._writable = True

    def path(self, key: str, index: int) -> Path:
        return self.root / key[:2] / key / f"{index:05d}.safetensors"

    def load(self, key: str, index: int) -> Shard | None:
        """Shard `index` of a cell, however many samples of it there are; None where there is none that can be used."""
        path = self.path(key, index)
        if self.fresh or not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                metadata = json.loads(file.metadata()["json"])
                tensors = {name: file.get_tensor(name) for name in ("features", "logits", "x0")}
            shard = Shard(**tensors, nfe=float(metadata["nfe"]))
            if metadata["sha256"] != _checksum(shard):
                raise ValueError("its checksum is wrong")
            return shard
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            self.notice(f"shard {path} is damaged ({error}) and is made again")
            return None

    def save(self, key: str, index: int, shard: Shard) -> None:
        """Writes a shard. Where that fails the run goes on without."""
        if not self._writable:
            return
        path = self.path(key, index)
        part = path.with_suffix(f".{os.getpid()}.part")
        tensors = {name: tensor.contiguous() for name, tensor in shard.tensors().items()}
        metadata = {"nfe": shard.nfe, "sha256": _checksum(shard)}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(save(tensors, metadata={"json": json.dumps(metadata)}))
            part.replace(path)
        except OSError as error:
            self._writable = False
            with suppress(OSError):
                part.unlink(missing_ok=True)
            self.notice(f"{self.root} cannot be written ({error.strerror or error}); this run cannot be gone on with")


def _checksum(shard: Shard) -> str:
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in shard.tensors().values())).hexdigest()
