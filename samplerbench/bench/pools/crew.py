"""Several workers at once, whatever they are: who gets which task, and what is done when one of them dies.

A shard is a file under a key of all that it depends on, so a task may be done twice, and nothing is lost with a worker
but what it had in hand. A task is given out again twice at most, to another place where there is one. A place where
workers die of three different tasks, or three times before any, and make nothing meanwhile, is given up. Tasks of a
cell of which nobody has made one yet are one task in this: the sampler may be to blame.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

from ...errors import UserError
from ..maker import Failure, Made
from ..task import FilmTask, ShardTask, Task, largest_first
from .events import Advanced, Died, Event, Finished, Found, Noticed, Ready, Refused, Unfit
from .hands import Hands
from .pool import Pool, Result, Told

__all__ = ["Crew"]

AGAIN = 2  # how often a task is given out again
DEATHS = 3  # of different tasks in a row, after which a place is given up
SLOW = 30.0  # seconds after which a line says that a worker is not there yet
LOADING = 300.0  # seconds after which one that is not there yet is not waited for; with a timeout it is ended
LONGEST = 3600.0  # seconds that are waited at once: the system's own calls take no number of weeks
AHEAD = 2  # tasks that a worker has at once: it need not wait for the next


@dataclass
class _Place:
    """What is known of a place: the tasks that its worker has, the first of which it is at since `since`, with so many
    of its samples done. begun: when its worker was; told: whether a line has said that it is slow; about: the device.
    deaths: in a row; fatal: of what.
    """

    tasks: deque[Task] = field(default_factory=deque)
    since: float = 0.0
    begun: float = 0.0
    told: bool = False
    done: int = 0
    about: str = ""
    deaths: int = 0
    fatal: set[object] = field(default_factory=set)
    ready: bool = False
    open: bool = True


class Crew(Pool):
    """Tasks, and hands to do them.

    timeout: seconds that workers may spend on one cell, all together; None for any number.
    """

    def __init__(self, hands: Hands, timeout: float | None = None) -> None:
        self.hands, self.timeout = hands, timeout

    def make(self, tasks: Sequence[Task], wanted: Callable[[Task], bool], told: Told) -> Generator[Result, None, None]:
        self._left, self._wanted, self._told = deque(largest_first(tasks)), wanted, told
        self._died: defaultdict[Task | str, list[int]] = defaultdict(list)  # of what, a task and a cell, and where
        self._fine: set[str] = set()  # cells of which a shard was made
        self._spent: Counter[str] = Counter()
        self._done: Counter[Task] = Counter()  # samples that were told of
        self._refused: defaultdict[str, dict[int, str]] = defaultdict(dict)  # by cell and place, why
        at_once = max(Counter(map(type, tasks)).values(), default=0)  # a film comes after its cell's shards
        self._places = [_Place() for _ in range(min(self.hands.count, at_once))]
        try:
            for number in range(len(self._places)):
                self._begin(number)
            while self._goes_on():
                self._give_out()
                if not any(place.tasks or not place.ready for place in self._places if place.open):
                    break
                for event in self.hands.wait(self._patience()):
                    yield from self._heard(event)
                yield from self._late()
                yield from self._loading()
                yield from self._nobodys()
        finally:
            for number, place in enumerate(self._places):
                if place.open:
                    self.hands.end(number)
            self.hands.close()

    def _goes_on(self) -> bool:
        """Whether anything is left that is wanted. What is not is not waited for, nor a worker that would do it."""
        self._left = deque(filter(self._wanted, self._left))
        return bool(self._left) or any(self._wanted(task) for place in self._places for task in place.tasks)

    def _give_out(self) -> None:
        """Tasks for workers that have less than they should, those with the least first. The last tasks are not given
        out ahead: a worker that is free sooner, or that is still loading, should have them.
        """
        places = [number for number, place in enumerate(self._places) if place.open]
        for depth in range(AHEAD):
            for number in places:
                place = self._places[number]
                if not place.ready or len(place.tasks) > depth or (depth and len(self._left) < len(places)):
                    continue
                if (task := self._next(number)) is None:
                    continue
                if not place.tasks:
                    self._begun(place, task)
                place.tasks.append(task)
                self.hands.give(number, task)

    def _next(self, number: int) -> Task | None:
        """The next task for a place, which it has not refused; a film only when its cell's shards are there. Where its
        workers died of one, others have a try.
        """
        self._left = deque(filter(self._wanted, self._left))
        in_hand = (task for place in self._places for task in place.tasks)
        sampling = {task.cell.key for task in (*self._left, *in_hand) if isinstance(task, ShardTask)}
        for task in self._left:
            if isinstance(task, FilmTask) and task.cell.key in sampling:
                continue
            refused = self._refused.get(task.cell.key, ())
            died = self._died.get(task if task.cell.key in self._fine else task.cell.key, ())
            others = {n for n, place in enumerate(self._places) if place.open and self._comes(place)}
            others = others.difference(refused, died)
            if number not in refused and not (number in died and others):
                self._left.remove(task)
                return task
        return None

    def _begin(self, number: int) -> None:
        self._places[number].begun, self._places[number].told = time.monotonic(), False
        self.hands.begin(number)

    def _comes(self, place: _Place) -> bool:
        """Whether a worker is there, or may be soon; one of Ray's may wait for a GPU for ever."""
        return place.ready or time.monotonic() - place.begun < LOADING

    def _nobodys(self) -> Iterator[Result]:
        """Tasks that all workers refuse have failed."""
        places = {number for number, place in enumerate(self._places) if place.open}
        for key, refused in self._refused.items():
            if places <= refused.keys():
                for task in [task for task in self._left if task.cell.key == key]:
                    self._left.remove(task)
                    if self._wanted(task):
                        yield Result(task, Failure("failed", refused[min(places)]))

    def _begun(self, place: _Place, task: Task) -> None:
        place.since, place.done = time.monotonic(), 0
        self._told.start(task)

    def _advance(self, place: _Place, samples: int, tell: Callable[[Task, int], None]) -> None:
        """Tells of samples once, even where a task is done a second time."""
        task, place.done = place.tasks[0], place.done + samples
        if place.done > self._done[task]:
            tell(task, place.done - self._done[task])
            self._done[task] = place.done

    def _arrived(self, place: _Place, about: str) -> None:
        others = sorted({other.about for other in self._places if other.about})
        if others and about not in others:
            self._told.notice(f"a worker has {about}, others {' and '.join(others)}; the rows name what drew them")
        place.ready, place.about = True, about

    def _heard(self, event: Event) -> Iterator[Result]:
        place = self._places[event.place]
        match event:
            case Ready():
                self._arrived(place, event.about)
            case Noticed():
                self._told.notice(event.text)
            case Advanced() | Found():
                if place.tasks:
                    tell = self._told.found if isinstance(event, Found) else self._told.advance
                    self._advance(place, event.samples, tell)
            case Finished():
                task = self._put_down(place)
                place.deaths = 0
                place.fatal.clear()
                if isinstance(event.outcome, Made):
                    self._fine.add(task.cell.key)
                if place.tasks:
                    self._begun(place, place.tasks[0])
                if self._wanted(task):
                    yield Result(task, event.outcome)
            case Refused():
                task = self._put_down(place)
                self._refused[task.cell.key][event.place] = event.reason
                self._left.appendleft(task)
                if place.tasks:
                    self._begun(place, place.tasks[0])
            case Unfit():
                self._give_up(event.place, event.reason)
            case Died():
                yield from self._buried(event)

    def _put_down(self, place: _Place) -> Task:
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
        if not isinstance(at, FilmTask):  # which fails alone, whatever becomes of its workers
            place.fatal.add(at or place.deaths)
        if at is not None and self._wanted(at):
            self._died[at].append(event.place)
            self._died[at.cell.key].append(event.place)
            if len(self._died[at]) > AGAIN:
                died = f"{len(self._died[at])} workers died while they sampled it; the last: {event.reason}"
                yield Result(at, Failure("failed", died))
            else:
                self._left.appendleft(at)
        if self._blame(event.place) >= DEATHS:
            self._give_up(event.place, f"{place.deaths} workers in a row have died; the last: {event.reason}")
        else:
            self._told.notice(f"worker {event.place + 1} died ({event.reason}); another takes its place")
            self._begin(event.place)

    def _blame(self, number: int) -> int:
        """How many tasks, since it last made one, workers of a place died of, those of a suspicious cell together."""
        fatal = self._places[number].fatal
        return len(
            {one.cell.key if isinstance(one, ShardTask) and one.cell.key not in self._fine else one for one in fatal}
        )

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
        """How long nothing need be heard: until a worker is too long at a cell, or has not come."""
        now, places = time.monotonic(), [place for place in self._places if place.open]
        loading = [place for place in places if not place.ready]
        waits = [place.begun + LOADING - now for place in loading if self._comes(place)]
        waits += [place.begun + SLOW - now for place in loading if not place.told]
        waits += [place.begun + self._longest_loading - now for place in loading]
        if self.timeout is not None:
            spent = ((place, self._spent[place.tasks[0].cell.key]) for place in places if place.tasks)
            waits += [self.timeout - before - (now - place.since) for place, before in spent]
        return min(max(min(waits), 0.0) + 0.01, LONGEST) if waits else None

    @property
    def _longest_loading(self) -> float:
        """Seconds after which a worker that is not ready is ended."""
        return inf if self.timeout is None or self.hands.queued else max(LOADING, self.timeout)

    def _loading(self) -> Iterator[Result]:
        """Says once of each worker that it is slow to come, and ends those that hang."""
        for number, place in enumerate(self._places):
            if place.ready or not place.open:
                continue
            took = time.monotonic() - place.begun
            if took >= SLOW and not place.told:
                place.told = True
                what = "waiting for a place or loading" if self.hands.queued else "loading"
                self._told.notice(f"worker {number + 1} is still {what} after {SLOW:g} s")
            if took >= self._longest_loading:
                self.hands.end(number)
                yield from self._buried(Died(number, f"not ready after {self._longest_loading:g} s"))

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
            self._begin(number)
            if self._wanted(task):
                yield Result(task, Failure("failed", f"it took longer than the {self.timeout:g} s of --cell-timeout"))
