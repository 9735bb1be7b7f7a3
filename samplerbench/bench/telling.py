"""Who is told of a run's progress besides the terminal: a file of JSON lines for machines, Python's logging, several
listeners at once.
"""

from __future__ import annotations

import datetime
import json
import logging
import time
from collections import Counter
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import IO, Any

from ..errors import UserError
from .execute import Listener
from .plan import Planned
from .record import Record

__all__ = ["JsonLines", "Logged", "Several"]

LOGGER = logging.getLogger("samplerbench")
LOGGER.addHandler(logging.NullHandler())  # what is logged is printed where somebody asks for it, and nowhere else


class Several(Listener):
    """Tells several listeners, in their order."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = listeners

    def plan(self, cells: list[Planned], samples: int) -> None:
        for one in self.listeners:
            one.plan(cells, samples)

    def start(self, cell: Planned) -> None:
        for one in self.listeners:
            one.start(cell)

    def advance(self, cell: Planned, samples: int) -> None:
        for one in self.listeners:
            one.advance(cell, samples)

    def found(self, cell: Planned, samples: int) -> None:
        for one in self.listeners:
            one.found(cell, samples)

    def finish(self, cell: Planned, record: Record) -> None:
        for one in self.listeners:
            one.finish(cell, record)

    def working(self, text: str) -> None:
        for one in self.listeners:
            one.working(text)

    def notice(self, text: str) -> None:
        for one in self.listeners:
            one.notice(text)

    def end(self, status: str) -> None:
        for one in self.listeners:
            one.end(status)


class Logged(Listener):
    """Tells the logger `samplerbench`: notices and cells that failed as warnings, skipped ones and the rest as info."""

    def plan(self, cells: list[Planned], samples: int) -> None:
        LOGGER.info("run of %d cells, %d samples each", len(cells), samples)

    def finish(self, cell: Planned, record: Record) -> None:
        if record.status == "done":
            values = ", ".join(f"{name} {v.value:.4g}" for name, v in record.metrics.items() if v.value is not None)
            LOGGER.info("%s: %s in %g evaluations", cell.label, values or "nothing measured", record.nfe)
        else:
            level = logging.WARNING if record.status == "failed" else logging.INFO
            LOGGER.log(level, "%s: %s: %s", cell.label, record.status, record.reason)

    def notice(self, text: str) -> None:
        LOGGER.warning(text)

    def end(self, status: str) -> None:
        LOGGER.info("run %s", status)


class JsonLines(Listener):
    """Writes a line of JSON an event to a file, whole lines that are there at once: `plan`, `start`, `advance` (at most
    one a second of a cell), `finish` with the row of results.csv, `notice`, `end`. Each has `event` and `time`, UTC.
    Several cells may go on at once; each line names its own. Raises UserError where the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._done, self._told = Counter[str](), dict[str, float]()  # by cell
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = path.open("a", encoding="utf-8")
        except OSError as error:
            raise UserError(f"--log-json {path} cannot be written: {error.strerror or error}") from None

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def plan(self, cells: list[Planned], samples: int) -> None:
        listed = [
            {"sampler": one.cell.sampler, one.cell.axis: one.cell.value, "evaluations": one.claimed} for one in cells
        ]
        self._write("plan", samples=samples, cells=listed)

    def start(self, cell: Planned) -> None:
        self._write("start", **_of(cell))

    def advance(self, cell: Planned, samples: int) -> None:
        key, now = cell.cell.key, time.monotonic()
        self._done[key] += samples
        if now - self._told.get(key, -inf) >= 1:
            self._told[key] = now
            self._write("advance", **_of(cell), done=self._done[key])

    def finish(self, cell: Planned, record: Record) -> None:
        self._write("finish", **_of(cell), row=record.row(list(record.metrics)))

    def notice(self, text: str) -> None:
        self._write("notice", text=text)

    def end(self, status: str) -> None:
        self._write("end", status=status)

    def _write(self, event: str, **said: Any) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        try:
            self._file.write(json.dumps({"event": event, "time": now, **said}, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"--log-json {self.path} cannot be written: {error.strerror or error}") from None


def _of(cell: Planned) -> dict[str, Any]:
    return {"sampler": cell.cell.sampler, cell.cell.axis: cell.cell.value}
