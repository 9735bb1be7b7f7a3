"""What the statistics need of rows of results: estimates, and which of them share their noise."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..bench.influences import Kept, influence_path, load_kept
from ..bench.record import PAIRED
from ..files import Damaged
from ..stats.estimate import Estimate
from .results import Results

__all__ = ["Evidence", "evidence"]

MISSING = "is missing"
ROUNDING = 1e-6  # relative; what one result may differ by between two machines

# What two rows share that are one result, and what two share whose sample i came from the same noise.
RESULT = ("key", "samples", "reference_sha256")
STREAM = ("seed", "samples", "reference_sha256", "extractor_sha256")


@dataclass(frozen=True)
class Evidence:
    """Of K rows.

    Attributes:
        estimates: [K]; one object where two rows are the same result.
        streams: [K], equal where sample i of two rows came from the same noise; None where that is not known.
        troubles: [K], the name of a row's file and what is wrong with what it keeps of the row; None where nothing is.
        contradictions: what is to be told of rows that are one result and have several values.
    """

    estimates: list[Estimate]
    streams: Sequence[Hashable]
    troubles: list[tuple[str, str] | None]
    contradictions: list[str]

    def notes(self, unpaired: Iterable[int]) -> list[str]:
        """What is to be told, `unpaired` being the rows that matter."""
        counted = Counter(trouble for k in sorted(set(unpaired)) if (trouble := self.troubles[k]))
        return self.contradictions + [
            f"{name}: {count} row{' is' if count == 1 else 's are'} compared unpaired: {text}"
            for (name, text), count in counted.items()
        ]


def evidence(rows: pd.DataFrame, files: Sequence[Results], metric: str) -> Evidence:
    """Of rows in which the metric was measured; their column `file` says which of `files` each is from.

    What a run keeps of a metric is looked for beside its file. Rows without it, or whose value is another than what was
    kept, have their standard error alone.
    """
    table = _Table(rows, metric)
    # older files do not say the code of their metric: there a key and equal values have to do
    rest = zip(*(table.column(name) for name in (*RESULT, f"{metric}_sha256")), strict=True)
    identities = [row if row[0] is not None else None for row in rest]
    read = _read(table, files, metric)
    names = (metric, f"{metric}_se", f"{metric}_n", "nfe")
    figures = list(zip(*(table.column(name) for name in names), strict=True))
    results: dict[Hashable, tuple[Estimate, tuple[Any, ...]]] = {}
    for identity, figure, (one, _) in zip(identities, figures, read, strict=True):
        first = results.setdefault(identity, (one, figure)) if identity else (one, figure)
        if first[0].loadings() is None and one.loadings() is not None:
            results[identity] = one, figure  # of copies, one that has what pairs it
    estimates: list[Estimate] = []
    troubles: list[tuple[str, str] | None] = []
    other_values = []
    for identity, figure, file, (one, trouble) in zip(identities, figures, table.column("file"), read, strict=True):
        copy, theirs = results.get(identity, (one, figure))
        odd = [
            f"{name} {a:.6g} and {b:.6g}"
            for name, a, b in zip(names, theirs, figure, strict=True)
            if None not in (a, b) and not math.isclose(a, b, rel_tol=ROUNDING)
        ]
        estimates.append(one if odd else copy)
        other_values += odd[:1]
        missing = trouble and estimates[-1].loadings() is None
        troubles.append((files[file].name, trouble) if missing else None)
    contradictions = []
    if other_values:
        contradictions.append(
            f"{'another row says' if len(other_values) == 1 else f'{len(other_values)} rows say'} by its key to be a "
            f"result that there is already, with another value ({other_values[0]}): one was edited, or cannot be "
            "reproduced"
        )
    return Evidence(estimates, table.known(*STREAM, f"{metric}_sha256"), troubles, contradictions)


class _Table:
    """Columns as lists, every missing value None: rows are gone through one by one, and pandas is slow at that."""

    def __init__(self, rows: pd.DataFrame, metric: str) -> None:
        self.rows, self.metric = rows, metric

    def column(self, name: str) -> list[Any]:
        """All None where the column is missing."""
        if name not in self.rows.columns:
            return [None] * len(self.rows)
        column = self.rows[name].astype(object)
        values: list[Any] = column.where(column.notna(), None).tolist()
        return values

    def known(self, *names: str) -> list[tuple[Any, ...] | None]:
        """Each row's values in these columns; None where one of them is missing."""
        rows = zip(*(self.column(name) for name in names), strict=True)
        return [None if None in row else row for row in rows]


def _read(table: _Table, files: Sequence[Results], metric: str) -> list[tuple[Estimate, str]]:
    """Each row's estimate, and what is wrong with what was kept of it; '' where nothing is, or nothing was promised."""
    needed = ("key", "reference_sha256", f"{metric}_sha256", "samples")
    present = [_names(one.folder / "influences") for one in files]
    names = ("file", metric, f"{metric}_se", f"{metric}_n", "samples", "schema")
    read = []
    for promised, file, value, se, count, samples, schema in zip(
        table.known(*needed), *(table.column(name) for name in names), strict=True
    ):
        n, kept, trouble = int(count or samples or 1), None, _outdated(schema)
        if promised is not None:
            path = influence_path(files[file].folder, dict(zip(needed, promised, strict=True)), metric)
            kept, trouble = _kept(path, value, metric) if path.name in present[file] else (None, MISSING)
            trouble = trouble.replace(MISSING, f"{files[file].called / 'influences'} has no file of theirs")
        if kept is not None:
            own = kept.influences
            if own is not None and np.count_nonzero(own) <= n <= samples == len(own):
                n = int(samples)  # a figure of some of the samples, such as those that were asked for a class
            try:
                read.append((Estimate(value, n, se, kept.influences, kept.halves), ""))
                continue
            except ValueError as error:
                trouble = _damaged(error)
        read.append((Estimate(value, n, se), trouble))
    return read


def _kept(path: Path, value: float, metric: str) -> tuple[Kept | None, str]:
    try:
        kept = load_kept(path)
    except FileNotFoundError:
        return None, MISSING
    except Damaged as error:
        return None, _damaged(error)
    if not math.isclose(kept.value, value, rel_tol=ROUNDING):
        return None, f"their file in influences was kept with another {metric}"
    return kept, ""


def _damaged(error: Exception) -> str:
    return f"their file in influences is damaged ({error})"


def _outdated(schema: str | None) -> str:
    """Why a row of an older version of results.csv cannot be paired: its key is of another make, and the code of its
    metric is not known. '' for a row that says no version, or one since which both are.
    """
    said = str(schema or PAIRED)
    if said.isdecimal() and int(said) >= PAIRED:
        return ""
    return f"rows of schema {schema} do not say which noise they are from"


def _names(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir()}
    except OSError:
        return set()
