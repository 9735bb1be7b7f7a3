"""Makes shards: what the cache has of one is read, what it lacks is drawn and written."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from ..errors import one_line
from ..registry import Registry
from .cached import describe
from .cell import Cell
from .shards import Shard, ShardCache
from .task import FilmTask, ShardTask, Task
from .trajectory import trajectory
from .worker import Unsuitable, Worker

__all__ = ["Failure", "Filmed", "Made", "Maker", "arrived", "nobody"]


@dataclass(frozen=True)
class Made:
    """The shard of a task, or all of its shards one behind the other. cached: how many of its samples were there
    already. writing: whether it will be in the cache.
    """

    shard: Shard
    cached: int
    writing: Future[bool] | None = None

    @property
    def kept(self) -> bool:
        """Whether it is in the cache, once that is known."""
        return self.writing is None or self.writing.result()


@dataclass(frozen=True)
class Filmed:
    """The picture of how a cell's first samples came to be. png: its bytes."""

    png: bytes


@dataclass(frozen=True)
class Failure:
    """Why a cell has no samples, or no film. status: skipped or failed. details: a plugin's traceback."""

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
        self, task: Task, advance: Callable[[int], None] = nobody, found: Callable[[int], None] = nobody
    ) -> Made | Filmed | Failure:
        """The shard of a task. advance: told of samples as they are drawn; found: of those that were there already.

        What a sampler raises is a Failure; KeyboardInterrupt passes through.
        """
        try:
            if isinstance(task, FilmTask):
                return Filmed(trajectory(self.worker, task.cell, task.rows))
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
        cell, parts, writing = task.cell, task.shards(), None
        shards = {part: shard for part in parts if (shard := self.cache.load(cell.key, part.index))}
        there = {part: min(len(shards.get(part, ())), part.count) for part in parts}
        if cached := sum(there.values()):
            found(cached)
        missing = [part for part in parts if there[part] < part.count]
        for some in _consecutive(missing, there):
            wanted = range(some[0].first + there[some[0]], some[-1].samples.stop)
            new = self._drawn(cell, wanted, advance).with_waiting(time.perf_counter() - started)
            for part in some:
                begin = part.first + there[part] - wanted.start
                mine = new.part(begin, part.samples.stop - wanted.start)
                shards[part] = Shard.joined([shards[part], mine]) if part in shards else mine
            started = time.perf_counter()
        if missing:
            writing = self._writer.submit(self._write, [(part, shards[part]) for part in missing])
            self._writing.append(writing)
        return Made(_whole([shards[part].first(part.count) for part in parts]), cached, writing)

    def _drawn(self, cell: Cell, wanted: range, advance: Callable[[int], None]) -> Shard:
        extractor = self.worker.extractor
        entry = self.registry.entry(self.registry.sampler(cell.sampler).name)
        guiders = [self.registry.find("guiders", self.registry.guider(spec).name) for spec in cell.guidance[:1]]

        def accounted(module: str) -> bool:
            return extractor.accounts_for(module) or any(one.accounts_for(module) for one in (entry, *guiders))

        new = self.worker.draw(cell, wanted, accounted, advance)
        for used in (entry, self.registry.find("extractors", extractor.extractor.name), *guiders):
            used.confirm()
        return new

    def promised(self, task: ShardTask) -> bool:
        """Whether files in the cache say that they have all of it; `there` says whether they are whole."""
        return all(self.cache.length(task.cell.key, part.index) >= part.count for part in task.shards())

    def there(self, task: ShardTask) -> Made | None:
        """The shard of a task where the cache has all of it."""
        shards = []
        for part in task.shards():
            shard = self.cache.load(task.cell.key, part.index)
            if shard is None or len(shard) < part.count:
                return None
            shards.append(shard.first(part.count))
        return Made(_whole(shards), task.count)

    def _write(self, shards: Sequence[tuple[ShardTask, Shard]]) -> bool:
        kept = all([self.cache.save(task.cell.key, task.index, shard) for task, shard in shards])
        if kept:
            describe(self.cache.root, shards[0][0].cell, self.worker.model.name)
        return kept

    def finish(self) -> None:
        """Waits until all that was made is written."""
        while self._writing:
            self._writing.popleft().result()


def arrived(cache: ShardCache, task: Task, cached: int, data: Sequence[bytes] | None) -> Made | Filmed | Failure:
    """What another has made of a task: it is in the cache, or was sent shard by shard, and goes there. A film is sent.

    cached: how many of its samples were there already.
    """
    if isinstance(task, FilmTask):
        return Filmed(data[0]) if data else Failure("failed", "a worker sent no film")
    shards = []
    for k, part in enumerate(task.shards()):
        where = task.cell.key, part.index
        shard = cache.read(*where) if data is None else cache.take(*where, data[k])
        if shard is None or len(shard) < part.count:
            return Failure("failed", f"the shard that a worker wrote to {cache.root} is not there")
        shards.append(shard.first(part.count))
    return Made(_whole(shards), cached)


def _whole(shards: Sequence[Shard]) -> Shard:
    return shards[0] if len(shards) == 1 else Shard.joined(shards)


def _consecutive(missing: Sequence[ShardTask], there: Mapping[ShardTask, int]) -> list[list[ShardTask]]:
    """Shards whose missing samples are one range, together."""
    runs: list[list[ShardTask]] = []
    for part in missing:
        if runs and runs[-1][-1].samples.stop == part.first + there[part]:
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs


AHEAD = 2  # tasks whose shards are being written while the next one is drawn
