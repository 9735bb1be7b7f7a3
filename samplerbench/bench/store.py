"""The output folder of a run: results.csv, run.json, samples/ and errors/."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .record import COLUMNS, Record

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Store"]


class Store:
    """Writes a run's files. A row of results.csv is on disk, whole, before the next cell starts."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.csv = out / "results.csv"

    def create(self) -> None:
        """Makes the folder, or says in one line why it cannot be used. What an earlier run left in it is not
        touched.
        """
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"--out {self.out} is a file, expected a folder that is new or empty")
        if self.csv.exists():
            raise UserError(f"--out {self.out} already holds the results of a run; name another folder")
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / "samples").mkdir(exist_ok=True)
            self._append(_line(list(COLUMNS)))
        except OSError as error:
            raise UserError(f"--out {self.out} cannot be written: {error.strerror or error}") from None

    def append(self, record: Record) -> None:
        """Adds a row. Raises UserError where the disk is full or gone; the rows before it stand."""
        values = [
            "" if value is None else repr(value) if isinstance(value, float) else value
            for value in record.row().values()
        ]
        try:
            self._append(_line(values))
        except OSError as error:
            raise UserError(
                f"{self.csv} cannot be written: {error.strerror or error}; the rows before this cell are there"
            ) from None

    def _append(self, line: str) -> None:
        with self.csv.open("ab") as file:
            before = file.tell()
            try:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise

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

    def save_error(self, label: str, details: str) -> Path:
        """Keeps a traceback; returns where."""
        path = self.out / "errors" / f"{_file_name(label)}.txt"
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_text(details)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
        return path


def _line(values: list[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _file_name(label: str) -> str:
    """A cell's label as a file name: 'ddim:eta=0.5 nfe=10' -> 'ddim_eta=0.5_nfe=10'."""
    return re.sub(r"[^\w.=+-]+", "_", label)
