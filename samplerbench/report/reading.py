"""Reading CSV files that people made: text in, a table of text out, or one line that says what is wrong with it.

Commas, semicolons or tabs; a byte order mark; any line ends; files that were put one after the other, headers included,
also of several versions, whose columns are others.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..errors import UserError

__all__ = ["Sheet", "read_sheet"]

SEPARATORS = ",;\t"


@dataclass(frozen=True)
class Sheet:
    """What a CSV file holds.

    Attributes:
        rows: text, None where a field is empty, each row indexed by its line in the file.
        decimal_comma: whether a comma may be a decimal one, because semicolons separate.
        cut: whether the last line had lost its end, as a kill leaves it, and was left out.
    """

    rows: pd.DataFrame
    decimal_comma: bool
    cut: bool


def read_sheet(path: Path, needed: Sequence[str], called: Path | None = None) -> Sheet:
    """The rows of a CSV file with a header that has the columns `needed`.

    A further line that has all these names is a header too: the columns of what comes after it. Characters that do not
    print are escaped, so that no file can steer a terminal. Raises UserError for what is no such file, which errors
    call `called`.
    """
    text = _decoded(path, called or path)
    path = called or path
    separator = _separator(text)
    whole = text.endswith(("\n", "\r"))
    short: UserError | None = None
    sections: list[tuple[list[str], list[list[str]], list[int]]] = []
    for line, row in _records(path, text, separator):
        if short:
            raise short
        if needed[0] in row and set(needed) <= set(row):
            sections.append((_header(path, line, row), [], []))
        elif not sections:
            missing = " and ".join(name for name in needed if name not in row)
            raise UserError(f"{path} lacks the column {missing}; it has {_listed(row)}")
        else:
            header, rows, lines = sections[-1]
            while len(row) > len(header) and not row[-1]:  # spreadsheets leave empty fields at the end
                row.pop()
            if len(row) == len(header):
                rows.append(row if "".join(row).isprintable() else [_printable(field) for field in row])
                lines.append(line)
            else:
                short = UserError(f"{path}, line {line}: it has {len(row)} values, its header {len(header)} columns")
                if whole or len(row) > len(header):
                    raise short
    if not sections:
        raise UserError(f"{path} is empty; expected a CSV file with the columns {', '.join(needed)} and a metric")
    frames = [_frame(*section) for section in sections]
    filled = [frame for frame in frames if len(frame)]
    return Sheet(pd.concat(filled) if filled else frames[0], separator == ";", short is not None)


def _decoded(path: Path, called: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{called} cannot be read: {error.strerror or error}") from None
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        byte = data[error.start]
        raise UserError(f"{called} is not a CSV file in UTF-8: line {line} has the byte 0x{byte:02x}") from None
    if "\0" in text:
        raise UserError(f"{called} is not a CSV file: it has zero bytes")
    return text.replace("\ufeff", "")


def _separator(text: str) -> str:
    """What separates the fields of the first line that is not blank: what there is most of."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return max(SEPARATORS, key=first.count)


def _records(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The fields of each record that is not blank, with the line on which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        for fields in reader:
            row = list(map(str.strip, fields))
            if any(row):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {line}: not CSV: {error}") from None


def _header(path: Path, line: int, names: list[str]) -> list[str]:
    doubled = sorted({name for name in names if name and names.count(name) > 1})
    if doubled:
        raise UserError(f"{path}, line {line}: there are several columns named {' and '.join(doubled)}; expected one")
    return [_printable(name) for name in names]


def _printable(text: str) -> str:
    """Text with what does not print escaped, line breaks included."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _frame(header: list[str], rows: list[list[str]], lines: list[int]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=header, index=pd.Index(lines, dtype="int64"), dtype=object)
    frame = frame.loc[:, [name != "" for name in header]]  # pandas writes its index under no name
    return frame.mask(frame == "", None)


def _listed(names: Sequence[str]) -> str:
    named = [_printable(name)[:40] for name in names if name]
    return ", ".join(named[:40]) + (" …" if len(named) > 40 else "") if named else "none"
