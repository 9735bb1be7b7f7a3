"""Who makes shards and films: here, one after the other, or several workers at once. The same shards from each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from ..maker import Failure, Filmed, Made
from ..task import Task

__all__ = ["Pool", "Result", "Told"]


@dataclass(frozen=True)
class Result:
    """What became of a task."""

    task: Task
    outcome: Made | Filmed | Failure


@dataclass(frozen=True)
class Told:
    """Whom a pool tells of what goes on. start: a task is begun. advance: so many more of its samples are
    drawn. notice: a line that the user should know. found: so many of its samples were there already.
    """

    start: Callable[[Task], None]
    advance: Callable[[Task, int], None]
    notice: Callable[[str], None]
    found: Callable[[Task, int], None] = lambda task, samples: None


class Pool(ABC):
    """Makes the shards and films of a run."""

    @abstractmethod
    def make(self, tasks: Sequence[Task], wanted: Callable[[Task], bool], told: Told) -> Generator[Result, None, None]:
        """The results of tasks, as they come; each once. wanted: asked before a task is begun; one that is not wanted
        any more has no result. Closing the iterator ends what still goes on.
        """
