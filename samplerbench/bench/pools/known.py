"""What needs no worker: shards that the cache has whole."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from ..maker import Maker
from ..task import ShardTask
from .pool import Pool, Result, Told

__all__ = ["Known"]


@dataclass
class Known(Pool):
    """maker: whose cache is looked into. rest: makes what is not there; where all is, no worker of it begins."""

    maker: Maker
    rest: Pool

    def make(
        self, tasks: Sequence[ShardTask], wanted: Callable[[ShardTask], bool], told: Told
    ) -> Generator[Result, None, None]:
        left = []
        for task in filter(wanted, tasks):
            if (made := self.maker.there(task)) is None:
                left.append(task)
                continue
            told.start(task)
            told.found(task, task.count)
            yield Result(task, made)
        yield from self.rest.make(left, wanted, told)
