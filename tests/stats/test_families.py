"""Families of differences and sets of the best, on means of correlated numbers, where everything is known."""

from statistics import NormalDist

import numpy as np
import pytest

from samplerbench.stats.best import best_set
from samplerbench.stats.estimate import Estimate
from samplerbench.stats.honest import honest_best
from samplerbench.stats.multipliers import JointErrors
from samplerbench.stats.simultaneous import simultaneous

K, N = 20, 300


def cells(rng, shared=0.9):
    """[K, N]: equal means, correlated as samplers on the same noise are."""
    common = rng.normal(size=N)
    return shared * common + (1 - shared**2) ** 0.5 * rng.normal(size=(K, N))


def test_the_draws_have_the_covariance_of_the_errors(mean_of):
    estimates = [mean_of(x) for x in cells(np.random.default_rng(0))[:3]]
    lonely = Estimate(0.0, 50, 0.7)
    for extrapolate in (False, True):
        joint = JointErrors([*estimates, lonely], ["a", "a", "b", None], extrapolate)
        draws = np.concatenate(list(joint.draws(40_000, 1)))
        loadings = [one.loadings() for one in estimates]
        wanted = np.diag([*(one.se**2 for one in estimates), 0.49])
        wanted[0, 1] = wanted[1, 0] = loadings[0] @ loadings[1]
        scale = np.sqrt(np.outer(np.diag(wanted), np.diag(wanted)))
        assert abs((draws.T @ draws / len(draws) - wanted) / scale).max() < 0.04
        assert joint.of_differences(np.array([0]), np.array([1]))[0] == pytest.approx(
            np.linalg.norm(loadings[0] - loadings[1])
        )
        assert joint.of_differences(np.array([0]), np.array([3]))[0] == pytest.approx(np.hypot(estimates[0].se, 0.7))


def test_a_lone_difference_has_the_normal_interval_and_many_lone_ones_sidaks(mean_of):
    x, y = cells(np.random.default_rng(0))[:2]
    one = simultaneous([mean_of(x), mean_of(y)], [(0, 1)], ["s", "s"], extrapolate=True)
    assert one.size == 1
    assert one.critical == pytest.approx(1.96, abs=1e-3)
    assert one.tested[0].half_width == pytest.approx(1.96 * one.tested[0].difference.se, rel=1e-3)
    many = [Estimate(0.0, 10, 1.0) for _ in range(200)]
    pairs = [(k, k + 100) for k in range(100)]
    assert simultaneous(many, pairs, [None] * 200, extrapolate=False).critical == pytest.approx(
        NormalDist().inv_cdf((1 + 0.95**0.01) / 2), abs=1e-2
    )


def test_the_two_ways_to_the_quantile_agree():
    """Independent differences are drawn jointly once a base joins them; with a base without error nothing changes."""
    base, others = Estimate(0.0, 10, 1e-9), [Estimate(0.0, 10, 1.0) for _ in range(50)]
    joint = simultaneous([base, *others], [(0, k) for k in range(1, 51)], [None] * 51, extrapolate=False, draws=20_000)
    assert joint.critical == pytest.approx(NormalDist().inv_cdf((1 + 0.95**0.02) / 2), abs=0.04)


def test_a_family_of_equal_cells_is_rejected_in_5_percent_and_interval_and_verdict_agree(mean_of):
    rng, rejected, bonferroni = np.random.default_rng(5), 0, NormalDist().inv_cdf(1 - 0.025 / (K - 1))
    for repeat in range(150):
        estimates = [mean_of(x) for x in cells(rng)]
        family = simultaneous(
            estimates, [(0, k) for k in range(1, K)], ["s"] * K, extrapolate=True, draws=800, seed=repeat
        )
        assert 2 < family.critical < bonferroni + 0.15
        for one in family.tested:
            low, high = one.interval
            assert (one.sign == 0) == (low <= 0 <= high) == (one.p > 0.05)
        rejected += any(one.sign for one in family.tested)
    assert 1 <= rejected <= 16  # 7.5 expected, the spread is 2.7


