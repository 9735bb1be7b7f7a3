"""How far a run is: the cells that are being sampled, and when all of it will be over. For whoever shows it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..bench.plan import Planned

__all__ = ["Pace", "Running"]

RECENT = 120.0  # seconds whose throughput says how long the rest takes,
SHARE = 0.1  # or this share of the whole time where that is longer,
LEAST = 8  # and so many steps at least


@dataclass
class Running:
    """A cell that is being sampled or measured: so many of its samples are done, of which so many were found. doing:
    what a long computation says of itself.
    """

    planned: Planned
    samples: int
    since: float
    done: int = 0
    found: int = 0
    doing: str = ""

    @property
    def measured(self) -> bool:
        """Whether all samples are there, so that metrics are what it waits for."""
        return self.done >= self.samples


class Pace:
    """What a run has told so far. Work is counted in planned evaluations of the network, for fifty steps take longer
    than five.

    clock: seconds. running: by the keys of their cells, in the order in which they began.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.running: dict[str, Running] = {}
        self.cells = self.ended = self.samples = 0
        self.total = self.work = 0
        self.begun = clock()
        self._steps: deque[tuple[float, int]] = deque()  # what was drawn, and when

    def plan(self, cells: list[Planned], samples: int) -> None:
        self.cells, self.samples, self.begun = len(cells), samples, self.clock()
        self.total = sum(cell.claimed for cell in cells) * samples

    def start(self, cell: Planned) -> None:
        if not self._steps:
            self._steps.append((self.clock(), 0))
        self.running[cell.cell.key] = Running(cell, self.samples, self.clock())

    def advance(self, cell: Planned, samples: int) -> None:
        if one := self.running.get(cell.cell.key):
            one.done += samples
            self._step(samples * cell.claimed)

    def found(self, cell: Planned, samples: int) -> None:
        """What was there is done, and says nothing of how long the rest takes."""
        if one := self.running.get(cell.cell.key):
            one.done, one.found = one.done + samples, one.found + samples
            self.work += samples * cell.claimed

    def rate(self, one: Running) -> float | None:
        """Samples that were drawn a second; None where none was yet."""
        drawn = one.done - one.found
        return drawn / max(self.clock() - one.since, 1e-9) if drawn else None

    def finish(self, cell: Planned) -> Running | None:
        """What is known of it, which is running no more; None where it never was."""
        one = self.running.pop(cell.cell.key, None)
        done = 0 if one is None else one.done
        self.ended += 1
        self.work += (self.samples - done) * cell.claimed
        return one

    def doing(self, text: str) -> None:
        """What the computation of a metric says of itself."""
        for one in self.running.values():
            if one.measured:
                one.doing = text
                return

    def _step(self, work: int) -> None:
        now = self.clock()
        self.work += work
        self._steps.append((now, work))
        oldest = now - max(RECENT, SHARE * (now - self.begun))
        while len(self._steps) > LEAST and self._steps[1][0] < oldest:
            self._steps.popleft()

    @property
    def took(self) -> float:
        """Seconds since the plan."""
        return self.clock() - self.begun

    @property
    def share(self) -> float:
        """How much of the work is done, 0 to 1."""
        return min(self.work / self.total, 1.0) if self.total else 1.0

    @property
    def left(self) -> float | None:
        """Seconds until the run is over, by the throughput of all workers; None while nothing is known of it."""
        if len(self._steps) < 2:
            return None
        (first, _), (last, _) = self._steps[0], self._steps[-1]
        drawn = sum(work for _, work in self._steps) - self._steps[0][1]
        if drawn <= 0 or last <= first:
            return None
        needed = (self.total - self.work) * (last - first) / drawn
        return max(needed - (self.clock() - last), 0.0)
