"""Makes shards: what the cache has of one is read, what it lacks is drawn and written."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from ..errors import one_line
from ..registry import Registry
from .cached import describe
from .shards import Shard, ShardCache
from .task import ShardTask
from .worker import Unsuitable, Worker

__all__ = ["Failure", "Made", "Maker", "nobody"]


@dataclass(frozen=True)
class Made:
    """A shard. cached: how many of its samples were there already. writing: whether it will be in the cache."""

    shard: Shard
    cached: int
    writing: Future[bool] | None = None

    @property
    def kept(self) -> bool:
        """Whether it is in the cache, once that is known."""
        return self.writing is None or self.writing.result()


@dataclass(frozen=True)
class Failure:
    """Why a cell has no samples. status: skipped or failed. details: a plugin's traceback."""

    status: str
    reason: str
    details: str = ""


def nobody(samples: int) -> None:
    """Is told and does nothing."""


@dataclass
class Maker:
    """A worker and the cache that it fills. Shards are hashed and written in a thread, while the next one is drawn."""

    worker: Worker
    registry: Registry
    cache: ShardCache
    cell: str = ""  # the key of the last one
    _writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "shards"))
    _writing: deque[Future[bool]] = field(default_factory=deque)

    def make(
        self, task: ShardTask, advance: Callable[[int], None] = nobody, found: Callable[[int], None] = nobody
    ) -> Made | Failure:
        """The shard of a task. advance: told of samples as they are drawn; found: of those that were there already.

        What a sampler raises is a Failure; KeyboardInterrupt passes through.
        """
        try:
            return self._make(task, advance, found)
        except Unsuitable as error:
            return Failure("skipped", str(error))
        except Exception as error:
            return Failure("failed", one_line(error), traceback.format_exc())

    def _make(self, task: ShardTask, advance: Callable[[int], None], found: Callable[[int], None]) -> Made:
        if self.cell != task.cell.key:
            self.cell = task.cell.key
            self.worker.start()
        started = time.perf_counter()
        while len(self._writing) >= AHEAD:
            self._writing.popleft().result()
        cell, wanted, extractor = task.cell, task.samples, self.worker.extractor
        entry = self.registry.entry(self.registry.sampler(cell.sampler).name)
        shard, writing = self.cache.load(cell.key, task.index), None
        there = 0 if shard is None else min(len(shard), len(wanted))
        if there:
            found(there)
        if there < len(wanted):
            new = self.worker.draw(
                cell,
                wanted[there:],
                lambda module: entry.accounts_for(module) or extractor.accounts_for(module),
                advance,
            )
            for used in (entry, self.registry.find("extractors", extractor.extractor.name)):
                used.confirm()
            new = new.with_waiting(time.perf_counter() - started)
            shard = new if shard is None else Shard.joined([shard, new])
            writing = self._writer.submit(self._write, task, shard)
            self._writing.append(writing)
        assert shard is not None
        return Made(shard.first(len(wanted)), there, writing)

    def _write(self, task: ShardTask, shard: Shard) -> bool:
        kept = self.cache.save(task.cell.key, task.index, shard)
        if kept:
            describe(self.cache.root, task.cell, self.worker.model.name)
        return kept

    def finish(self) -> None:
        """Waits until all that was made is written."""
        while self._writing:
            self._writing.popleft().result()


AHEAD = 2  # shards that are being written while the next one is drawn
