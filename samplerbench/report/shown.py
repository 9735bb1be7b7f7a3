"""The rows that a table, a chart or a report shows, with what their statistics need: read once, for all views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..metrics.metric import Metric
from ..stats.best import best_set
from .age import newest, of_older_code
from .choice import axis_of, cells, configuration
from .compare import CONFIDENCE
from .evidence import Evidence, evidence
from .results import Results, measured, pooled

__all__ = ["Shown", "plain_column", "shown"]


@dataclass(frozen=True, eq=False)
class Shown:
    """Attributes:
    axis: what cells are set side by side by: budget, steps or nfe. columns: its values, increasing.
    rows: those that are shown, skipped and failed cells too; their column `label` names the configuration.
    known: those of them in which the metric was measured. proof: their estimates, in that order.
    best: the places in `known` of the cells that may be the best of their column.
    notes: what is to be told.
    """

    files: tuple[Results, ...]
    metric: Metric
    axis: str
    columns: tuple[float, ...]
    rows: pd.DataFrame
    known: pd.DataFrame
    proof: Evidence
    best: frozenset[int]
    notes: tuple[str, ...]

    def places(self, column: float) -> list[int]:
        """Where in `known` the cells of a column are."""
        found: list[int] = np.flatnonzero(self.known[self.axis].to_numpy(float) == column).tolist()
        return found


def shown(files: Sequence[Results], metric: Metric, force: bool = False) -> Shown:
    """The rows of files together. Of a cell that several of them have the newest row counts, of a sampler the code of
    its newest row; `force` keeps rows of older code.
    """
    rows = pooled(files)
    axis = axis_of(rows)
    rows = rows[rows[axis].notna()].assign(label=lambda known: _labels(known))
    lines: list[str] = []
    if not force:
        older, lines = of_older_code(rows, axis, metric.name)
        rows = rows[~older]
    rows, notes = _once(rows, axis, metric.name)
    notes = [*notes, *lines]
    known = rows[measured(rows, metric.name)]
    proof = evidence(known, files, metric.name)
    columns = tuple(sorted(float(column) for column in rows[axis].unique()))
    told = [*(note for one in files for note in one.notes), *notes, *proof.notes(range(len(known)))]
    one = Shown(tuple(files), metric, axis, columns, rows, known, proof, frozenset(), tuple(dict.fromkeys(told)))
    best = frozenset(k for column in columns for k in _best(one.places(column), proof, metric))
    return Shown(one.files, metric, axis, columns, rows, known, proof, best, one.notes)


def plain_column(rows: pd.DataFrame, name: str) -> list[Any]:
    """A column as a list, every missing value None; all None where there is no such column."""
    if name not in rows.columns:
        return [None] * len(rows)
    column = rows[name].astype(object)
    values: list[Any] = column.where(column.notna(), None).tolist()
    return values


def _labels(rows: pd.DataFrame) -> list[str]:
    """Sampler and spacing, its guidance, and the last step where that alone tells rows apart."""
    spacing, final, guidance = (
        (rows[name].fillna("") if name in rows.columns else pd.Series("", index=rows.index)).astype(str).tolist()
        for name in ("spacing", "final", "guidance")
    )
    names = [configuration(*one) for one in zip(rows["sampler"].tolist(), spacing, guidance, strict=True)]
    ends: dict[str, set[str]] = {}
    for name, end in zip(names, final, strict=True):
        ends.setdefault(name, set()).add(end)
    return [f"{n} (final={end})" if end and len(ends[n]) > 1 else n for n, end in zip(names, final, strict=True)]


def _once(rows: pd.DataFrame, axis: str, metric: str) -> tuple[pd.DataFrame, list[str]]:
    """The newest row of each cell, as `choice` has it, and a note where there were others."""
    kept = newest(rows, ["label", axis], metric)
    again = int((~kept).sum())
    return rows[kept], [f"{cells(again)} more than once; the newest row of each counts"] if again else []


def _best(within: Sequence[int], proof: Evidence, metric: Metric) -> set[int]:
    """Those of the estimates `within` one column that may be the best; the best by its value alone where that one has
    no error.
    """
    if not within:
        return set()
    estimates = [proof.estimates[k] for k in within]
    streams = [proof.streams[k] for k in within]
    maybe = best_set(estimates, metric.direction, streams, extrapolate=metric.extrapolates, confidence=CONFIDENCE)
    chosen = {k for k, one in zip(within, maybe, strict=True) if one}
    pick = min if metric.direction == "lower" else max
    top = pick(proof.estimates[k].value for k in within)
    return chosen | {k for k in within if proof.estimates[k].value == top and proof.estimates[k].se is None}
