"""Runs one cell: samples in batches, features as they come, statistics in a stream, one record at the end."""

from __future__ import annotations

import datetime
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..data import load_images
from ..diffusion.denoiser import Denoiser
from ..diffusion.grid import TimeGrid
from ..diffusion.noise import NoiseSource
from ..errors import UserError, one_line
from ..images import quantise
from ..metrics.extractors import Extractor
from ..metrics.measured import Unmeasurable
from ..metrics.metric import Drawn, Metric
from ..metrics.reference import Reference
from ..models.model import Model
from ..sampling import draw
from .keep import Keeper
from .plan import Cell, RunConfig
from .record import Record, Value
from .shards import KEPT, SHARD, Shard, ShardCache, code_sha256, content_key

__all__ = ["Executor", "Listener", "Outcome", "resolve_device"]

GRID = 64  # samples kept for a cell's picture


class Listener:
    """What a run tells while it goes on; every method does nothing here."""

    def plan(self, cells: list[Cell], samples: int) -> None:
        """The cells are known."""

    def start(self, cell: Cell) -> None:
        """A cell begins."""

    def advance(self, cell: Cell, samples: int) -> None:
        """So many more samples of the cell are done."""

    def finish(self, cell: Cell, record: Record) -> None:
        """A cell has ended, whatever its status."""

    def notice(self, text: str) -> None:
        """Something the user should know."""


class Unsuitable(Exception):
    """A sampler needs something that this model does not have."""


@dataclass
class Outcome:
    """A cell's record, the first samples for its picture (uint8 [N, C, H, W]), the influences [n] of its samples on
    each metric that has them, and a traceback where a plugin failed.
    """

    record: Record
    images: Tensor | None = None
    influences: dict[str, np.ndarray] = field(default_factory=dict)
    details: str = ""


