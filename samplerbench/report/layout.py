"""The table of results as plain data: a row a sampler, a column a number of evaluations, and which may be the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..metrics.metric import Metric
from ..stats.best import best_set
from ..stats.honest import Honest, honest_best
from .age import newest, of_older_code
from .choice import axis_of, cells
from .compare import CONFIDENCE
from .evidence import Evidence, evidence
from .results import Results, measured, pooled

__all__ = ["Cell", "HonestBest", "Layout", "layout"]


@dataclass(frozen=True)
class Cell:
    """What a table says of a cell.

    Attributes:
        value, se: of the metric; None where it was not measured, or has no error.
        ratio: to the best value of the column.
        nfe: the counted evaluations where they are not the column's number.
        best: whether it may be the best of its column. status: done, skipped, failed; '' where there is no cell.
    """

    value: float | None = None
    se: float | None = None
    ratio: float | None = None
    nfe: float | None = None
    best: bool = False
    status: str = ""


@dataclass(frozen=True)
class HonestBest:
    """The best of a column, chosen and estimated on different samples; None where the files lack what that takes."""

    column: float
    sampler: str
    found: Honest | None


@dataclass(frozen=True)
class Layout:
    """A row a sampler, a column a number of evaluations or steps.

    Attributes:
        axis: what the columns are: budget, steps or nfe. columns: their numbers.
        rows: the cells of each sampler, by its label.
        how: how the errors of differences were had that the best are found by: paired, unpaired, mixed, or '' where
            there are none. extrapolated: whether the best are those of infinitely many samples.
        shown: the rows of the files that the cells are of.
        notes: what is to be told.
    """

    metric: Metric
    axis: str
    columns: list[float]
    rows: dict[str, list[Cell]]
    how: str
    extrapolated: bool
    honest: list[HonestBest]
    shown: pd.DataFrame
    notes: list[str]


def layout(files: Sequence[Results], metric: Metric, honest: bool = False, force: bool = False) -> Layout:
    """The rows of files in one table. Of a cell that several of them have the newest row counts, of a sampler the code
    of its newest row.

    honest: whether the best of each column is to be estimated on samples that did not choose it. force: rows of older
    code are shown, too.
    """
    rows = pooled(files)
    axis = axis_of(rows)
    rows = rows[rows[axis].notna()].assign(label=lambda known: _labels(known))
    rows, notes = _once(rows, axis, metric.name)
    if not force:
        older, lines = of_older_code(rows, axis, metric.name)
        rows, notes = rows[~older], [*notes, *lines]
    known = rows[measured(rows, metric.name)]
    proof = evidence(known, files, metric.name)
    columns = sorted(float(column) for column in rows[axis].unique())
    places = {column: np.flatnonzero(known[axis].to_numpy(float) == column).tolist() for column in columns}
    best: set[int] = set()
    for within in places.values():
        best |= _best(within, proof, metric)
    honests = [_honest(column, places[column], known, proof, metric) for column in columns if honest and places[column]]
    return Layout(
        metric,
        axis,
        columns,
        _grid(rows, known, axis, columns, best, metric),
        _how(proof),
        metric.extrapolates and all(one.halves is not None for one in proof.estimates if one.se is not None),
        honests,
        rows,
        [*notes, *proof.notes(range(len(known)))],
    )


def _labels(rows: pd.DataFrame) -> list[str]:
    """Sampler and spacing, and the last step where that alone tells rows apart."""
    spacing, final = (
        (rows[name].fillna("") if name in rows.columns else pd.Series("", index=rows.index)).astype(str).tolist()
        for name in ("spacing", "final")
    )
    names = [
        sampler if "spacing=" in sampler or not on else f"{sampler} ({on})"
        for sampler, on in zip(rows["sampler"].tolist(), spacing, strict=True)
    ]
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


def _honest(column: float, within: Sequence[int], known: pd.DataFrame, proof: Evidence, metric: Metric) -> HonestBest:
    streams = {proof.streams[k] for k in within}
    found = None
    if len(streams) == 1 and None not in streams:
        estimates = [proof.estimates[k] for k in within]
        found = honest_best(estimates, metric.direction, extrapolate=False)  # to stand beside the figures
    sampler = known["label"].iloc[within[found.index]] if found else ""
    return HonestBest(column, sampler, found)


def _how(proof: Evidence) -> str:
    with_error = [k for k, one in enumerate(proof.estimates) if one.se is not None]
    if not with_error:
        return ""
    alone = [k for k in with_error if proof.streams[k] is None or proof.estimates[k].loadings() is None]
    if not alone and len({proof.streams[k] for k in with_error}) == 1:
        return "paired"
    return "unpaired" if len(alone) == len(with_error) else "mixed"


def _grid(
    rows: pd.DataFrame, known: pd.DataFrame, axis: str, columns: Sequence[float], best: set[int], metric: Metric
) -> dict[str, list[Cell]]:
    figures = known.groupby(axis)[metric.name]
    top = (figures.min() if metric.direction == "lower" else figures.max()).to_dict()
    maybe = dict(zip(known.index, (k in best for k in range(len(known))), strict=True))
    names = ("label", axis, "nfe", metric.name, f"{metric.name}_se", "status")
    plain = [_plain(rows, name) for name in names]
    at = {column: i for i, column in enumerate(columns)}
    grid: dict[str, list[Cell]] = {}
    for index, label, asked, nfe, value, se, status in zip(rows.index, *plain, strict=True):
        line = grid.setdefault(label, [Cell()] * len(columns))
        if index not in maybe:
            line[at[asked]] = Cell(status="none" if status in (None, "done") else status)
            continue
        ratio = value / top[asked] if top[asked] > 0 else None
        line[at[asked]] = Cell(value, se, ratio, None if nfe == asked else nfe, maybe[index], "done")
    return grid


def _plain(rows: pd.DataFrame, name: str) -> list[Any]:
    if name not in rows.columns:
        return [None] * len(rows)
    column = rows[name].astype(object)
    values: list[Any] = column.where(column.notna(), None).tolist()
    return values
