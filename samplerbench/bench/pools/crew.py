"""Several workers at once, whatever they are: who gets which task, and what is done when one of them dies.

A shard is a file under a key of all that it depends on, so a task may be done twice, and nothing is lost with a worker
but what it had in hand. A task is given out again twice at most. A place where workers die three times in a row without
having made anything is given up.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

from ...errors import UserError
from ..maker import Failure, Made
from ..task import ShardTask, largest_first
from .pool import Pool, Result, Told

__all__ = ["Advanced", "Crew", "Died", "Event", "Finished", "Hands", "Noticed", "Ready", "Unfit"]

AGAIN = 2  # how often a task is given out again
DEATHS = 3  # in a row, after which a place is given up
AHEAD = 2  # tasks that a worker has at once: it need not wait for the next


@dataclass(frozen=True)
class Event:
    """What a worker says. place: its number."""

    place: int


@dataclass(frozen=True)
class Ready(Event):
    """It has loaded what it needs. about: its device, by name."""

    about: str


@dataclass(frozen=True)
class Unfit(Event):
    """It cannot work, and no other in its place could. reason: in a line."""

    reason: str


@dataclass(frozen=True)
class Advanced(Event):
    """So many more samples of the task that it is at."""

    samples: int


@dataclass(frozen=True)
class Finished(Event):
    """The task that it was at, or why there is nothing of it."""

    outcome: Made | Failure


@dataclass(frozen=True)
class Noticed(Event):
    """A line that the user should know."""

    text: str


@dataclass(frozen=True)
class Died(Event):
    """It is gone, with what it had in hand. reason: in a line."""

    reason: str


class Hands(ABC):
    """Workers by the number of their place, 0 to count-1."""

    count: int

    @abstractmethod
    def begin(self, place: int) -> None:
        """Starts a worker; it is heard of by `wait`."""

    @abstractmethod
    def give(self, place: int, task: ShardTask) -> None:
        """One more task for it; it does them in their order."""

    @abstractmethod
    def wait(self, seconds: float | None) -> list[Event]:
        """What has been said since, at least one thing, or nothing when so many seconds are over."""

    @abstractmethod
    def end(self, place: int) -> None:
        """Ends a worker, whatever it is doing; nothing more is heard of it."""

    @abstractmethod
    def close(self) -> None:
        """All is done."""


@dataclass
class _Place:
    """What is known of a place: the tasks that its worker has, the first of which it is at since `since`."""

    tasks: deque[ShardTask] = field(default_factory=deque)
    since: float = 0.0
    deaths: int = 0
    ready: bool = False
    open: bool = True


class Crew(Pool):
    """Tasks, and hands to do them.

    timeout: seconds that workers may spend on one cell, all together; None for any number.
    """

    def __init__(self, hands: Hands, timeout: float | None = None) -> None:
        self.hands, self.timeout = hands, timeout

    def make(
        self, tasks: Sequence[ShardTask], wanted: Callable[[ShardTask], bool], told: Told
    ) -> Generator[Result, None, None]:
        self._left, self._wanted, self._told = deque(largest_first(tasks)), wanted, told
        self._again: Counter[ShardTask] = Counter()
        self._spent: Counter[str] = Counter()
        self._places = [_Place() for _ in range(min(self.hands.count, len(tasks)))]
        try:
            for number in range(len(self._places)):
                self.hands.begin(number)
            while self._left or any(place.tasks for place in self._places):
                self._give_out()
                if not any(place.tasks or not place.ready for place in self._places if place.open):
                    break  # what is left is not wanted any more
                for event in self.hands.wait(self._patience()):
                    yield from self._heard(event)
                yield from self._late()
        finally:
            for number, place in enumerate(self._places):
                if place.open:
                    self.hands.end(number)
            self.hands.close()

    def _give_out(self) -> None:
        """Tasks for workers that have less than they should, those with the least first."""
        free = [number for number, place in enumerate(self._places) if place.open and place.ready]
        for depth in range(AHEAD):
            for number in free:
                place = self._places[number]
                if len(place.tasks) > depth or (task := self._next()) is None:
                    continue
                if not place.tasks:
                    self._begun(place, task)
                place.tasks.append(task)
                self.hands.give(number, task)

    def _next(self) -> ShardTask | None:
        while self._left:
            task = self._left.popleft()
            if self._wanted(task):
                return task
        return None

    def _begun(self, place: _Place, task: ShardTask) -> None:
        place.since = time.monotonic()
        self._told.start(task)

    def _heard(self, event: Event) -> Iterator[Result]:
        place = self._places[event.place]
        match event:
            case Ready():
                place.ready = True
            case Noticed():
                self._told.notice(event.text)
            case Advanced():
                if place.tasks:
                    self._told.advance(place.tasks[0], event.samples)
            case Finished():
                task = self._put_down(place)
                place.deaths = 0
                if place.tasks:
                    self._begun(place, place.tasks[0])
                if self._wanted(task):
                    yield Result(task, event.outcome)
            case Unfit():
                self._give_up(event.place, event.reason)
            case Died():
                yield from self._buried(event)

    def _put_down(self, place: _Place) -> ShardTask:
        """The task that a worker was at."""
        task = place.tasks.popleft()
        self._spent[task.cell.key] += time.monotonic() - place.since  # type: ignore[assignment]
        return task

    def _buried(self, event: Died) -> Iterator[Result]:
        """What a dead worker was at is tried again, or given up; what it had besides is somebody else's."""
        place = self._places[event.place]
        at = self._put_down(place) if place.tasks else None
        self._left.extendleft(reversed(place.tasks))
        place.tasks.clear()
        place.deaths, place.ready = place.deaths + 1, False
        if at is not None and self._wanted(at):
            self._again[at] += 1
            if self._again[at] > AGAIN:
                died = f"{self._again[at]} workers died while they sampled it; the last: {event.reason}"
                yield Result(at, Failure("failed", died))
            else:
                self._left.appendleft(at)
        if place.deaths >= DEATHS:
            self._give_up(event.place, f"{place.deaths} workers in a row have died; the last: {event.reason}")
        else:
            self._told.notice(f"worker {event.place + 1} died ({event.reason}); another takes its place")
            self.hands.begin(event.place)

    def _give_up(self, number: int, reason: str) -> None:
        """Works on without a place. Raises UserError where it was the last."""
        place = self._places[number]
        self.hands.end(number)
        self._left.extendleft(reversed(place.tasks))
        place.tasks.clear()
        place.open = place.ready = False
        if not any(other.open for other in self._places):
            raise UserError(f"no worker is left: {reason}")
        self._told.notice(f"worker {number + 1} is given up: {reason}")

    def _patience(self) -> float | None:
        """How long nothing need be heard: until a worker is too long at a cell."""
        if self.timeout is None:
            return None
        now = time.monotonic()
        waits = [
            self.timeout - self._spent[place.tasks[0].cell.key] - (now - place.since)
            for place in self._places
            if place.tasks
        ]
        return max(min(waits, default=self.timeout), 0.0) + 0.01

    def _late(self) -> Iterator[Result]:
        """Ends workers that are too long at a cell, which fails."""
        for number, place in enumerate(self._places):
            if self.timeout is None or not place.open or not place.tasks:
                continue
            task = place.tasks[0]
            if self._spent[task.cell.key] + time.monotonic() - place.since < self.timeout:
                continue
            self.hands.end(number)
            self._put_down(place)
            self._left.extendleft(reversed(place.tasks))
            place.tasks.clear()
            place.ready = False
            self.hands.begin(number)
            if self._wanted(task):
                yield Result(task, Failure("failed", f"it took longer than the {self.timeout:g} s of --cell-timeout"))
