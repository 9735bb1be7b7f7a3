"""The output folder of a run: results.csv, run.json, samples/, influences/, trajectories/ and
errors/.

A row of results.csv promises its artefacts: the cell's picture, and a file a metric under influences/. They are written
first, whole or not at all; a row without one of them is not taken for finished.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import UserError
from ..files import PART, Damaged, write_whole
from .influences import Kept, influence_path, load_kept, save_kept
from .record import SCHEMA, Record, checksum_of, columns_of, metrics_in, written

if TYPE_CHECKING:
    from PIL.Image import Image

    from .written import WrittenPlan

__all__ = ["Store"]


class Store:
    """Writes a run's files. A row of results.csv is on disk, whole, before the next cell starts.

    notice: told, in one line, of a row that was left out.

    Raises UserError on Windows, where nothing would keep another run out of the folder.
    """

    def __init__(self, out: Path, notice: Callable[[str], None] = lambda text: None) -> None:
        self.out, self.notice, self._flock = out, notice, _flock()
        self.metrics: list[str] = []
        self.csv = out / "results.csv"
        self.shards = out / "shards"  # what `samplerbench worker` makes for this run
        self._lock: IO[str] | None = None

    def open(self) -> list[Record]:
        """Makes the folder, or says in one line why it cannot be used; returns the rows that an earlier run left in it.

        Raises UserError where another run is writing to it.
        """
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"--out {self.out} is a file, expected a folder")
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / "samples").mkdir(exist_ok=True)
            self._lock = (self.out / ".lock").open("a+")
        except OSError as error:
            raise UserError(f"--out {self.out} cannot be written: {error.strerror or error}") from None
        self._lock_or_say()
        for folder in (self.out, *(self.out / name for name in FOLDERS)):
            for part in folder.glob(f".*{PART}"):  # of a run that was killed
                part.unlink(missing_ok=True)
        try:
            return self.rows()
        except UserError:
            self.close()
            raise

    def rows(self) -> list[Record]:
        """The rows that are there. Raises UserError where they cannot be read."""
        try:
            return self._read() if self.csv.exists() else []
        except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
            what = f"is not of schema {SCHEMA}: it is of another version of samplerbench, or was edited"
            raise UserError(f"{self.csv} {what} ({error}); name another --out") from None

    def _lock_or_say(self) -> None:
        """Keeps other runs out, with a word on who does. Raises UserError where another has done so."""
        assert self._lock is not None
        try:
            self._flock(self._lock)
            self._lock.truncate(0)
            self._lock.write(f"process {os.getpid()} on {platform.node()}")
            self._lock.flush()
        except BlockingIOError:
            self._lock.seek(0)
            who = self._lock.read(200)
            self.close()
            told = f" ({who})" if who else ""
            raise UserError(f"another run is writing to --out {self.out}{told}; wait for it, or name another") from None
        except OSError as error:
            self.close()
            raise UserError(f"--out {self.out} cannot be locked: {error.strerror or error}; name another") from None

    def close(self) -> None:
        """Lets other runs in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _read(self) -> list[Record]:
        whole = self.csv.read_text().rpartition("\n")[0]  # a last line without its end was cut off by a kill
        reader = csv.DictReader(io.StringIO(whole))
        if reader.fieldnames is not None:
            metrics_in(list(reader.fieldnames))
        records = []
        for row in reader:
            record = Record.from_row(row)
            if row["checksum"] == checksum_of(row):
                records.append(record)
            else:
                cell = f"{record.sampler} at {record.budget or record.steps}"
                self.notice(
                    f"{self.csv}, line {reader.line_num}: the row of {cell} was edited or is damaged, by its checksum; "
                    "it is left out, and measured again where this run has the cell"
                )
        return records

    def replace(self, records: Sequence[Record], metrics: Sequence[str]) -> None:
        """Writes results.csv anew with these rows, whole or not at all; from now on it has columns for `metrics` and
        for those that the rows have besides.
        """
        self.metrics = list(dict.fromkeys([*metrics, *(name for record in records for name in record.metrics)]))
        lines = [columns_of(self.metrics), *(self._values(record) for record in records)]
        self._write(self.csv, lambda: write_whole(self.csv, b"".join(map(_line, lines))))

    def append(self, record: Record) -> None:
        """Adds a row. Raises UserError where the disk is full or gone; the rows before it stand."""
        try:
            with self.csv.open("ab") as file:
                before = file.tell()
                try:
                    file.write(_line(self._values(record)))
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    with suppress(OSError):
                        file.truncate(before)
                    raise
        except OSError as error:
            why = error.strerror or error
            raise UserError(f"{self.csv} cannot be written: {why}; the rows before this cell are there") from None

    def write_run(self, run: dict[str, Any]) -> None:
        """Writes run.json, whole or not at all."""
        path = self.out / "run.json"
        self._write(path, lambda: write_whole(path, (json.dumps(run, indent=2, default=str) + "\n").encode()))

    def write_plan(self, plan: WrittenPlan | None) -> None:
        """Writes plan.json, whole or not at all; none takes an earlier run's away."""
        path = self.out / "plan.json"
        self._write(path, lambda: plan.write(self.out) if plan else path.unlink(missing_ok=True))

    def save_artefacts(self, record: Record, label: str, image: Image, kept: Mapping[str, Kept]) -> None:
        """Writes what a row promises: the cell's grid of samples, and what is kept of its metrics."""
        buffer = io.BytesIO()
        image.save(buffer, "png")
        picture = self._picture(record, label)
        self._write(picture, lambda: write_whole(picture, buffer.getvalue()))
        for metric, one in kept.items():
            path = influence_path(self.out, record.row(list(record.metrics)), metric)
            self._write(path, lambda path=path, one=one: save_kept(path, one))  # type: ignore[misc]

    def has_trajectory(self, record: Record, label: str) -> bool:
        """Whether the picture is there of how the first samples of a cell came to be."""
        return self._trajectory(record, label).is_file()

    def save_trajectory(self, record: Record, label: str, png: bytes) -> None:
        """Writes that picture."""
        path = self._trajectory(record, label)
        self._write(path, lambda: write_whole(path, png))

    def has_artefacts(self, record: Record, label: str, metrics: Sequence[str]) -> bool:
        """Whether all is there that a row promises of these metrics, and whole."""
        if not self._picture(record, label).is_file():
            return False
        row = record.row(list(record.metrics))
        for metric in metrics:
            if record.metric(metric).value is None:
                continue
            try:
                kept = load_kept(influence_path(self.out, row, metric))
            except (FileNotFoundError, Damaged):
                return False
            if kept.value != record.metric(metric).value:
                return False
        return True

    def _picture(self, record: Record, label: str) -> Path:
        return self.out / "samples" / f"{_file_name(label)}-{record.key[:8]}-{record.samples}.png"

    def _trajectory(self, record: Record, label: str) -> Path:
        return self.out / "trajectories" / self._picture(record, label).name

    def save_error(self, record: Record, label: str, details: str) -> Path:
        """Keeps a traceback; returns where."""
        path = self.out / "errors" / f"{_file_name(label)}-{record.key[:8]}.txt"
        self._write(path, lambda: write_whole(path, details.encode(errors="backslashreplace")))
        return path

    def _write(self, path: Path, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}") from None

    def _values(self, record: Record) -> list[str]:
        return list(map(written, record.row(self.metrics).values()))


FOLDERS = ("samples", "influences", "trajectories", "errors")


def _flock() -> Callable[[IO[str]], None]:
    """What locks an open file until it is closed; it raises OSError where another process has it locked."""
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock
    except ModuleNotFoundError:
        raise UserError(
            f"a run needs Linux or macOS: {platform.system()} has no fcntl to lock the output folder with; on Windows, "
            "use samplerbench inside WSL"
        ) from None
    return lambda file: flock(file, LOCK_EX | LOCK_NB)


def _line(values: Sequence[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue().encode()


def _file_name(label: str) -> str:
    """A cell's label as the start of a file name: 'ddim:eta=0.5 nfe=10' -> 'ddim_eta=0.5_nfe=10'. What follows it tells
    apart those that come out alike.
    """
    return re.sub(r"[^\w.=+-]+", "_", label).encode()[:100].decode(errors="ignore")  # a name is at most 255 bytes
