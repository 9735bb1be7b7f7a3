"""Finished work on disk: the features of a cell's samples, a shard of `SHARD` samples a file, found again by the cell's
key. Metrics are computed from them, so another metric later draws no sample again.

The number of samples is not in the key, so more samples later compute only what is missing. Files are written whole or
not at all, with a checksum over all that they say: one that is damaged is reported and made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..files import Damaged, arrays_as_bytes, load_about, load_arrays, write_whole

__all__ = ["KEPT", "PARTS", "SHARD", "Batch", "Gathered", "Shard", "ShardCache", "as_bytes"]

SHARD = 1024
KEPT = 256  # samples of a cell that are kept as they are


@dataclass(frozen=True)
class Batch:
    """How consecutive samples were drawn: on what, how many seconds each part took, and at most how much memory.

    network: the networks behind ε. sampler: the sampler and its noise besides. decoding: the decoder of a latent model.
    features: the extractor. waiting: all else that the worker did for them: checks, copies, the disk. memory: in 10⁶
    bytes; of a GPU, or of the whole process on a CPU. at_once: how many were drawn together, of which these are some.
    """

    samples: int
    hardware: str
    network: float
    sampler: float
    decoding: float
    features: float
    waiting: float
    memory: int
    at_once: int

    def some(self, count: int) -> Batch:
        """So many of its samples, with their share of the time."""
        share = count / self.samples
        return replace(self, samples=count, **{part: share * getattr(self, part) for part in PARTS})


PARTS = ("network", "sampler", "decoding", "features", "waiting")


@dataclass(frozen=True)
class Shard:
    """The first n samples of a shard, or of several shards one behind the other.

    Attributes:
        features: float32 [n, D]. logits: float32 [n, K].
        x0: float32 [k, C, H, W], the first k of them as they are, where they are among the first `KEPT` of their cell.
        evaluations: float64 [n], evaluations of ε; passes: float64 [n], rows through networks.
        batches: how they were drawn, n samples in all.
    """

    features: Tensor
    logits: Tensor
    x0: Tensor
    evaluations: Tensor
    passes: Tensor
    batches: tuple[Batch, ...]

    def __post_init__(self) -> None:
        n = len(self.features)
        counts = [
            len(self.logits),
            len(self.evaluations),
            len(self.passes),
            sum(batch.samples for batch in self.batches),
        ]
        if any(count != n for count in counts) or len(self.x0) > n:
            raise ValueError(f"a shard of {n} features has {counts} of the rest and {len(self.x0)} samples")

    def __len__(self) -> int:
        return len(self.features)

    def first(self, count: int) -> Shard:
        """The shard of its first samples alone."""
        return self.part(0, min(count, len(self)))

    def part(self, start: int, end: int) -> Shard:
        """The shard of its samples from start to before end."""
        batches, at = [], 0
        for batch in self.batches:
            count = min(at + batch.samples, end) - max(at, start)
            at += batch.samples
            if count > 0:
                batches.append(batch.some(count))
        return Shard(**{name: tensor[start:end] for name, tensor in self.tensors().items()}, batches=tuple(batches))

    def with_waiting(self, seconds: float) -> Shard:
        """The same, of which it is known that all took so long: what no batch has counted is waiting."""
        left = max(seconds - sum(getattr(batch, part) for batch in self.batches for part in PARTS), 0.0)
        each = left / len(self)
        batches = tuple(replace(one, waiting=one.waiting + each * one.samples) for one in self.batches)
        return replace(self, batches=batches)

    @classmethod
    def joined(cls, shards: Sequence[Shard]) -> Shard:
        """Shards one behind the other."""
        tensors = {name: torch.cat([shard.tensors()[name] for shard in shards]) for name in TENSORS}
        return cls(**tensors, batches=tuple(batch for shard in shards for batch in shard.batches))

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return {name: getattr(self, name) for name in TENSORS}


class Gathered:
    """A cell's shards as they come, put together without a second copy of what is large.

    samples: n, of the cell.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self._tensors: dict[str, Tensor] = {}
        self._batches: dict[int, tuple[Batch, ...]] = {}

    def add(self, first: int, shard: Shard) -> None:
        """The shard of the samples from `first` on."""
        for name, tensor in shard.tensors().items():
            if name == "x0":
                if first == 0:
                    self._tensors[name] = tensor
                continue
            if name not in self._tensors:
                self._tensors[name] = tensor.new_empty(self.samples, *tensor.shape[1:])
            self._tensors[name][first : first + len(shard)] = tensor
        self._batches[first] = shard.batches

    def whole(self) -> Shard:
        """All of the cell's samples."""
        return Shard(**self._tensors, batches=tuple(one for _, some in sorted(self._batches.items()) for one in some))


