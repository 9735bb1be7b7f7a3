import numpy as np
import pytest

from samplerbench.stats.difference import difference
from samplerbench.stats.estimate import Estimate


def two(seed=0, n=200, noise=0.1, bias=(0.0, 0.0), **kinds):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return x, x + noise * rng.normal(size=n), bias


def test_paired_is_the_error_of_the_differences(mean_of):
    x, y, _ = two()
    d = difference(mean_of(x), mean_of(y), paired=True, extrapolate=False)
    assert (d.how, d.extrapolated) == ("paired", False)
    assert d.delta == d.delta_n == pytest.approx((y - x).mean())
    assert d.se == pytest.approx((y - x).std(ddof=1) / 200**0.5)
    loose = difference(mean_of(x), mean_of(y), paired=False, extrapolate=False)
    assert (loose.how, loose.delta) == ("unpaired", d.delta)
    assert loose.se == pytest.approx(np.hypot(x.std(ddof=1), y.std(ddof=1)) / 200**0.5)
    assert d.se < 0.15 * loose.se


def test_the_extrapolated_difference_is_free_of_biases(mean_of):
    x, y, _ = two()
    a, b = mean_of(x, bias=50.0), mean_of(y, bias=20.0)
    d = difference(a, b, paired=True, extrapolate=True)
    assert d.extrapolated
    assert d.delta == pytest.approx((y - x).mean())
    assert d.delta_n == pytest.approx((y - x).mean() - 30 / 200)
    assert d.se == pytest.approx(d.se_n)
    assert d.drifts
    assert not difference(mean_of(x), mean_of(y), paired=True, extrapolate=True).drifts


def test_what_the_halvings_add_is_the_spread_of_their_means(mean_of):
    x, y, _ = two()
    a, b = mean_of(x), mean_of(y)
    shift = np.random.default_rng(1).normal(size=(4, 1))
    moved = Estimate(b.value, b.n, b.se, b.influences, b.halves + shift)
    d = difference(a, moved, paired=True, extrapolate=True)
    assert d.delta == pytest.approx((y - x).mean() - shift.mean())
    spread = shift.std(ddof=1) / 4**0.5
    assert d.se == pytest.approx(np.hypot(d.se_n, spread))
    # where both cells move alike, pairing takes it away
    along = Estimate(a.value, a.n, a.se, a.influences, a.halves + shift)
    assert difference(along, moved, paired=True, extrapolate=True).se == pytest.approx(d.se_n)
    alone = difference(along, moved, paired=False, extrapolate=True)
    assert alone.se == pytest.approx(np.sqrt(a.se**2 + b.se**2 + 2 * spread**2))


def test_without_influences_the_halves_pair(mean_of):
    squares, truth = [], 0.1**2 / 200
    for seed in range(200):
        x, y, _ = two(seed)
        d = difference(mean_of(x, influences=False), mean_of(y, influences=False), paired=True, extrapolate=False)
        assert d.how == "paired"
        squares.append(d.se**2)
    assert np.mean(squares) == pytest.approx(truth, rel=0.15)


def test_one_result_twice_is_no_difference(mean_of):
    x, _, _ = two()
    one = Estimate(1.0, 200)
    assert difference(one, one, paired=False, extrapolate=True).how == "same"
    d = difference(mean_of(x), mean_of(x), paired=True, extrapolate=True)
    assert (d.how, d.delta, d.se) == ("same", 0.0, 0.0)


def test_unknown_errors_and_unequal_estimates(mean_of):
    x, y, _ = two()
    d = difference(Estimate(1.0, 200), mean_of(y), paired=True, extrapolate=True)
    assert (d.how, d.se, d.extrapolated) == ("no standard errors", None, False)
    # an error that was withheld (heavy tails) is not had again by pairing
    withheld = Estimate(1.0, 200, None, x - x.mean())
    assert difference(withheld, mean_of(y), paired=True, extrapolate=False).se is None
    for other in (mean_of(y[:100]), mean_of(y, influences=False)):
        assert difference(mean_of(x), other, paired=True, extrapolate=False).how == "unpaired"
