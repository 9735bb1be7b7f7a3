"""Comparing results: which differences are real."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..bench.influences import influence_path, load_kept
from ..errors import unknown
from ..files import Damaged
from .results import Results, conditions

__all__ = ["Comparison", "Difference", "compare", "compare_with_baseline", "difference", "holm"]

CELL = ("model", "sampler", "spacing", "final", "samples", "seed")
VARIED = ("model", "samples", "seed")


@dataclass
class Difference:
    """One cell in two results: the metric of `other` less that of `base`.

    error: the standard error of the difference; how: paired, unpaired, or why there is none. p: Holm-adjusted.
    """

    sampler: str
    nfe: float
    base: float
    other: float
    error: float | None
    how: str
    direction: str = "lower"
    p: float | None = None

    @property
    def delta(self) -> float:
        return self.other - self.base

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %."""
        if self.error is None:
            return None
        return self.delta - 1.96 * self.error, self.delta + 1.96 * self.error

    @property
    def verdict(self) -> str:
        if self.p is None:
            return "unknown"
        if self.p >= 0.05:
            return "no difference"
        return "better" if (self.delta < 0) == (self.direction == "lower") else "worse"


@dataclass
class Comparison:
    """What two results say together. warnings: conditions that differ, and what files lack; decisive: those among them
    that make the differences meaningless.
    """

    base: str
    other: str
    metric: str
    direction: str
    differences: list[Difference]
    only_base: list[str]
    only_other: list[str]
    warnings: list[str]
    decisive: list[str]


def compare(base: Results, other: Results, direction: str = "lower") -> Comparison:
    """`other` against `base`, cell by cell: the same sampler with the same options, spacing and counted evaluations."""
    both = [name for name in CELL if name in base.rows.columns and name in other.rows.columns]
    # where no value is common, two models, counts or seeds are being compared, and the warnings say so
    shared = [name for name in both if name not in VARIED or set(base.rows[name]) & set(other.rows[name])]
    keys = [*shared, "nfe"]
    doubled = [
        f"{results.name} has {count} cells twice; the last row of each counts"
        for results in (base, other)
        if (count := int(results.rows.duplicated(keys, keep="last").sum()))
    ]
    left = base.rows.drop_duplicates(keys, keep="last").set_index(keys, drop=False)
    right = other.rows.drop_duplicates(keys, keep="last").set_index(keys, drop=False)
    common = [key for key in left.index if key in right.index]
    warnings, decisive = conditions(
        replace(base, rows=left.loc[common] if common else left),
        replace(other, rows=right.loc[common] if common else right),
    )
    differences = [difference(base, left.loc[key], other, right.loc[key], direction) for key in common]
    holm(differences)
    return Comparison(
        base.name,
        other.name,
        base.metric,
        direction,
        differences,
        [_label(left.loc[key]) for key in left.index if key not in right.index],
        [_label(right.loc[key]) for key in right.index if key not in left.index],
        [*warnings, *doubled],
        decisive,
    )


def compare_with_baseline(results: Results, baseline: str, direction: str = "lower") -> Comparison:
    """Every sampler of one run against its sampler `baseline`, at equal evaluations."""
    names = sorted(set(results.rows["sampler"]))
    if baseline not in names:
        raise unknown("baseline", baseline, names)
    rows = results.rows
    differences, alone = [], []
    for _, row in rows[rows["sampler"] != baseline].iterrows():
        match = rows[(rows["sampler"] == baseline) & (rows["nfe"] == row["nfe"])]
        for name in ("samples", "seed"):
            if name in rows.columns:
                match = match[match[name] == row[name]]
        if len(match):
            differences.append(difference(results, match.iloc[-1], results, row, direction))
        else:
            alone.append(_label(row))
    holm(differences)
    return Comparison(baseline, results.name, results.metric, direction, differences, [], alone, [], [])


def holm(differences: Sequence[Difference]) -> None:
    """Sets each difference's p-value (two-sided, normal), adjusted for the number of them (Holm 1979)."""
    known = [d for d in differences if d.error is not None]
    raw = {}
    for d in known:
        assert d.error is not None
        if d.error > 0:
            raw[id(d)] = math.erfc(abs(d.delta) / d.error / math.sqrt(2))
        else:  # the same samples, or none that differ
            raw[id(d)] = 1.0 if d.delta == 0 else 0.0
    largest = 0.0
    for rank, d in enumerate(sorted(known, key=lambda d: raw[id(d)])):
        largest = max(largest, min(1.0, (len(known) - rank) * raw[id(d)]))
        d.p = largest


def difference(base: Results, a: pd.Series, other: Results, b: pd.Series, direction: str = "lower") -> Difference:
    """Row b of `other` less row a of `base`; its p-value is left to `holm`."""
    error, how = _error(base, a, other, b)
    values = float(a[base.metric]), float(b[base.metric])
    return Difference(str(b["sampler"]), float(b["nfe"]), *values, error, how, direction)


def _error(base: Results, a: pd.Series, other: Results, b: pd.Series) -> tuple[float | None, str]:
    """The standard error of a difference, and how it was had."""
    same = all(name in a and name in b and a[name] == b[name] for name in ("seed", "samples", "reference_sha256"))
    one, two = _influences(base, a), _influences(other, b)
    if same and one is not None and two is not None and len(one) == len(two):
        return float((two - one).std(ddof=1) / math.sqrt(len(one))), "paired"
    errors = [float(row.get(f"{base.metric}_se", math.nan)) for row in (a, b)]
    if any(math.isnan(error) for error in errors):
        return None, "no standard errors"
    return math.hypot(*errors), "unpaired"


def _influences(results: Results, row: pd.Series) -> np.ndarray | None:
    try:
        return load_kept(influence_path(results.folder, dict(row), results.metric)).influences
    except (KeyError, ValueError, FileNotFoundError, Damaged):
        return None


def _label(row: pd.Series) -> str:
    spacing = f" ({row['spacing']})" if "spacing" in row and not pd.isna(row["spacing"]) else ""
    return f"{row['sampler']}{spacing} at {row['nfe']:g}"
