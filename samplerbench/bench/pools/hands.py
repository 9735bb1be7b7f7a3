"""What a crew asks of workers, whatever they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from ..task import Task
from .events import Event

__all__ = ["Hands"]


class Hands(ABC):
    """Workers by the number of their place, 0 to count-1. queued: whether they may have to wait for a place that others
    hold.
    """

    count: int
    queued = False

    @abstractmethod
    def begin(self, place: int) -> None:
        """Starts a worker; it is heard of by `wait`."""

    @abstractmethod
    def give(self, place: int, task: Task) -> None:
        """One more task for it; it does them in their order."""

    @abstractmethod
    def wait(self, seconds: float | None) -> Iterable[Event]:
        """All that has been said since, at least one thing, or nothing when so many seconds are over. Workers may be
        begun and ended between two things.
        """

    @abstractmethod
    def end(self, place: int) -> None:
        """Ends a worker, whatever it is doing; nothing more is heard of it."""

    @abstractmethod
    def close(self) -> None:
        """All is done."""
