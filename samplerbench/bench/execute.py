"""Runs one cell: samples in batches, features as they come, statistics in a stream, one record at the end."""

from __future__ import annotations

import datetime
import time
import traceback
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .. import __version__
from ..diffusion.denoiser import Denoiser
from ..diffusion.noise import NoiseSource
from ..errors import UserError, one_line
from ..images import quantise
from ..metrics.extractors import Extractor
from ..metrics.frechet import Moments, frechet_distance, frechet_standard_error
from ..metrics.reference import Reference
from ..models.model import Model
from ..models.predictor import epsilon_of
from ..sampling import draw
from .plan import Cell, RunConfig
from .record import Record

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
    listener: Listener = field(default_factory=Listener)

    def __post_init__(self) -> None:
        self.state_dtype = torch.float64 if self.config.dtype == "float64" else torch.float32
        predictor = self.model.predictor.to(memory_format=torch.channels_last).to(self.device, self.state_dtype)
        self.epsilon = epsilon_of(predictor, self.model.schedule, self.config.dtype)

    def run(self, cell: Cell) -> Outcome:
        """The outcome of a cell. What a sampler raises becomes a failed record; KeyboardInterrupt passes through."""
        record = self._record(cell)
        if cell.grid is None:
            record.status, record.reason = ("failed" if cell.details else "skipped"), cell.reason
            return Outcome(record, details=cell.details)
        started = time.perf_counter()
        try:
            outcome = self._sample(cell, record)
        except Exception as error:
            record.status, record.reason = "failed", one_line(error)
            return Outcome(record, details=traceback.format_exc())
        finally:
            record.seconds = round(time.perf_counter() - started, 3)
            record.finished = _now()
            record.batch_size = self.batch_size
        record.images_per_second = round(self.config.samples / record.seconds, 2)
        return outcome

    def _sample(self, cell: Cell, record: Record) -> Outcome:
        moments: Moments | None = None
        kept: list[Tensor] = []
        known: list[Tensor] = []
        done, evaluations = 0, 0.0
        while done < self.config.samples:
            indices = range(done, min(done + self.batch_size, self.config.samples))
            try:
                images, features, nfe = self._batch(cell, indices)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _out_of_memory(error) or len(indices) == 1:
                    raise
                self.batch_size = max(len(indices) // 2, 1)
                self.listener.notice(f"out of memory: going on with batches of {self.batch_size}")
                if self.device.startswith("cuda"):
                    torch.cuda.empty_cache()
                continue
            moments = moments or Moments(features.shape[1])
            moments.add(features)
            known.append(features.cpu())
            if done < GRID:
                kept.append(images[: GRID - done].cpu())
            done += len(indices)
            evaluations += nfe * len(indices)
            self.listener.advance(cell, len(indices))
        assert moments is not None
        record.nfe = evaluations / done
        statistics, reference = moments.statistics(), self.reference.statistics
        record.fid = frechet_distance(statistics, reference)
        record.fid_se = frechet_standard_error(torch.cat(known), statistics, reference)
        return Outcome(record, torch.cat(kept))

    def _batch(self, cell: Cell, indices: range) -> tuple[Tensor, Tensor, float]:
        assert cell.grid is not None
        noise = NoiseSource(self.config.seed, indices, self.model.image_shape, self.device, self.state_dtype)
        x0, nfe = draw(cell.sampler, Denoiser(self.epsilon, len(indices), cell.budget), cell.grid, noise.x_T(), noise)
        images = quantise(x0)
        return images, self.extractor(images), nfe

    def _record(self, cell: Cell) -> Record:
        return Record(
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
