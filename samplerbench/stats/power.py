"""A power law through estimates: the slope of their logarithms."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from .estimate import Estimate
from .tails import standard_error

__all__ = ["power_law"]


def power_law(
    x: Sequence[float], estimates: Sequence[Estimate], streams: Sequence[Hashable]
) -> tuple[float, float, float | None] | None:
    """The exponent, the factor and the exponent's standard error of value ≈ factor · x^exponent, by least squares on
    the logarithms; None for fewer than three different x, or for x or values that are not above 0.

    The exponent is Σ w_k ln v_k, so its influences are Σ w_k ψ_k / v_k where all estimates are of one stream and have
    influences; what they share then cancels. Otherwise their errors are taken as independent; the error is None where
    one of them is not known. It is that of drawing other samples, not that of a curve which is no power law.
    """
    if len(set(x)) < 3 or min(x) <= 0 or any(one.value <= 0 for one in estimates):
        return None
    logs, values = np.log(np.array(x, dtype=np.float64)), np.array([one.value for one in estimates])
    weights = (logs - logs.mean()) / np.square(logs - logs.mean()).sum()
    exponent = float(weights @ np.log(values))
    factor = math.exp(float(np.log(values).mean()) - exponent * float(logs.mean()))
    relative = weights / values
    kept = [one.influences for one in estimates]
    if len({*streams}) == 1 and None not in streams and len({one.n for one in estimates}) == 1 and _all(kept):
        return exponent, factor, standard_error(relative @ np.stack([each for each in kept if each is not None]))[0]
    errors = [one.se for one in estimates]
    if any(one is None for one in errors):
        return exponent, factor, None
    return exponent, factor, float(np.linalg.norm(relative * np.array(errors, dtype=np.float64)))


def _all(kept: Sequence[object]) -> bool:
    return all(one is not None for one in kept)
