"""Runs one cell: samples in batches, features as they come, statistics in a stream, one record at the end."""

from __future__ import annotations

import datetime
import time
import traceback
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..diffusion.denoiser import Denoiser
from ..diffusion.grid import TimeGrid
from ..diffusion.noise import NoiseSource
from ..errors import UserError, one_line
from ..images import quantise
from ..metrics.extractors import Extractor
from ..metrics.frechet import Moments, frechet_distance, frechet_influences, standard_error
from ..metrics.reference import Reference
from ..models.model import Model
from ..models.predictor import epsilon_of
from ..sampling import draw
from .plan import Cell, RunConfig
from .record import Record
from .shards import SHARD, Shard, ShardCache, code_sha256, content_key

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


@dataclass
class Outcome:
    """A cell's record, the first samples for its picture (uint8 [N, C, H, W]), and a traceback where a plugin
    failed.
    """

    record: Record
    images: Tensor | None = None
    influences: np.ndarray | None = None
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
    listener: Listener = field(default_factory=Listener)

    def __post_init__(self) -> None:
        self.state_dtype = torch.float64 if self.config.dtype == "float64" else torch.float32
        predictor = self.model.predictor.to(memory_format=torch.channels_last).to(self.device, self.state_dtype)
        self.epsilon = epsilon_of(predictor, self.model.schedule, self.config.dtype)

    def run(self, cell: Cell) -> Outcome:
        """The outcome of a cell. What a sampler raises becomes a failed record; KeyboardInterrupt passes through."""
        record = self.record(cell)
        if cell.grid is None:
            record.status, record.reason = ("failed" if cell.details else "skipped"), cell.reason
            return Outcome(record, details=cell.details)
        started = time.perf_counter()
        try:
            outcome = self._sample(cell, cell.grid, record)
        except Exception as error:
            record.status, record.reason = "failed", one_line(error)
            return Outcome(record, details=traceback.format_exc())
        finally:
            record.seconds = round(time.perf_counter() - started, 3)
            record.finished = _now()
            record.batch_size = self.batch_size
        drawn = self.config.samples - (record.cached or 0)
        record.images_per_second = round(drawn / record.seconds, 2) if drawn else None
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
                new = self._draw(cell, grid, wanted[there:], max(GRID - wanted[there], 0))
                shard = new if shard is None else shard.followed_by(new, GRID)
                self.cache.save(record.key, start // SHARD, shard)
            assert shard is not None
            shards.append(shard.first(len(wanted)))
        features = torch.cat([shard.features for shard in shards])
        moments = Moments(features.shape[1])
        for shard in shards:
            moments.add(shard.features)
        statistics, reference = moments.statistics(), self.reference.statistics
        record.nfe = sum(shard.nfe * len(shard) for shard in shards) / len(features)
        record.fid = frechet_distance(statistics, reference)
        influences = frechet_influences(features, statistics, reference)
        record.fid_se = None if influences is None else standard_error(influences)
        return Outcome(record, shards[0].images, influences)

    def _draw(self, cell: Cell, grid: TimeGrid, indices: range, pictures: int) -> Shard:
        """The samples `indices`, in batches that are halved where memory runs out; the first `pictures` as images."""
        shard: Shard | None = None
        done = 0
        while done < len(indices):
            batch = indices[done : done + self.batch_size]
            try:
                images, features, nfe = self._batch(cell, grid, batch)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _out_of_memory(error) or len(batch) == 1:
                    raise
                self.batch_size = max(len(batch) // 2, 1)
                self.listener.notice(f"out of memory: going on with batches of {self.batch_size}")
                if self.device.startswith("cuda"):
                    torch.cuda.empty_cache()
                continue
            new = Shard(features.float().cpu(), images[: max(pictures - done, 0)].cpu(), nfe)
            shard = new if shard is None else shard.followed_by(new, pictures)
            done += len(batch)
            self.listener.advance(cell, len(batch))
        assert shard is not None
        return shard

    def _batch(self, cell: Cell, grid: TimeGrid, indices: range) -> tuple[Tensor, Tensor, float]:
        noise = NoiseSource(self.config.seed, indices, self.model.image_shape, self.device, self.state_dtype)
        x0, nfe = draw(cell.sampler, Denoiser(self.epsilon, len(indices), cell.budget), grid, noise.x_T(), noise)
        images = quantise(x0)
        features = self.extractor(images)
        if not torch.isfinite(features).all():
            raise ValueError("the features of some samples are not finite")
        return images, features, nfe

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
