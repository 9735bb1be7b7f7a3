"""The difference of one metric between two cells, and its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .estimate import Estimate
from .tails import standard_error

__all__ = ["Difference", "How", "difference"]

How = Literal["same", "paired", "unpaired", "no standard errors"]


@dataclass(frozen=True)
class Difference:
    """`other` less `base`.

    Attributes:
        delta: what is decided on: extrapolated to infinitely many samples where `extrapolated`, else delta_n.
        se: its standard error; None where it is not known.
        delta_n, se_n: the same of the n samples as they are.
        how: `same` (one result, delta 0), `paired` (sample by sample), `unpaired`, or why there is no error.
    """

    delta: float
    se: float | None
    delta_n: float
    se_n: float | None
    how: How
    extrapolated: bool = False

    @property
    def drifts(self) -> bool:
        """Whether delta and delta_n differ by more than half an error: then the number of samples matters."""
        return self.se is not None and abs(self.delta - self.delta_n) > 0.5 * self.se


def difference(base: Estimate, other: Estimate, *, paired: bool, extrapolate: bool) -> Difference:
    """The difference of two estimates of the same metric.

    paired: sample i of both came from the same noise. Estimates of different n, or of which one has neither influences
    nor halves, are compared as unpaired all the same, and so are two that differ in fewer than 4 samples (`tails`):
    what they share makes the true error smaller.
    extrapolate: decide on 2 Δ(n) - mean over the common halvings of Δ(n/2), which is free of a bias that falls as 1/n
    and that differs between the cells. SE² = Var(ψ_other - ψ_base) / n + Var over halvings of Δ(n/2) / H, the ψ being
    influences. Done where both have halves.

    Pass one object twice for two copies of one result; equal values with equal influences count as that, too.
    """
    if _same(base, other):
        return Difference(0.0, 0.0, 0.0, 0.0, "same", extrapolated=extrapolate and base.halves is not None)
    delta_n = other.value - base.value
    se_n, how = _error(base, other, paired, extrapolated=False)
    if not (extrapolate and _extrapolable(base, other)):
        return Difference(delta_n, se_n, delta_n, se_n, how)
    assert base.at_infinity is not None
    assert other.at_infinity is not None
    se, how = _error(base, other, paired, extrapolated=True)
    return Difference(other.at_infinity - base.at_infinity, se, delta_n, se_n, how, extrapolated=True)


def _extrapolable(base: Estimate, other: Estimate) -> bool:
    """Whether both have halves, of equally many halvings."""
    return base.halves is not None and other.halves is not None and len(base.halves) == len(other.halves)


def _same(base: Estimate, other: Estimate) -> bool:
    if base is other:
        return True
    if base.value != other.value or base.influences is None or other.influences is None:
        return False
    return np.array_equal(base.influences, other.influences)


def _error(base: Estimate, other: Estimate, paired: bool, extrapolated: bool) -> tuple[float | None, How]:
    """The standard error of the difference, and how it was had."""
    if base.se is None or other.se is None:
        return None, "no standard errors"
    error = _first_order(base, other) if paired and base.n == other.n else None
    if error is None:
        one, two = base.error(extrapolated), other.error(extrapolated)
        assert one is not None
        assert two is not None
        return math.hypot(one, two), "unpaired"
    if extrapolated:
        error = math.hypot(error, float(np.linalg.norm(other.halving_loadings() - base.halving_loadings())))
    return error, "paired"


def _first_order(base: Estimate, other: Estimate) -> float | None:
    """The paired error, sample by sample or half by half; None where the two lack the same means for it, or where too
    few samples make the difference to know its error.
    """
    if base.influences is not None and other.influences is not None:
        return standard_error(other.influences - base.influences)[0]
    if base.influences is not None or other.influences is not None or not _extrapolable(base, other):
        return None
    a, b = base.loadings(), other.loadings()
    assert a is not None
    assert b is not None
    return float(np.linalg.norm(b - a))
