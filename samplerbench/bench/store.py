"""The output folder of a run: results.csv, run.json, samples/, influences/ and errors/."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from .record import SCHEMA, Record, columns_of, metrics_in

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Store", "influence_path"]


class Store:
    """Writes a run's files. A row of results.csv is on disk, whole, before the next cell starts."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.metrics: list[str] = []
        self.csv = out / "results.csv"
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
            self._lock = (self.out / ".lock").open("w")
        except OSError as error:
            raise UserError(f"--out {self.out} cannot be written: {error.strerror or error}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise UserError(f"another run is writing to --out {self.out}; wait for it, or name another") from None
        try:
            return self._read() if self.csv.exists() else []
        except (OSError, KeyError, TypeError, ValueError) as error:
            self.close()
            what = f"is not of schema {SCHEMA}: it is of another version of samplerbench, or was edited"
            raise UserError(f"{self.csv} {what} ({error}); name another --out") from None

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
        return [Record.from_row(row) for row in reader]

    def replace(self, records: Sequence[Record], metrics: Sequence[str]) -> None:
        """Writes results.csv anew with these rows, whole or not at all; from now on it has columns for `metrics` and
        for those that the rows have besides.
        """
        self.metrics = list(dict.fromkeys([*metrics, *(name for record in records for name in record.metrics)]))
        part = self.out / "results.csv.part"
        try:
            with part.open("w") as file:
                lines = [columns_of(self.metrics), *(self._values(record) for record in records)]
                file.write("".join(map(_line, lines)))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.csv)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise UserError(f"{self.csv} cannot be written: {error.strerror or error}") from None

    def append(self, record: Record) -> None:
        """Adds a row. Raises UserError where the disk is full or gone; the rows before it stand."""
        try:
            with self.csv.open("ab") as file:
                before = file.tell()
                try:
                    file.write(_line(self._values(record)).encode())
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(before)
                    raise
        except OSError as error:
            why = error.strerror or error
            raise UserError(f"{self.csv} cannot be written: {why}; the rows before this cell are there") from None

    def earlier_metrics(self) -> dict[str, Any]:
        """What the run.json of an earlier run says of its metrics."""
        try:
            found = json.loads((self.out / "run.json").read_text())["metrics"]
            return found if isinstance(found, dict) else {}
        except (OSError, ValueError, KeyError, TypeError):  # none, or cut off
            return {}

    def write_run(self, run: dict[str, Any]) -> None:
        """Writes run.json, whole or not at all."""
        part = self.out / "run.json.part"
        try:
            part.write_text(json.dumps(run, indent=2, default=str) + "\n")
            part.replace(self.out / "run.json")
        except OSError as error:
            raise UserError(f"{self.out / 'run.json'} cannot be written: {error.strerror or error}") from None

    def save_samples(self, label: str, image: Image) -> None:
        """Writes a cell's grid of samples."""
        try:
            image.save(self.out / "samples" / f"{_file_name(label)}.png")
        except OSError as error:
            raise UserError(f"{self.out / 'samples'} cannot be written: {error.strerror or error}") from None

    def save_influences(self, record: Record, metric: str, influences: np.ndarray) -> None:
        """Keeps the influence of each sample on a cell's metric, for paired comparisons."""
        path = influence_path(self.out, record.key, record.samples or 0, metric)
        try:
            path.parent.mkdir(exist_ok=True)
            np.save(path, influences.astype(np.float32))
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}") from None

    def _values(self, record: Record) -> list[Any]:
        row = record.row(self.metrics).values()
        return ["" if value is None else repr(value) if isinstance(value, float) else value for value in row]

    def save_error(self, label: str, details: str) -> Path:
        """Keeps a traceback; returns where."""
        path = self.out / "errors" / f"{_file_name(label)}.txt"
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_text(details)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
        return path


def influence_path(out: Path, key: str, samples: int, metric: str) -> Path:
    """Where a run keeps the influences of a cell on a metric."""
    return out / "influences" / f"{key[:16]}-{samples}-{metric}.npy"


def _line(values: list[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _file_name(label: str) -> str:
    """A cell's label as a file name: 'ddim:eta=0.5 nfe=10' -> 'ddim_eta=0.5_nfe=10'."""
    return re.sub(r"[^\w.=+-]+", "_", label)