@dataclass
class Executor:
    """Runs cells on one device. `batch_size` is halved for good where memory runs out."""

    model: Model
    extractor: Extractor
    reference: Reference
    config: RunConfig
    device: str
    batch_size: int
    cache: ShardCache
    metrics: Sequence[Metric]
    listener: Listener = field(default_factory=Listener)

    def __post_init__(self) -> None:
        self.state_dtype = torch.float64 if self.config.dtype == "float64" else torch.float32
        self.model.predictor.to(memory_format=torch.channels_last).to(self.device, self.state_dtype)
        self.epsilon = self.model.epsilon(self.config.dtype)
        self.keeper = Keeper(self.cache.root, self.listener.notice, self.config.fresh)

    def run(self, cell: Cell) -> Outcome:
        """The outcome of a cell. What a sampler raises becomes a failed record; KeyboardInterrupt passes through."""
        record = self.record(cell)
        if cell.grid is None:
            record.status, record.reason = ("failed" if cell.details else "skipped"), cell.reason
            return Outcome(record, details=cell.details)
        started = time.perf_counter()
        try:
            outcome = self._sample(cell, cell.grid, record)
        except Unsuitable as error:
            record.status, record.reason = "skipped", str(error)
            return Outcome(record)
        except Exception as error:
            record.status, record.reason = "failed", one_line(error)
            return Outcome(record, details=traceback.format_exc())
        finally:
            record.seconds = round(time.perf_counter() - started, 3)
            record.finished = _now()
            record.batch_size = self.batch_size
        return outcome

    def _sample(self, cell: Cell, grid: TimeGrid, record: Record) -> Outcome:
        shards, record.cached = [], 0
        for start in range(0, self.config.samples, SHARD):
            wanted = range(start, min(start + SHARD, self.config.samples))
            shard = self.cache.load(record.key, start // SHARD)
            there = 0 if shard is None else min(len(shard), len(wanted))
            record.cached += there
            if there:
                self.listener.advance(cell, there)
            if there < len(wanted):
                new = self._draw(cell, grid, wanted[there:])
                shard = new if shard is None else shard.followed_by(new)
                self.cache.save(record.key, start // SHARD, shard)
            assert shard is not None
            shards.append(shard.first(len(wanted)))
        record.nfe = sum(shard.nfe * len(shard) for shard in shards) / self.config.samples
        features, logits = (torch.cat([s.tensors()[name] for s in shards]) for name in ("features", "logits"))
        drawn = Drawn(
            features=features,
            logits=logits if logits.shape[1] else None,
            x0=shards[0].x0,
            reference=self.reference,
            sampler=cell.sampler,
            grid=grid,
            epsilon=self.epsilon,
            seed=self.config.seed,
            device=self.device,
            dtype=self.state_dtype,
            keep=self._keep,
            real_images=self._real_images,
            notice=self.listener.notice,
        )
        outcome = Outcome(record, quantise(drawn.x0[:GRID]))
        self._measure(drawn, outcome)
        return outcome

    def _measure(self, drawn: Drawn, outcome: Outcome) -> None:
        """Every metric of a cell. One that fails costs its own column."""
        record, reasons = outcome.record, []
        for metric in self.metrics:
            record.metrics[metric.name] = Value()
            try:
                measured = metric.measure(drawn)
            except Unmeasurable as error:
                reasons.append(str(error))
                continue
            except Exception as error:
                reasons.append(f"{metric.name} failed: {one_line(error)}")
                outcome.details += traceback.format_exc()
                continue
            count = measured.count or len(drawn.features)
            record.metrics[metric.name] = Value(
                float(measured.value), None if measured.se is None else float(measured.se), count
            )
            if measured.influences is not None:
                outcome.influences[metric.name] = measured.influences
        record.reason = "; ".join(reasons)

    def _keep(self, name: str, identity: dict[str, Any], compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        known = {
            "model": self.model.sha256,
            "dtype": self.config.dtype,
            "seed": self.config.seed,
            "device": self.device.partition(":")[0],
            "torch": torch.__version__,
            "code": code_sha256(),
        }
        return self.keeper(name, known | {"identity": identity}, compute)

    def _real_images(self) -> Tensor:
        recipe = self.model.config.get("training", {}).get("recipe", {})
        name = recipe.get("data", {}).get("dataset")
        if not name:
            raise Unmeasurable(f"model '{self.model.name}' does not say which dataset it was trained on")
        try:
            return load_images(name, self.config.data_root, train=False).images
        except UserError as error:
            raise Unmeasurable(str(error)) from None

    def _draw(self, cell: Cell, grid: TimeGrid, indices: range) -> Shard:
        """The samples `indices`, in batches that are halved where memory runs out."""
        shard: Shard | None = None
        done = 0
        while done < len(indices):
            batch = indices[done : done + self.batch_size]
            try:
                new = self._batch(cell, grid, batch)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _out_of_memory(error) or len(batch) == 1:
                    raise
                self.batch_size = max(len(batch) // 2, 1)
                self.listener.notice(f"out of memory: going on with batches of {self.batch_size}")
                if self.device.startswith("cuda"):
                    torch.cuda.empty_cache()
                continue
            shard = new if shard is None else shard.followed_by(new)
            done += len(batch)
            self.listener.advance(cell, len(batch))
        assert shard is not None
        return shard

    def _batch(self, cell: Cell, grid: TimeGrid, indices: range) -> Shard:
        noise = NoiseSource(self.config.seed, indices, self.model.image_shape, self.device, self.state_dtype)
        denoiser = Denoiser(self.epsilon, len(indices), cell.budget)
        try:
            x0, nfe = draw(cell.sampler, denoiser, grid, noise.x_T(), noise)
        except UserError as error:
            raise Unsuitable(str(error)) from None
        features, logits = self.extractor.with_logits(quantise(x0))
        if not torch.isfinite(features).all():
            raise ValueError("the features of some samples are not finite")
        kept = x0[: max(KEPT - indices[0], 0)]
        return Shard(features.float().cpu(), logits.float().cpu(), kept.float().cpu(), nfe)

    def key(self, cell: Cell) -> str:
        """The content key of a cell's features; see `shards.py`."""
        return content_key(
            {
                "model": self.model.sha256,
                "sampler": [cell.sampler.name, cell.origin.source_sha256, vars(cell.sampler)],
                "times": cell.grid.times if cell.grid else None,
                "budget": cell.budget,
                "asked": [cell.axis, cell.value],
                "seed": self.config.seed,
                "dtype": self.config.dtype,
                "device": self.device.partition(":")[0],
                "extractor": [self.extractor.name, self.extractor.layer, self.extractor.sha256],
                "torch": torch.__version__,
                "code": code_sha256(),
            }
        )

    def record(self, cell: Cell) -> Record:
        """The record of a cell before it is run: its conditions."""
        return Record(
            key=self.key(cell),
            model=self.model.name,
            sampler=cell.sampler.spec(),
            spacing=cell.sampler.spacing,
            final=cell.sampler.final,
            budget=cell.budget,
            steps=cell.grid.steps if cell.grid else None,
            samples=self.config.samples,
            seed=self.config.seed,
            device=self.device,
            dtype=self.config.dtype,
            extractor=self.extractor.name,
            reference_count=self.reference.statistics.count,
            reference_features=None if self.reference.features is None else len(self.reference.features),
            model_sha256=self.model.sha256,
            sampler_sha256=cell.origin.source_sha256,
            extractor_sha256=self.extractor.sha256,
            reference_sha256=self.reference.sha256,
            torch=torch.__version__,
            samplerbench=__version__,
            finished=_now(),
        )


def resolve_device(name: str) -> str:
    """'auto' -> the GPU where there is one, else the CPU. Raises UserError for a device that is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device '{name}': expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cpu" and device.index is not None:
        raise UserError(f"--device {name}: the CPU has no number; use --device cpu")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"unknown device '{name}': expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        count = torch.cuda.device_count()
        raise UserError(f"--device {name}: this machine has {count} usable CUDA devices; use --device cpu, or auto")
    return name


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
