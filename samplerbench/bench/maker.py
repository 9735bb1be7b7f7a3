"""Makes shards: what the cache has of one is read, what it lacks is drawn and written."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import one_line
from ..registry import Registry
from .cached import describe
from .shards import Shard, ShardCache
from .task import ShardTask
from .worker import Unsuitable, Worker

__all__ = ["Failure", "Made", "Maker"]


@dataclass(frozen=True)
class Made:
    """A shard. cached: how many of its samples were there already. kept: whether it is in the cache."""

    shard: Shard
    cached: int
    kept: bool = True


@dataclass(frozen=True)
class Failure:
    """Why a cell has no samples. status: skipped or failed. details: a plugin's traceback."""

    status: str
    reason: str
    details: str = ""


@dataclass
class Maker:
    """A worker and the cache that it fills."""

    worker: Worker
    registry: Registry
    cache: ShardCache
    cell: str = ""  # the key of the last one

    def make(self, task: ShardTask, advance: Callable[[int], None] = lambda samples: None) -> Made | Failure:
        """The shard of a task. What a sampler raises is a Failure; KeyboardInterrupt passes through."""
        try:
            return self._make(task, advance)
        except Unsuitable as error:
            return Failure("skipped", str(error))
        except Exception as error:
            return Failure("failed", one_line(error), traceback.format_exc())

    def _make(self, task: ShardTask, advance: Callable[[int], None]) -> Made:
        if self.cell != task.cell.key:
            self.cell = task.cell.key
            self.worker.start()
        cell, wanted, extractor = task.cell, task.samples, self.worker.extractor
        entry = self.registry.entry(self.registry.sampler(cell.sampler).name)
        shard, kept = self.cache.load(cell.key, task.index), True
        there = 0 if shard is None else min(len(shard), len(wanted))
        if there:
            advance(there)
        if there < len(wanted):
            new = self.worker.draw(
                cell,
                wanted[there:],
                lambda module: entry.accounts_for(module) or extractor.accounts_for(module),
                advance,
            )
            for used in (entry, self.registry.find("extractors", extractor.extractor.name)):
                used.confirm()
            shard = new if shard is None else Shard.joined([shard, new])
            kept = self.cache.save(cell.key, task.index, shard)
            if kept:
                describe(self.cache.root, cell, self.worker.model.name)
        assert shard is not None
        return Made(shard.first(len(wanted)), there, kept)
