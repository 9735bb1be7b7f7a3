"""Runs one cell: its shards, from the cache or from the worker, its metrics, and one record at the end."""

from __future__ import annotations

import datetime
import traceback
from dataclasses import dataclass, field

import torch

from .. import __version__
from ..errors import one_line
from ..metrics.measured import Measured
from ..registry import Registry
from .measure import Measurements, Measurer
from .plan import Planned, RunConfig
from .record import Record, Value
from .shards import SHARD, Shard, ShardCache
from .worker import Unsuitable, Worker

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
    """Runs cells, one after the other."""

    config: RunConfig
    registry: Registry
    worker: Worker
    measurer: Measurer
    cache: ShardCache
    listener: Listener = field(default_factory=Listener)

    def run(self, planned: Planned) -> Outcome:
        """The outcome of a cell. What a sampler raises becomes a failed record; KeyboardInterrupt passes through."""
        record = self.record(planned)
        if planned.cell.times is None:
            record.status, record.reason = ("failed" if planned.details else "skipped"), planned.reason
            return Outcome(record, details=planned.details)
        try:
            shards = self._shards(planned, record)
            measured = self.measurer.measure(planned.cell, planned.sampler, shards)
        except Unsuitable as error:
            record.status, record.reason = "skipped", str(error)
            return Outcome(record)
        except Exception as error:
            record.status, record.reason = "failed", one_line(error)
            return Outcome(record, details=traceback.format_exc())
        finally:
            record.finished = _now()
            record.batch_size = self.worker.batch_size
        for metric, code in self.measurer.metrics:
            record.metrics[metric.name] = _value(measured.found.get(metric.name), self.config.samples, code)
        record.reason = "; ".join(measured.reasons)
        return Outcome(record, measured, measured.details)

    def _shards(self, planned: Planned, record: Record) -> list[Shard]:
        """The shards of a cell's samples; what they took goes into the record."""
        cell, shards, record.cached = planned.cell, [], 0
        entry, extractor = self.registry.entry(planned.sampler.name), self.worker.extractor
        self.worker.start()
        for start in range(0, self.config.samples, SHARD):
            wanted = range(start, min(start + SHARD, self.config.samples))
            shard = self.cache.load(cell.key, start // SHARD)
            there = 0 if shard is None else min(len(shard), len(wanted))
            record.cached += there
            if there:
                self.listener.advance(planned, there)
            if there < len(wanted):
                new = self.worker.draw(
                    cell,
                    wanted[there:],
                    lambda module: entry.accounts_for(module) or extractor.accounts_for(module),
                    lambda samples: self.listener.advance(planned, samples),
                )
                for used in (entry, self.registry.find("extractors", extractor.extractor.name)):
                    used.confirm()
                shard = new if shard is None else Shard.joined([shard, new])
                self.cache.save(cell.key, start // SHARD, shard)
            assert shard is not None
            shards.append(shard.first(len(wanted)))
        whole = [batch for shard in shards for batch in shard.batches]
        record.nfe = float(torch.cat([shard.evaluations for shard in shards]).mean())
        record.passes = float(torch.cat([shard.passes for shard in shards]).mean())
        parts = [sum(batch.sampling for batch in whole), sum(batch.decoding for batch in whole)]
        parts.append(sum(batch.features for batch in whole))
        record.seconds = round(sum(parts), 3)
        record.seconds_sampling, record.seconds_decoding, record.seconds_features = (round(p, 3) for p in parts)
        record.hardware = " and ".join(dict.fromkeys(batch.hardware for batch in whole))
        return shards

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


def _value(measured: Measured | None, samples: int, code: str) -> Value:
    if measured is None:
        return Value()
    se = None if measured.se is None else float(measured.se)
    return Value(float(measured.value), se, samples if measured.count is None else measured.count, code)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
