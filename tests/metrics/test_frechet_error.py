"""Influences, curvature, halves and errors of the Fréchet distance."""

import numpy as np
import pytest
import torch

from samplerbench.metrics.frechet import Statistics, frechet_distance, statistics_of
from samplerbench.metrics.frechet_error import expand, frechet, frechet_at_infinity
from samplerbench.stats.difference import difference
from samplerbench.stats.estimate import Estimate
from samplerbench.stats.halving import halvings

from .test_frechet import features


def moved(x, weights, b):
    """The distance with some samples' weights, {i: more}, changed, and those of all scaled to sum to 1."""
    share = np.full(len(x), (1 - sum(weights.values())) / len(x))
    for i, more in weights.items():
        share[i] += more
    mu = share @ x
    return frechet_distance(Statistics(mu, (x - mu).T @ ((x - mu) * share[:, None]), len(x)), b)


def test_influence_and_curvature_are_the_derivatives_of_the_distance():
    x, y = features(400, 8, 1).numpy(), statistics_of(features(5000, 8, 2, shift=0.3))
    mu, sigma = x.mean(axis=0), np.cov(x.T, ddof=0)
    expansion = expand(Statistics(mu, sigma, 400), y)
    influences = expansion.influences(torch.from_numpy(x))
    assert abs(influences.mean()) < 1e-9 * np.abs(influences).max()
    t = 1e-5
    for i in (0, 17, 399):
        assert (moved(x, {i: t}, y) - moved(x, {i: -t}, y)) / (2 * t) == pytest.approx(
            influences[i], rel=1e-5, abs=1e-5
        )
    t = 1e-3
    for i, j in ((0, 5), (17, 3), (399, 2)):
        cross = sum(s * u * moved(x, {i: s * t, j: u * t}, y) for s in (1, -1) for u in (1, -1)) / (4 * t * t)
        found = expansion.curvature(torch.from_numpy(x[[i]]), torch.from_numpy(x[[j]]))[0]
        assert cross / 2 == pytest.approx(found, rel=1e-3, abs=1e-4)


def spread(draw, y, repeats=300):
    found = [frechet(draw(seed), y) for seed in range(repeats)]
    return np.sqrt(np.mean([one.se**2 for one in found])), np.std([one.value for one in found], ddof=1)


def test_standard_error_is_the_spread_over_fresh_samples():
    y = statistics_of(features(5000, 8, 2, shift=0.3))
    mix = torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def draw(seed):
        return torch.randn(400, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) @ mix

    # the spread of 300 figures is itself known to 1/√600 = 4 %
    predicted, observed = spread(draw, y)
    assert predicted == pytest.approx(observed, rel=0.15)


def test_standard_error_at_distance_zero():
    """Without the second order it is √2 times too large."""
    y = Statistics(np.zeros(6), np.eye(6), None)

    def draw(seed):
        return torch.randn(600, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    predicted, observed = spread(draw, y)
    assert predicted == pytest.approx(observed, rel=0.15)


def test_no_standard_error_where_samples_are_few():
    x, y = features(120, 40, 1), statistics_of(features(500, 40, 2))
    measured = frechet(x[:59], y)
    assert measured.se is None
    assert measured.influences is None
    assert measured.note == "no error below 60 samples, 1.5 a feature"
    assert frechet(x[:60], y).se > 0
    assert frechet_at_infinity(x[:59], y).se is None


def test_halves_are_the_distances_of_halves():
    x, y = features(301, 10, 1), statistics_of(features(500, 10, 2))
    measured = frechet(x, y)
    for row, found in zip(halvings(301), measured.halves, strict=True):
        wanted = [frechet_distance(statistics_of(x[part]), y) for part in (row, ~row)]
        assert found == pytest.approx(wanted, rel=1e-9)
    limit = frechet_at_infinity(x, y)
    assert limit.value == pytest.approx(2 * measured.value - measured.halves.mean())
    assert limit.halves.mean() == pytest.approx(limit.value)
    assert limit.se > measured.se


def estimate(measured, n):
    return Estimate(measured.value, n, measured.se, measured.influences, measured.halves)


def test_the_paired_difference_of_fid_inf_is_that_of_fid_extrapolated():
    y = statistics_of(features(500, 10, 9))
    x = features(300, 10, 1)
    one, two = x, 1.1 * x + 0.05 * features(300, 10, 3)
    by_fid, by_limit = (
        difference(*(estimate(measure(z, y), 300) for z in (one, two)), paired=True, extrapolate=extrapolate)
        for measure, extrapolate in ((frechet, True), (frechet_at_infinity, True))
    )
    assert by_limit.delta == pytest.approx(by_fid.delta)
    assert by_limit.se == pytest.approx(by_fid.se)
    assert by_limit.how == "paired"


@pytest.mark.parametrize(("n", "wrong"), [(1024, True), (8192, False)])
def test_two_gaussians_whose_order_turns_with_n(n, wrong):
    """Scale 1.03 is nearer to 1 than scale 0.96, but its bias is larger: of few samples its distance is the larger one.
    The extrapolated difference is never significantly wrong.
    """
    d = 224
    y = Statistics(np.zeros(d), np.eye(d), None)
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    near, far = (estimate(frechet(scale * x, y), n) for scale in (1.03, 0.96))
    found = difference(near, far, paired=True, extrapolate=True)
    assert (found.delta_n < -10 * found.se_n) == wrong  # `far` seems the better
    assert found.delta > -2 * found.se
    if not wrong:
        assert found.delta > 3 * found.se
        assert abs(found.delta - d * (0.04**2 - 0.03**2)) < 3 * found.se
