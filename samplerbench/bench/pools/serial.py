"""One worker, in this process: a task is made when its result is asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial

from ..maker import Maker
from ..task import Task
from .pool import Pool, Result, Told

__all__ = ["SerialPool"]


@dataclass
class SerialPool(Pool):
    """maker: whose worker it is."""

    maker: Maker

    def make(self, tasks: Sequence[Task], wanted: Callable[[Task], bool], told: Told) -> Generator[Result, None, None]:
        try:
            for task in filter(wanted, tasks):
                told.start(task)
                yield Result(task, self.maker.make(task, partial(told.advance, task), partial(told.found, task)))
        finally:
            self.maker.finish()
