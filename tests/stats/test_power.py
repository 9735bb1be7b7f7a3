"""The slope of a power law, and its error."""

from __future__ import annotations

import math

import numpy as np
import pytest

from samplerbench.stats.estimate import Estimate
from samplerbench.stats.power import power_law

X = [5.0, 10.0, 20.0, 40.0]


def test_an_exact_power_law_is_found_exactly():
    found = power_law(X, [Estimate(3 * x**-1.5, 64, 0.0) for x in X], ["s"] * 4)
    assert found == pytest.approx((-1.5, 3.0, 0.0))


def test_what_the_estimates_share_cancels():
    """Errors that scale all values alike move the factor and not the exponent."""
    shared = np.random.default_rng(0).standard_normal(256)
    shared -= shared.mean()
    values = [7 * x**-2.0 for x in X]
    estimates = [Estimate(v, 256, float(v * shared.std(ddof=1) / 16), v * shared) for v in values]
    exponent, _, se = power_law(X, estimates, ["s"] * 4)
    assert exponent == pytest.approx(-2)
    assert se == pytest.approx(0, abs=1e-12)
    *_, apart = power_law(X, estimates, [None] * 4)
    logs = np.log(X) - np.log(X).mean()
    assert apart == pytest.approx(shared.std(ddof=1) / 16 / math.sqrt(np.square(logs).sum()))


def test_the_error_is_that_of_repeats():
    rng = np.random.default_rng(1)
    n, slopes, errors = 400, [], []
    for _ in range(200):
        draws = np.array([[x**-1.0] for x in X]) * (1 + 0.3 * rng.standard_normal((4, n)))
        estimates = [Estimate(d.mean(), n, float(d.std(ddof=1) / math.sqrt(n)), d - d.mean()) for d in draws]
        exponent, _, se = power_law(X, estimates, ["s"] * 4)
        slopes.append(exponent)
        errors.append(se)
    assert np.mean(slopes) == pytest.approx(-1, abs=0.01)
    assert np.mean(errors) == pytest.approx(np.std(slopes), rel=0.15)


def test_what_has_no_slope():
    one = Estimate(1.0, 64, 0.1)
    assert power_law(X[:2], [one] * 2, ["s"] * 2) is None
    assert power_law([5, 5, 10], [one] * 3, ["s"] * 3) is None
    assert power_law(X[:3], [one, Estimate(0.0, 64, 0.1), one], ["s"] * 3) is None
    assert power_law(X[:3], [one, Estimate(1.0, 64), one], ["s"] * 3) == (0.0, 1.0, None)
