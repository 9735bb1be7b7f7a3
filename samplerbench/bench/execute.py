"""Runs cells: their shards, from a pool, their metrics, and one record each at the end."""

from __future__ import annotations

import datetime
import traceback
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import torch

from .. import __version__
from ..errors import one_line
from ..metrics.measured import Measured
from .maker import Failure, Made
from .measure import Measurements, Measurer
from .plan import Planned, RunConfig
from .pools.pool import Pool, Told
from .record import Record, Value
from .shards import PARTS, Shard
from .task import ShardTask, tasks_of
from .worker import Worker

__all__ = ["Executor", "Listener", "Outcome"]


class Listener:
    """What a run tells while it goes on; every method does nothing here."""

    def plan(self, cells: list[Planned], samples: int) -> None:
        """The cells are known."""

    def start(self, cell: Planned) -> None:
        """A cell begins."""

    def advance(self, cell: Planned, samples: int) -> None:
        """So many more samples of the cell are done."""

    def finish(self, cell: Planned, record: Record) -> None:
        """A cell has ended, whatever its status."""

    def working(self, text: str) -> None:
        """How far a long computation of a metric has come, in place of what it said before."""

    def notice(self, text: str) -> None:
        """Something the user should know."""

    def end(self, status: str) -> None:
        """The run is finished, interrupted or aborted."""


@dataclass
class Outcome:
    """A cell's record, what was measured, and a traceback where a plugin failed."""

    record: Record
    measured: Measurements | None = None
    details: str = ""


@dataclass
class Executor:
    """Runs cells: a pool makes their shards, and each is measured when its last one is there."""

    config: RunConfig
    worker: Worker
    measurer: Measurer
    pool: Pool
    listener: Listener = field(default_factory=Listener)

    def run(self, cells: Sequence[Planned]) -> Generator[tuple[Planned, Outcome], None, None]:
        """The outcomes of cells, as they end. What a sampler raises becomes a failed record; KeyboardInterrupt passes
        through.
        """
        left: dict[str, _Cell] = {}
        for planned in cells:
            if planned.cell.times is None:
                yield planned, self._unplanned(planned)
            else:
                left[planned.cell.key] = _Cell(planned, self.record(planned))
        tasks = [task for key in left for task in tasks_of(left[key].planned.cell, self.config.samples)]
        begun: set[str] = set()

        def start(task: ShardTask) -> None:
            if task.cell.key not in begun:
                begun.add(task.cell.key)
                self.listener.start(left[task.cell.key].planned)

        def advance(task: ShardTask, samples: int) -> None:
            if task.cell.key in left:
                self.listener.advance(left[task.cell.key].planned, samples)

        results = self.pool.make(tasks, lambda task: task.cell.key in left, Told(start, advance, self.listener.notice))
        with closing(results):
            for result in results:
                cell = left[result.task.cell.key]
                cell.results[result.task.index] = result.outcome
                if isinstance(result.outcome, Failure) or len(cell.results) == cell.shards(self.config.samples):
                    del left[result.task.cell.key]
                    yield cell.planned, self._outcome(cell)

    def _unplanned(self, planned: Planned) -> Outcome:
        record = self.record(planned)
        record.status, record.reason = ("failed" if planned.details else "skipped"), planned.reason
        return Outcome(record, details=planned.details)

    def _outcome(self, cell: _Cell) -> Outcome:
        record, details = cell.record, ""
        measured: Measurements | None = None
        for outcome in cell.results.values():
            if isinstance(outcome, Failure):
                record.status, record.reason, details = outcome.status, outcome.reason, outcome.details
                record.batch_size = self.worker.batch_size
                break
        else:
            made = [outcome for _, outcome in sorted(cell.results.items()) if isinstance(outcome, Made)]
            try:
                shards = [one.shard for one in made]
                _account(record, shards, sum(one.cached for one in made))
                measured = self.measurer.measure(cell.planned.cell, cell.planned.sampler, shards)
            except Exception as error:
                record.status, record.reason, details = "failed", one_line(error), traceback.format_exc()
            else:
                for metric, code in self.measurer.metrics:
                    record.metrics[metric.name] = _value(measured.found.get(metric.name), self.config.samples, code)
                record.reason, details = "; ".join(measured.reasons), measured.details
                record.seconds_metrics = round(measured.seconds, 4)
                record.seconds = round(record.seconds_metrics + _drawing(record), 4)
                for one in made:
                    if one.writing is not None:
                        one.writing.result()  # what can be kept is on the disk before the row
        record.finished = _now()
        return Outcome(record, measured, details)

    def record(self, planned: Planned) -> Record:
        """The record of a cell before it is run: its conditions."""
        cell, model, reference = planned.cell, self.worker.model, self.measurer.reference
        return Record(
            key=cell.key,
            model=model.name,
            sampler=cell.sampler,
            spacing=planned.sampler.spacing,
            final=planned.sampler.final,
            budget=cell.budget,
            steps=None if cell.times is None else len(cell.times) - 1,
            samples=self.config.samples,
            seed=cell.seed,
            batch_size=self.worker.batch_size,
            device=self.worker.device,
            dtype=cell.dtype,
            extractor=cell.extractor[0],
            reference_count=reference.statistics.count,
            reference_features=None if reference.features is None else len(reference.features),
            model_sha256=cell.model,
            sampler_sha256=cell.code,
            extractor_sha256=cell.extractor[2],
            reference_sha256=reference.sha256,
            torch=cell.torch,
            samplerbench=__version__,
            finished=_now(),
        )


@dataclass
class _Cell:
    """A cell that is being run. results: of its shards, by their numbers."""

    planned: Planned
    record: Record
    results: dict[int, Made | Failure] = field(default_factory=dict)

    def shards(self, samples: int) -> int:
        return len(tasks_of(self.planned.cell, samples))


def _account(record: Record, shards: Sequence[Shard], cached: int) -> None:
    """What the samples took goes into the record."""
    whole = [batch for shard in shards for batch in shard.batches]
    record.cached = cached
    record.nfe = float(torch.cat([shard.evaluations for shard in shards]).mean())
    record.passes = float(torch.cat([shard.passes for shard in shards]).mean())
    for part in PARTS:
        setattr(record, f"seconds_{part}", round(sum(getattr(batch, part) for batch in whole), 4))
    record.images_per_second = round(sum(map(len, shards)) / max(_drawing(record), 1e-4), 3)
    record.memory_mb = max(batch.memory for batch in whole)
    record.batch_size = max(batch.samples for batch in whole)
    record.hardware = " and ".join(dict.fromkeys(batch.hardware for batch in whole))


def _drawing(record: Record) -> float:
    """Seconds without those of metrics."""
    return float(sum(getattr(record, f"seconds_{part}") for part in PARTS))


def _value(measured: Measured | None, samples: int, code: str) -> Value:
    if measured is None:
        return Value()
    se = None if measured.se is None else float(measured.se)
    return Value(float(measured.value), se, samples if measured.count is None else measured.count, code)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
