"""Which differences between results are real."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from ..metrics.metric import Metric
from ..registry import Registry
from ..stats.simultaneous import Tested, simultaneous
from .choice import axis_of, cells, configuration
from .evidence import Evidence, evidence
from .matching import Matched, match, match_baseline
from .results import Results, pooled
from .said import planned_without_rows, read_run

__all__ = [
    "CONFIDENCE",
    "CONFIDENT",
    "Compared",
    "Comparison",
    "Family",
    "compare",
    "compare_with_baseline",
    "judge",
    "pool_with_baseline",
]

CONFIDENCE = 0.95
REASONS = 5  # that are told one by one
CONFIDENT = f"{CONFIDENCE * 100:.0f} %"
Family = Literal["evaluations", "all"]
Verdict = Literal["same", "better", "worse", "undecided", "unknown"]


@dataclass(frozen=True)
class Judged:
    """A difference of a family, other less base.

    tested: the difference with its simultaneous interval. size: how many differences share the confidence of that.
    """

    tested: Tested
    size: int
    direction: Literal["lower", "higher"]

    @property
    def delta(self) -> float:
        """What is decided on: extrapolated to infinitely many samples where the metric says so and the files can."""
        return self.tested.difference.delta

    @property
    def delta_n(self) -> float:
        """The same of the samples that there are."""
        return self.tested.difference.delta_n

    @property
    def how(self) -> str:
        """same, paired, unpaired, or why there is no error."""
        return self.tested.difference.how

    @property
    def verdict(self) -> Verdict:
        """What the interval says, so that the two never contradict each other."""
        if self.how == "same":
            return "same"
        sign = self.tested.sign
        if not sign:
            return "unknown" if sign is None else "undecided"
        return "better" if (sign < 0) == (self.direction == "lower") else "worse"


@dataclass(frozen=True)
class Compared:
    """A cell in two results, or two cells of one: the metric of both, and their difference.

    sampler, spacing, guidance: of the other, '' where that is not known, or there is none. guidance_base: of the base.
    asked: its budget, or steps, or counted evaluations.
    nfe: what was counted.
    """

    sampler: str
    spacing: str
    guidance: str
    guidance_base: str
    asked: float
    nfe: float
    base: float
    other: float
    judged: Judged

    @property
    def label(self) -> str:
        """The sampler with its spacing and guidance."""
        return configuration(self.sampler, self.spacing, self.guidance)


@dataclass(frozen=True)
class Comparison:
    """What two results say together.

    Attributes:
        axis: the column at whose equal values cells are set against each other.
        family: which differences share the confidence of their intervals.
        only_base, only_other: the cells without a counterpart, a text a sampler.
        warnings: conditions that differ, and what files lack; decisive: those among them that make the differences
            meaningless.
    """

    base: str
    other: str
    metric: str
    title: str
    direction: Literal["lower", "higher"]
    axis: str
    family: Family
    differences: list[Compared]
    only_base: list[str]
    only_other: list[str]
    warnings: list[str]
    decisive: list[str]

    @property
    def extrapolated(self) -> bool:
        """Whether any difference is that of infinitely many samples."""
        return any(one.judged.tested.difference.extrapolated for one in self.differences)


def compare(files: Sequence[Results], metric: Metric, family: Family = "evaluations") -> list[Comparison]:
    """The further files against the first, cell by cell: the same sampler with the same options, spacing and last step,
    at equal budgets, or steps; at equal counted evaluations where the files were not asked in the same way. Families go
    across the comparisons.
    """
    pool = _pool(files)
    axes = {axis_of(one.rows) for one in files}
    axis = axes.pop() if len(axes) == 1 else "nfe"
    matched = [match(pool, files, other, axis) for other in range(1, len(files))]
    return _comparisons(pool, files, matched, metric, axis, family)


def compare_with_baseline(
    results: Results, baseline: str, registry: Registry, metric: Metric, family: Family = "evaluations"
) -> Comparison:
    """Every sampler of one run against its sampler `baseline`, at equal budgets; at equal counted evaluations where the
    run was asked for steps, which cost one sampler more than another.
    """
    return pool_with_baseline(_pool([results]), [results], baseline, registry, metric, family)


def pool_with_baseline(
    pool: pd.DataFrame,
    files: Sequence[Results],
    baseline: str,
    registry: Registry,
    metric: Metric,
    family: Family = "evaluations",
) -> Comparison:
    """The same of the rows of several files as of one run: `pool` says in its column `file` of which each is."""
    axis = "budget" if axis_of(pool) == "budget" else "nfe"
    missing = {name: why for one in files for name, why in _missing(one)}
    matched = match_baseline(pool, " and ".join(one.name for one in files), baseline, registry, axis, missing)
    return _comparisons(pool, files, [matched], metric, axis, family)[0]


def _missing(results: Results) -> list[tuple[str, str]]:
    """The samplers of a file that have no value of its metric, and why."""
    known = set(results.rows["sampler"])
    ended = {str(name): f"has no {results.metric} in {results.name}" for name in results.every["sampler"]}
    planned = planned_without_rows(results, read_run(results.folder))
    ended |= {name: f"is one of the samplers of {results.name}, and none of its cells is done" for name in planned}
    return [(name, why) for name, why in ended.items() if name not in known]


def judge(
    proof: Evidence, pairs: Sequence[tuple[int, int]], families: Sequence[Hashable], metric: Metric
) -> list[Judged]:
    """The differences of pairs (base, other) of rows. Those of one family have intervals that hold at once."""
    members: dict[Hashable, list[int]] = {}
    for i, name in enumerate(families):
        members.setdefault(name, []).append(i)
    found: dict[int, Judged] = {}
    for places in members.values():
        used = sorted({k for i in places for k in pairs[i]})
        place = {k: at for at, k in enumerate(used)}
        result = simultaneous(
            [proof.estimates[k] for k in used],
            [(place[pairs[i][0]], place[pairs[i][1]]) for i in places],
            [proof.streams[k] for k in used],
            extrapolate=metric.extrapolates,
            confidence=CONFIDENCE,
        )
        for i, one in zip(places, result.tested, strict=True):
            found[i] = Judged(one, result.size, metric.direction)
    return [found[i] for i in range(len(pairs))]


def _pool(files: Sequence[Results]) -> pd.DataFrame:
    """The rows of all files in which the metric was measured."""
    return pooled([Results(one.name, one.rows, one.folder, one.metric) for one in files])


def _without_error(rows: pd.DataFrame, pairs: Sequence[tuple[int, int]], judged: Sequence[Judged]) -> list[str]:
    """Why differences have no error, as far as the rows say it."""
    if "reason" not in rows.columns:
        return []
    places = sorted({k for pair, one in zip(pairs, judged, strict=True) if one.tested.p is None for k in pair})
    reasons = Counter(rows["reason"].iloc[places].dropna().tolist())
    return [f"{cells(count)}: {reason}" for reason, count in reasons.most_common(REASONS)]


def _comparisons(
    pool: pd.DataFrame, files: Sequence[Results], matched: Sequence[Matched], metric: Metric, axis: str, family: Family
) -> list[Comparison]:
    used = sorted({k for one in matched for pair in one.pairs for k in pair})
    place = {k: at for at, k in enumerate(used)}
    rows = pool.loc[used]
    proof = evidence(rows, files, metric.name)
    sampler, asked, nfe, value = (rows[name].tolist() for name in ("sampler", axis, "nfe", metric.name))
    spacing, guidance = (
        rows[name].fillna("").tolist() if name in rows.columns else [""] * len(rows) for name in ("spacing", "guidance")
    )
    pairs = [(place[a], place[b]) for one in matched for a, b in one.pairs]
    judged = judge(proof, pairs, ["all" if family == "all" else asked[b] for _, b in pairs], metric)
    compared = [
        Compared(sampler[b], spacing[b], guidance[b], guidance[a], asked[b], nfe[b], value[a], value[b], one)
        for (a, b), one in zip(pairs, judged, strict=True)
    ]
    notes = proof.notes(k for pair, one in zip(pairs, judged, strict=True) if one.how == "unpaired" for k in pair)
    notes += _without_error(rows, pairs, judged)
    comparisons, start = [], 0
    for one in matched:
        end = start + len(one.pairs)
        comparisons.append(
            Comparison(
                one.base,
                one.other,
                metric.name,
                metric.title,
                metric.direction,
                axis,
                family,
                compared[start:end],
                one.only_base,
                one.only_other,
                [*one.warnings, *(notes if one is matched[-1] else [])],
                one.decisive,
            )
        )
        start = end
    return comparisons
