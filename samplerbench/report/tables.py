"""The table of results as a view: a row a sampler, a column a number of evaluations, and which may be the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..metrics.metric import Metric
from ..stats.honest import honest_best
from .evidence import Evidence
from .results import Results, measured
from .shown import Shown, plain_column, shown
from .view import Cell, HonestBest, Reason, Row, Table

__all__ = ["conditions_line", "reasons", "table", "table_of"]

VERSIONS = ("torch", "samplerbench")  # told where rows were drawn with several


def table(files: Sequence[Results], metric: Metric, honest: bool = False, force: bool = False) -> Table:
    """The rows of files in one table; see `shown`, and `table_of`."""
    return table_of(shown(files, metric, force), honest)


def table_of(rows: Shown, honest: bool = False) -> Table:
    """The table of rows. honest: whether the best of each column is to be estimated on samples that did not choose
    it.
    """
    metric, proof = rows.metric, rows.proof
    places = {column: rows.places(column) for column in rows.columns}
    honests = [_honest(rows, column, places[column]) for column in rows.columns if honest and places[column]]
    counts = rows.rows["samples"].dropna().unique().tolist() if "samples" in rows.rows.columns else []
    return Table(
        metric.name,
        metric.title,
        metric.direction,
        metric.extrapolates,
        rows.axis,
        rows.columns,
        _rows(rows),
        _how(proof),
        metric.extrapolates and all(one.halves is not None for one in proof.estimates if one.se is not None),
        tuple(honests),
        int(counts[0]) if len(counts) == 1 else None,
        conditions_line(rows.rows[measured(rows.rows, metric.name)]),
        reasons(rows.rows),
        rows.notes,
    )


def conditions_line(rows: pd.DataFrame) -> str:
    """What all the rows have in common: model, samples, seed, reference, precision, device; where they differ, each."""

    def of(name: str) -> str:
        known = rows[name].dropna().unique().tolist() if name in rows.columns else []
        return " and ".join(f"{v:.0f}" if isinstance(v, float) else str(v) for v in known) or "unknown"

    reference = f"{of('extractor')} against {of('reference_count')} real images"
    line = f"{of('model')}, {of('samples')} samples, seed {of('seed')}, {reference}, {of('dtype')} on {of('device')}"
    several = [name for name in VERSIONS if name in rows.columns and rows[name].nunique() > 1]
    return line + "".join(f"; drawn with {name} {of(name)}" for name in several)


def reasons(rows: pd.DataFrame) -> tuple[Reason, ...]:
    """What was skipped or failed and why, and why a metric or its error is missing."""
    if "reason" not in rows.columns:
        return ()
    told = rows[rows["reason"].notna() & (rows["reason"] != "")]
    by: dict[tuple[str, str], list[str]] = {}
    status = told["status"].fillna("done").tolist() if "status" in told.columns else ["done"] * len(told)
    for label, state, reason in zip(_cell_names(told), status, told["reason"].tolist(), strict=True):
        by.setdefault((state, reason), []).append(label)
    return tuple(Reason(state, text, tuple(labels)) for (state, text), labels in by.items())


def _cell_names(rows: pd.DataFrame) -> list[str]:
    """'ddim nfe=10 guidance=2', as a run calls its cells."""
    asked = rows.reindex(columns=["sampler", "budget", "steps", "guidance"]).astype(object)
    names = []
    for sampler, budget, steps, guidance in asked.map(_whole).itertuples(index=False):
        value = f" nfe={budget}" if pd.notna(budget) else f" steps={steps}" if pd.notna(steps) else ""
        names.append(f"{sampler}{value}{f' guidance={guidance}' if pd.notna(guidance) and guidance else ''}")
    return names


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value == value else value


def _honest(rows: Shown, column: float, within: Sequence[int]) -> HonestBest:
    proof = rows.proof
    streams = {proof.streams[k] for k in within}
    found = None
    if len(streams) == 1 and None not in streams:
        estimates = [proof.estimates[k] for k in within]
        found = honest_best(estimates, rows.metric.direction, extrapolate=False)  # to stand beside the figures
    sampler = rows.known["label"].iloc[within[found.index]] if found else ""
    return HonestBest(column, sampler, found)


def _how(proof: Evidence) -> str:
    with_error = [k for k, one in enumerate(proof.estimates) if one.se is not None]
    if not with_error:
        return ""
    alone = [k for k in with_error if proof.streams[k] is None or proof.estimates[k].loadings() is None]
    if not alone and len({proof.streams[k] for k in with_error}) == 1:
        return "paired"
    return "unpaired" if len(alone) == len(with_error) else "mixed"


def _rows(rows: Shown) -> tuple[Row, ...]:
    metric, axis = rows.metric, rows.axis
    figures = rows.known.groupby(axis)[metric.name]
    top = (figures.min() if metric.direction == "lower" else figures.max()).to_dict()
    place = {index: k for k, index in enumerate(rows.known.index)}
    names = ("label", axis, "nfe", metric.name, f"{metric.name}_se", "status")
    plain = [plain_column(rows.rows, name) for name in names]
    at = {column: i for i, column in enumerate(rows.columns)}
    grid: dict[str, list[Cell]] = {}
    rivals = rows.rows["label"].nunique() > 1
    for index, label, asked, nfe, value, se, status in zip(rows.rows.index, *plain, strict=True):
        line = grid.setdefault(label, [Cell()] * len(rows.columns))
        if index not in place:
            line[at[asked]] = Cell(status="none" if status in (None, "done") else status)
            continue
        ratio = value / top[asked] if top[asked] > 0 else None
        counted = None if nfe == asked else nfe
        best = rivals and place[index] in rows.best
        line[at[asked]] = Cell(value, se, ratio, counted, best, "done")
    return tuple(Row(label, tuple(line)) for label, line in grid.items())