TENSORS = ("features", "logits", "x0", "evaluations", "passes")


class ShardCache:
    """The shards under a folder.

    Args:
        notice: told, in one line, of a damaged shard and of a folder that cannot be written; neither stops a run.
        fresh: what was there before counts for nothing, so that everything is computed anew (and written).
        beside: folders with more of them, which are read where this one has less: a run's own, for example.
    """

    def __init__(
        self, root: Path, notice: Callable[[str], None], fresh: bool = False, beside: Sequence[Path] = ()
    ) -> None:
        self.root, self.notice, self.fresh, self.beside = root, notice, fresh, beside
        self._writable = True

    def path(self, key: str, index: int) -> Path:
        return _path(self.root, key, index)

    def load(self, key: str, index: int) -> Shard | None:
        """Shard `index` of a cell, however many samples of it there are, the longest that is anywhere; None where there
        is none that can be used.
        """
        return None if self.fresh else self.read(key, index)

    def read(self, key: str, index: int) -> Shard | None:
        """The same of what was written in this run too, if it is fresh."""
        found = [
            shard for root in (self.root, *self.beside) if (shard := self._read(_path(root, key, index), key, index))
        ]
        return max(found, key=len, default=None)

    def length(self, key: str, index: int) -> int:
        """How many samples of a shard there are, by what files say that nobody has checked."""
        roots = () if self.fresh else (self.root, *self.beside)
        return max((_length(_path(root, key, index)) for root in roots), default=0)

    def _read(self, source: Path | bytes, key: str, index: int, told: bool = True) -> Shard | None:
        try:
            arrays, about = load_arrays(source)
            if about["key"] != key or about["index"] != index:
                raise Damaged("it is another's")
            tensors = {name: torch.from_numpy(arrays[name]) for name in TENSORS}
            for name in ("features", "x0", "evaluations", "passes"):
                if not torch.isfinite(tensors[name]).all():
                    raise Damaged(f"its {name} are not finite")
            return Shard(**tensors, batches=tuple(Batch(**batch) for batch in about["batches"]))
        except FileNotFoundError:
            return None
        except (Damaged, KeyError, TypeError, ValueError) as error:
            which = f"shard {source}" if isinstance(source, Path) else "a shard that was sent"
            if told:
                self.notice(f"{which} is damaged ({error}) and is made again")
            return None

    def save(self, key: str, index: int, shard: Shard) -> bool:
        """Writes a shard, unless there is a longer one; whether it is there now. Where writing fails the run goes on
        without.
        """
        if not self._writable:
            return False
        path = self.path(key, index)

        def longer() -> bool:
            """Whether another has drawn more of it meanwhile."""
            if self.fresh or not path.is_file():
                return False
            return len(self._read(path, key, index, told=False) or ()) > len(shard)

        try:
            if not longer():
                write_whole(path, as_bytes(key, index, shard), longer)
        except OSError as error:
            self._writable = False
            self.notice(f"{self.root} cannot be written ({error.strerror or error}); this run cannot be gone on with")
        return self._writable

    def take(self, key: str, index: int, data: bytes) -> Shard | None:
        """Reads the bytes of a shard that another made, and writes it; None where they are none."""
        shard = self._read(data, key, index)
        if shard is not None:
            self.save(key, index, shard)
        return shard


def as_bytes(key: str, index: int, shard: Shard) -> bytes:
    """The bytes of a shard's file."""
    arrays = {name: tensor.numpy() for name, tensor in shard.tensors().items()}
    return arrays_as_bytes(arrays, {"key": key, "index": index, "batches": [asdict(batch) for batch in shard.batches]})


def _length(path: Path) -> int:
    with suppress(Damaged, FileNotFoundError, KeyError, TypeError):
        return sum(int(batch["samples"]) for batch in load_about(path)["batches"])
    return 0


def _path(root: Path, key: str, index: int) -> Path:
    return root / key[:2] / key / f"{index:05d}.safetensors"
