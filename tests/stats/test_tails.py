import numpy as np
import pytest

from samplerbench.stats.difference import difference
from samplerbench.stats.estimate import Estimate
from samplerbench.stats.tails import concentration, standard_error, widening


def test_concentration_counts_who_carries_the_error():
    assert concentration(np.array([1.0, -1.0] * 50)) == pytest.approx(0.01)
    few = np.zeros(1000)
    few[:8] = 1.0
    assert concentration(few) == pytest.approx(1 / 8)
    assert concentration(np.zeros(5)) == 0.0


def test_the_error_is_plain_then_widened_then_none():
    rng = np.random.default_rng(0)
    x = rng.normal(size=1000)
    x -= x.mean()
    assert standard_error(x) == (pytest.approx(x.std(ddof=1) / 1000**0.5), "")
    x[:10] = 15 * (1 + rng.random(10))
    x -= x.mean()
    error, note = standard_error(x)
    assert error > 1.1 * x.std(ddof=1) / 1000**0.5
    assert "of 1000 samples carry the error, so it is widened" in note
    x[0] = 500.0
    error, note = standard_error(x - x.mean())
    assert error is None
    assert "about 1.0 of 1000 samples" in note


def test_the_widened_interval_of_a_skewed_mean_holds_it():
    """Squares of exponential numbers: the plain interval of their mean is too short."""
    plain = wide = 0
    for seed in range(200):
        x = np.random.default_rng(seed).exponential(size=80) ** 2
        gap, error = abs(x.mean() - 2.0), x.std(ddof=1) / 80**0.5
        plain += gap <= 1.96 * error
        wide += gap <= 1.96 * error * widening(x - x.mean())
    assert plain < 184 < wide


def test_two_cells_that_differ_in_few_samples_are_compared_unpaired():
    x = np.random.default_rng(0).normal(size=500)
    y = x.copy()
    y[3] += 1.0
    a, b = (Estimate(float(v.mean()), 500, float(v.std(ddof=1)) / 500**0.5, v - v.mean()) for v in (x, y))
    d = difference(a, b, paired=True, extrapolate=False)
    assert (d.how, d.se) == ("unpaired", pytest.approx(np.hypot(a.se, b.se)))
