"""What needs no worker: shards that the cache has whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from ..maker import Failure, Maker
from ..task import FilmTask, ShardTask, Task
from .pool import Pool, Result, Told

__all__ = ["Known"]


@dataclass
class Known(Pool):
    """maker: whose cache is looked into. rest: makes what is not there; where all is, no worker of it begins.

    A cell that the cache has in part is not begun before a worker has made some of the rest, be it the film: what is
    there of all such cells does not fit into memory.
    """

    maker: Maker
    rest: Pool

    def make(self, tasks: Sequence[Task], wanted: Callable[[Task], bool], told: Told) -> Generator[Result, None, None]:
        cells: defaultdict[str, list[Task]] = defaultdict(list)
        for task in tasks:
            cells[task.cell.key].append(task)
        left: list[Task] = []
        later: dict[str, list[ShardTask]] = {}
        for key, mine in cells.items():
            there, missing = self._divided(mine)
            if missing:
                left += missing
                later[key] = there
                continue
            for task in filter(wanted, there):
                if (found := self._found(task, told)) is None:
                    left.append(task)
                else:
                    yield found
        with closing(self.rest.make(left, wanted, told)) as results:
            for result in results:
                if isinstance(result.task, FilmTask) or not isinstance(result.outcome, Failure):
                    for task in later.pop(result.task.cell.key, ()):
                        gone = Failure("failed", f"a shard in {self.maker.cache.root} was there, and is not any more")
                        yield self._found(task, told) or Result(task, gone)
                yield result

    def _divided(self, tasks: Sequence[Task]) -> tuple[list[ShardTask], list[Task]]:
        """The tasks of a cell of which the cache has all, and the others. Where it seems to have the whole cell,
        nothing is read twice.
        """
        there: list[ShardTask] = []
        missing: list[Task] = []
        whole = all(isinstance(task, ShardTask) and self.maker.promised(task) for task in tasks)
        for task in tasks:
            if isinstance(task, ShardTask) and (whole or self.maker.there(task)):
                there.append(task)
            else:
                missing.append(task)
        return there, missing

    def _found(self, task: ShardTask, told: Told) -> Result | None:
        """What the cache has, if it has all of a task."""
        if (made := self.maker.there(task)) is None:
            return None
        told.start(task)
        told.found(task, task.count)
        return Result(task, made)