def test_unknown_and_same_have_no_part_in_the_family(mean_of):
    x, y = cells(np.random.default_rng(0))[:2]
    a, b, unknown = mean_of(x), mean_of(y), Estimate(3.0, N)
    family = simultaneous([a, b, unknown], [(0, 1), (0, 0), (0, 2)], ["s"] * 3, extrapolate=True)
    assert family.size == 1
    _, same, none = family.tested
    assert (same.difference.how, same.sign, same.p, same.interval) == ("same", 0, 1.0, (0.0, 0.0))
    assert (none.sign, none.p, none.interval) == (None, None, None)
    nothing = simultaneous([a, unknown], [(0, 1)], ["s"] * 2, extrapolate=True)
    assert nothing.size == 0
    with pytest.raises(ValueError, match="2 estimates need as many streams, got 1"):
        simultaneous([a, b], [(0, 1)], ["s"], extrapolate=True)


def test_best_set(mean_of):
    rng, kept = np.random.default_rng(3), 0
    shifts = np.zeros(K)
    shifts[10:] = 1.0  # half of the cells are far behind
    for repeat in range(100):
        estimates = [mean_of(x) for x in cells(rng) + shifts[:, None]]
        best = best_set(estimates, "lower", ["s"] * K, extrapolate=True, draws=800, seed=repeat)
        assert not any(best[10:])
        assert sum(best) >= 1
        kept += best[0]
    assert kept >= 88  # 95 expected at least
    flipped = [mean_of(-x) for x in cells(np.random.default_rng(0)) + shifts[:, None]]
    assert not any(best_set(flipped, "higher", ["s"] * K, extrapolate=True)[10:])


def test_best_set_of_few_and_of_unknown(mean_of):
    x = cells(np.random.default_rng(0))[0]
    a, unknown = mean_of(x), Estimate(-5.0, N)
    assert best_set([unknown], "lower", [None], extrapolate=True) == [None]
    assert best_set([a, unknown, a], "lower", ["s"] * 3, extrapolate=True) == [True, None, True]
    assert best_set([], "lower", [], extrapolate=True) == []
    # without error nothing is equal but what is equal
    sure = [Estimate(value, 10, 0.0) for value in (1.0, 1.0, 1.1)]
    assert best_set(sure, "lower", [None] * 3, extrapolate=False) == [True, True, False]


def test_honest_best_has_no_winners_curse(mean_of):
    rng, honest, naive = np.random.default_rng(4), [], []
    for _ in range(200):
        estimates = [mean_of(x, bias=30.0) for x in cells(rng, shared=0.0)]
        found = honest_best(estimates, "lower", extrapolate=True)
        honest.append((found.value, found.se))
        winner = min(estimates, key=lambda one: one.value)
        naive.append((winner.at_infinity, winner.se))
    for pairs, least, most in ((honest, 0.9, 1.0), (naive, 0.0, 0.75)):
        values, errors = np.array(pairs).T
        assert least <= np.mean(np.abs(values) <= 1.96 * errors) <= most
    assert abs(np.mean([value for value, _ in honest])) < 4 * np.std([value for value, _ in honest]) / 200**0.5


def test_honest_best_of_one_is_its_own(mean_of):
    one = mean_of(np.random.default_rng(0).normal(size=N), bias=30.0)
    found = honest_best([one], "higher", extrapolate=True)
    assert (found.index, found.share) == (0, 1.0)
    assert found.value == pytest.approx(one.at_infinity)
    assert found.se == pytest.approx(one.se)
    assert honest_best([one], "lower", extrapolate=False).value == pytest.approx(one.value)
    assert honest_best([one, Estimate(1.0, N, 0.1)], "lower", extrapolate=True) is None
