"""Results of a metric: the rows of any CSV with the columns that are needed, a person's edits included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError, unknown
from ..metrics.metric import Metric
from ..registry import Registry
from .bundle import results_file
from .reading import read_sheet

__all__ = ["Results", "metric_named", "pooled", "read_results"]

NEEDED = ("sampler", "nfe")
WHOLE = ("budget", "steps", "samples")
ASIDE = ("batch_size", "reference_count", "reference_features")  # whole numbers too, which nobody computes with
NEVER_NEGATIVE = ("fid", "ode_rmse", "ode_start", "isc", "precision", "recall")
STATUSES = ("done", "skipped", "failed")


@dataclass(frozen=True)
class Results:
    """What a file holds of a metric.

    Attributes:
        name: what the user calls it.
        every: its rows, skipped and failed cells too, with the columns of results.csv as far as the file has them:
            numbers where they are numbers, else text; None or NaN where a field is empty, and '' where there is no
            guidance.
        folder: the run's folder, in which the file lies; of a bundle the one that it was unpacked into.
        notes: what is to be told of it.
    """

    name: str
    every: pd.DataFrame
    folder: Path
    metric: str
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> pd.DataFrame:
        """The rows in which the metric was measured."""
        return self.every[measured(self.every, self.metric)]

    @property
    def called(self) -> Path:
        """The folder as the user knows it: a bundle is its own."""
        path = Path(self.name)
        return path if path.is_file() and path.parent != self.folder else self.folder

    @property
    def nothing(self) -> str:
        """What to say of a file without `rows`."""
        if not len(self.every):
            return f"{self.name} has no rows"
        return f"{self.name} has no row in which {self.metric} was measured, of {len(self.every)}"


def measured(rows: pd.DataFrame, metric: str) -> pd.Series:
    """[rows], whether the metric has a value there."""
    done = rows[metric].notna()
    return done & (rows["status"] == "done") if "status" in rows.columns else done


def read_results(path: Path, metric: str = "fid") -> Results:
    """The rows of a results.csv, or of the one in a run's folder or bundle. Raises UserError where it is none, lacks
    the metric, or has a value that cannot be.
    """
    place = results_file(path)
    file = place if place.parent == path or place == path else path / "results.csv"  # as errors call it
    sheet = read_sheet(place, NEEDED, file)
    every = sheet.rows
    if metric not in every.columns:
        raise _not_measured(path, file, list(every.columns), metric)
    notes = [f"{path}: the last line was cut off and is left out"] if sheet.cut else []
    for name in ("nfe", *WHOLE, metric, f"{metric}_se", f"{metric}_n"):
        if name in every.columns:
            every[name] = _numbers(file, every[name], sheet.decimal_comma)
    if "seed" in every.columns:  # stays text, since 64 bits do not fit a float; 0.0 is what pandas makes of 0
        every["seed"] = every["seed"].str.replace(r"\.0+$", "", regex=True)
    if "status" in every.columns:
        every["status"] = every["status"].fillna("done")
    if "guidance" in every.columns:  # 1.0 is what pandas makes of 1, which is none
        every["guidance"] = every["guidance"].fillna("").str.replace(r"^(\d+)\.0+$", r"\1", regex=True).replace("1", "")
    infinite = np.isinf(every[metric].to_numpy(float))
    if count := int(infinite.sum()):
        notes.append(f"{path}: {metric} is infinite in {count} row{'s' if count > 1 else ''}, not counted as measured")
        every.loc[infinite, metric] = math.nan
    _check(file, every, metric, sheet.decimal_comma)
    return Results(str(path), every, place.parent, metric, tuple(notes))


def _not_measured(path: Path, file: Path, columns: list[str], metric: str) -> UserError:
    """The error for a file without the metric's column."""
    there = [name for name in columns if f"{name}_se" in columns and f"{name}_n" in columns]
    if "key" not in columns or not there:  # no run has written it
        return UserError(f"{file} lacks the column {metric}; it has {', '.join(columns)}")
    if path.is_file() and file != path:
        return UserError(f"{metric} was not measured in the bundle {path}; it has {', '.join(there)}")
    folder, wanted = (path if path.is_dir() else file.parent), ",".join([*there, metric])
    return UserError(
        f"{metric} was not measured in {path}; run its command again with --metrics {wanted} --out {folder}: no sample "
        "that the cache has is drawn again"
    )


def metric_named(name: str, registry: Registry, paths: Sequence[Path]) -> Metric:
    """The metric of that name. Raises UserError; where a file has its column, it says that a plugin is missing."""
    try:
        return registry.metric(name)
    except UserError:
        for path in paths:
            columns = set(read_sheet(results_file(path), NEEDED).rows.columns) if path.exists() else set()
            if {name, f"{name}_se"} <= columns:
                raise UserError(
                    f"{path} has the metric '{name}', and no plugin that is loaded registers it: add the --plugin it "
                    "was measured with"
                ) from None
        raise


def _numbers(file: Path, column: pd.Series, decimal_comma: bool) -> pd.Series:
    text = column.str.replace(",", ".") if decimal_comma else column
    numbers = text.map(_number, na_action="ignore").astype("float64")
    bad = numbers.isna() & column.notna() & (column.str.lower() != "nan")
    _refuse(file, column, bad, "a number")
    return numbers


def _number(text: str) -> float:
    """NaN where it is none. pandas' to_numeric is off by the last bit before 3.1, and takes 1e400 for no number."""
    try:
        return float("nan" if "_" in text else text)
    except ValueError:
        return float("nan")


def _check(file: Path, every: pd.DataFrame, metric: str, decimal_comma: bool) -> None:
    """Raises UserError for the first row with a value that cannot be."""
    _refuse(file, every["sampler"], every["sampler"].isna(), "a sampler's name")
    if "status" in every.columns:
        for status in every["status"].dropna().unique():
            if status not in STATUSES:
                line = every.index[every["status"] == status][0]
                raise UserError(f"{file}, line {line}: {unknown('status', status, STATUSES)}")
    finite = np.isfinite(every["nfe"].to_numpy(float))
    _refuse(file, every["nfe"], measured(every, metric) & ~(finite & (every["nfe"] > 0)), "a number above 0")
    for name in (*WHOLE, f"{metric}_n", *ASIDE):
        if name in every.columns:
            values = _numbers(file, every[name], decimal_comma) if name in ASIDE else every[name]
            _refuse(file, values, values.notna() & ~((values >= 1) & (values % 1 == 0)), "a whole number from 1 up")
    if metric in NEVER_NEGATIVE:
        _refuse(file, every[metric], every[metric] < 0, "a number from 0 up")
    if f"{metric}_se" in every.columns:
        errors = every[f"{metric}_se"]
        _refuse(file, errors, errors.notna() & ~(np.isfinite(errors) & (errors >= 0)), "a number from 0 up, or empty")


def _refuse(file: Path, column: pd.Series, bad: pd.Series, expected: str) -> None:
    if bad.any():
        line = column.index[bad][0]
        value = column[bad].iloc[0]
        found = "nothing" if pd.isna(value) else f"'{value}'"
        raise UserError(f"{file}, line {line}: {column.name} is {expected}, got {found}")


def pooled(results: Sequence[Results]) -> pd.DataFrame:
    """The rows of several files under one another, renumbered; the column `file` says of which each is."""
    frames = [one.every.assign(file=i) for i, one in enumerate(results)]
    rows = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    return rows.assign(guidance=rows["guidance"].fillna("")) if "guidance" in rows.columns else rows
