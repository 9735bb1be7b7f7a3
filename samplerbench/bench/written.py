"""The plan of a run, written down, so that others can make its shards: `samplerbench worker RUN`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..devices import resolve_device
from ..errors import UserError, one_line
from ..files import read_json, write_whole
from .cached import using
from .cell import Cell
from .maker import Failure
from .remote import Remote
from .store import Store
from .task import Setup, ShardTask, cell_of, largest_first, tasks_of

__all__ = ["WrittenPlan", "dealt", "work"]

FILE, SCHEMA = "plan.json", 1


@dataclass(frozen=True)
class WrittenPlan:
    """cells: those that can be run. samples: of each."""

    setup: Setup
    cells: tuple[Cell, ...]
    samples: int

    def write(self, out: Path) -> None:
        """Writes it into the folder of a run. Raises OSError."""
        said = {"schema": SCHEMA, "setup": asdict(self.setup), "samples": self.samples}
        text = json.dumps({**said, "cells": [asdict(cell) for cell in self.cells]}, indent=1)
        write_whole(out / FILE, (text + "\n").encode())

    @classmethod
    def read(cls, out: Path) -> WrittenPlan:
        """That of a run. Raises UserError where there is none."""
        if not (out / FILE).is_file():
            raise UserError(f"{out} has no {FILE}; `samplerbench run --plan-only --out {out} …` writes it")
        said = read_json(out / FILE, f"the plan of {out}")
        try:
            if said["schema"] != SCHEMA:
                raise UserError(f"{out / FILE} is of schema {said['schema']!r}, expected {SCHEMA}")
            plan = cls(Setup.read(said["setup"]), tuple(map(cell_of, said["cells"])), said["samples"])
            if type(plan.samples) is not int or plan.samples < 1:
                raise ValueError(f"samples is {plan.samples!r}")
            if len({cell.key for cell in plan.cells}) < len(plan.cells):
                raise ValueError("it has a cell twice")
            return plan
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{out / FILE} is no plan of a run: {one_line(error)}") from None

    def for_worker(self, out: Path, device: str | None) -> Setup:
        """What a worker is made from that fills the run's own folder of shards, on this machine. Raises UserError for a
        device that it does not have.
        """
        device = resolve_device(device or self.setup.device)
        return replace(self.setup, cache=str(out.resolve() / "shards"), device=device, fresh=False)

    def tasks(self) -> list[ShardTask]:
        """All shards, those that take longest first."""
        at_once = self.setup.batch_size
        return largest_first([task for cell in self.cells for task in tasks_of(cell, self.samples, at_once)])


def work(
    out: Path,
    part: tuple[int, int],
    told: Callable[[str], None],
    device: str | None = None,
) -> Sequence[ShardTask]:
    """Makes the shards of part i of n of a run's plan, into the run's own folder, and returns those that failed. Cells
    of which the run has the row are done.

    part: (i, n), i from 1. told: a line for each shard. device: another than the plan's, of its kind.
    """
    plan = WrittenPlan.read(out)
    tasks = dealt(plan.tasks(), part)
    if not tasks:
        told(f"nothing to do: the plan has {len(plan.tasks())} pieces of work, for {part[1]} parts")
        return []
    done = {record.key for record in Store(out).rows() if record.status == "done" and record.samples == plan.samples}
    tasks = [task for task in tasks if task.cell.key not in done]
    if not tasks:
        told(f"nothing is left: the rows are in {out / 'results.csv'}")
        return []
    out = out.resolve()
    remote = Remote(plan.for_worker(out, device), told)
    with using(out / "shards", [cell.key for cell in plan.cells]):
        return _done(remote, tasks, told, out)


def dealt(tasks: Sequence[ShardTask], part: tuple[int, int]) -> list[ShardTask]:
    """Part i of n of tasks that are in order: every second round goes backwards, so that nobody has always the larger.

    part: (i, n), i from 1.
    """
    first, parts = part
    turns = [*range(1, parts + 1), *range(parts, 0, -1)]
    return [task for k, task in enumerate(tasks) if turns[k % len(turns)] == first]


def _done(remote: Remote, tasks: Sequence[ShardTask], told: Callable[[str], None], out: Path) -> list[ShardTask]:
    """Makes shards, and returns those that failed."""
    failed = []
    for number, task in enumerate(tasks, 1):
        done = remote.do(task)
        of = f"samples {task.samples[0]} to {task.samples[-1]}"
        which = f"{number} of {len(tasks)}: {task.cell.label}, {of}"
        if isinstance(done, Failure):
            failed.append(task)
            told(f"{which}: {done.status}: {done.reason}")
        elif done.data is not None:
            raise UserError(f"{out / 'shards'} cannot be written, and a worker has nowhere else to put what it makes")
        else:
            told(f"{which}: {'was there' if done.cached == task.count else 'done'}")
    return failed
