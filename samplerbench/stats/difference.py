"""The difference of one metric between two cells, and its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .estimate import Estimate
from .tails import MOST, PLAIN, concentration, widening

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
    extrapolated = extrapolate and _extrapolable(base, other)
    errors = {}
    for at_infinity in {False, extrapolated}:
        error = _paired_error(base, other, at_infinity) if paired and _pairable(base, other) else None
        how: How = "paired"
        if error is None:
            error = _unpaired_error(base, other, at_infinity)
            how = "unpaired" if error is not None else "no standard errors"
        errors[at_infinity] = error
    delta_n = other.value - base.value
    if not extrapolated:
        return Difference(delta_n, errors[False], delta_n, errors[False], how)
    assert base.at_infinity is not None
    assert other.at_infinity is not None
    delta = other.at_infinity - base.at_infinity
    return Difference(delta, errors[True], delta_n, errors[False], how, extrapolated=True)


def _pairable(base: Estimate, other: Estimate) -> bool:
    """Whether the errors of two estimates on the same noise can be compared sample by sample or half by half."""
    a, b = base.loadings(), other.loadings()
    kinds = (base.influences is None) == (other.influences is None)
    return base.n == other.n and kinds and a is not None and b is not None and len(a) == len(b)


def _extrapolable(base: Estimate, other: Estimate) -> bool:
    """Whether both have halves, of equally many halvings."""
    return base.halves is not None and other.halves is not None and len(base.halves) == len(other.halves)


def _same(base: Estimate, other: Estimate) -> bool:
    if base is other:
        return True
    if base.value != other.value or base.influences is None or other.influences is None:
        return False
    return np.array_equal(base.influences, other.influences)


def _paired_error(base: Estimate, other: Estimate, extrapolated: bool) -> float | None:
    """None where either error is not known, or too few samples make the difference to know its own."""
    if base.se is None or other.se is None:
        return None
    a, b = base.loadings(), other.loadings()
    assert a is not None
    assert b is not None
    error = float(np.linalg.norm(b - a))
    if base.influences is not None:
        spread = concentration(b - a)
        if spread > MOST:
            return None
        error *= widening(b - a) if spread > PLAIN else 1.0
    if extrapolated:
        error = math.hypot(error, float(np.linalg.norm(other.halving_loadings() - base.halving_loadings())))
    return error


def _unpaired_error(base: Estimate, other: Estimate, extrapolated: bool) -> float | None:
    one, two = base.error(extrapolated), other.error(extrapolated)
    return None if one is None or two is None else math.hypot(one, two)
