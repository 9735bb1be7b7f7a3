"""What the statistics need of rows of results: estimates, and which of them share their noise."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..bench.influences import Kept, influence_path, load_kept
from ..files import Damaged
from ..stats.estimate import Estimate
from .results import Results

__all__ = ["Evidence", "evidence"]

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
        notes: what is to be told: what is missing or damaged.
    """

    estimates: list[Estimate]
    streams: list[Hashable]
    notes: list[str]


def evidence(rows: pd.DataFrame, files: Sequence[Results], metric: str) -> Evidence:
    """Of rows in which the metric was measured; their column `file` says which of `files` each is from.

    What a run keeps of a metric is looked for beside its file. Rows without it, or whose value is another than what was
    kept, have their standard error alone.
    """
    sha256 = f"{metric}_sha256"
    names = list(dict.fromkeys([metric, f"{metric}_se", f"{metric}_n", sha256, *RESULT, *STREAM, "file"]))
    table = [dict(zip(names, values, strict=True)) for values in zip(*_lists(rows, names), strict=True)]
    reader = _Reader(files, metric)
    read = [reader.estimate(row) for row in table]
    results: dict[Hashable, Estimate] = {}
    for row, (one, _) in zip(table, read, strict=True):
        identity = _known(row, (*RESULT, sha256))
        if identity and (identity not in results or results[identity].loadings() is None):
            results[identity] = one  # of copies, one that has what pairs it
    estimates: list[Estimate] = []
    troubles, other_values = [], []
    for row, (one, trouble) in zip(table, read, strict=True):
        copy = results.get(_known(row, (*RESULT, sha256)), one)
        if math.isclose(copy.value, one.value, rel_tol=ROUNDING):
            estimates.append(copy)
        else:
            estimates.append(one)
            other_values.append(f"{copy.value:.6g} and {one.value:.6g}")
        if trouble and estimates[-1].loadings() is None:
            troubles.append((row["file"], trouble))
    notes = [
        f"{files[file].name}: what pairs {count} of its rows {trouble}: they are compared unpaired"
        for (file, trouble), count in Counter(troubles).items()
    ]
    if other_values:
        notes.append(
            f"{len(other_values)} rows say that they are one result, by their key, and have other values "
            f"(such as {other_values[0]}): one was edited, or cannot be reproduced"
        )
    return Evidence(estimates, [_known(row, (*STREAM, sha256)) for row in table], notes)


def _lists(rows: pd.DataFrame, names: Sequence[str]) -> Iterator[list[Any]]:
    """The columns, those that are missing as None, and every missing value as None."""
    for name in names:
        if name in rows.columns:
            column = rows[name].astype(object)
            yield column.where(column.notna(), None).tolist()
        else:
            yield [None] * len(rows)


def _known(row: dict[str, Any], names: Sequence[str]) -> Hashable:
    values = tuple(row[name] for name in names)
    return None if None in values else values


class _Reader:
    """Reads what runs keep of a metric."""

    def __init__(self, files: Sequence[Results], metric: str) -> None:
        self.files, self.metric = files, metric
        self.names = [_names(one.folder / "influences") for one in files]

    def estimate(self, row: dict[str, Any]) -> tuple[Estimate, str]:
        """A row's estimate, and what is wrong with what was kept of it: '' where nothing is, or nothing was promised."""
        value, count = float(row[self.metric]), row[f"{self.metric}_n"] or row["samples"] or 1
        kept, trouble = self._kept(row, value)
        if kept is not None:
            n = int(count) if kept.influences is None else len(kept.influences)
            try:
                if n != int(count):
                    raise ValueError(f"it has influences of {n} samples")
                return Estimate(value, n, row[f"{self.metric}_se"], kept.influences, kept.halves), ""
            except ValueError as error:
                trouble = f"is damaged ({error})"
        return Estimate(value, int(count), row[f"{self.metric}_se"]), trouble

    def _kept(self, row: dict[str, Any], value: float) -> tuple[Kept | None, str]:
        if _known(row, ("key", "reference_sha256", f"{self.metric}_sha256", "samples")) is None:
            return None, ""
        file = row["file"]
        path = influence_path(self.files[file].folder, row, self.metric)
        if path.name not in self.names[file]:
            return None, f"is not in {path.parent}"
        try:
            kept = load_kept(path)
        except FileNotFoundError:
            return None, f"is not in {path.parent}"
        except Damaged as error:
            return None, f"is damaged ({error})"
        if not math.isclose(kept.value, value, rel_tol=ROUNDING):
            return None, f"was kept with another {self.metric}"
        return kept, ""


def _names(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir()}
    except OSError:
        return set()
