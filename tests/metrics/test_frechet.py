import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from samplerbench import UserError
from samplerbench.metrics.frechet import (
    Moments,
    Statistics,
    frechet_distance,
)


def features(n, d, seed, shift=0.0):
    draw = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=draw, dtype=torch.float64) / d**0.5
    return torch.randn(n, d, generator=draw, dtype=torch.float64) @ mix + shift


def statistics(x, batch=64):
    moments = Moments(x.shape[1])
    for part in x.split(batch):
        moments.add(part)
    return moments.statistics()


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_streamed_statistics_are_numpys(batch):
    x = features(500, 12, 0, shift=1000.0)  # a large mean costs no digits
    got = statistics(x, batch)
    assert got.count == 500
    assert np.allclose(got.mu, x.numpy().mean(0), rtol=1e-14)
    assert np.allclose(got.sigma, np.cov(x.numpy(), rowvar=False), rtol=1e-10, atol=1e-12)


def test_distance_of_one_dimensional_gaussians():
    a = Statistics(np.array([1.0]), np.array([[4.0]]), 10)
    b = Statistics(np.array([3.0]), np.array([[9.0]]), 10)
    assert frechet_distance(a, b) == pytest.approx((1 - 3) ** 2 + (2 - 3) ** 2)


def test_distance_of_commuting_covariances():
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    p, q = np.arange(1.0, 7), np.arange(6.0, 0, -1)
    a = Statistics(np.zeros(6), rotation @ np.diag(p) @ rotation.T, 10)
    b = Statistics(np.ones(6), rotation @ np.diag(q) @ rotation.T, 10)
    assert frechet_distance(a, b) == pytest.approx(6 + ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(), rel=1e-12)


@pytest.mark.parametrize("n", [500, 20], ids=["full rank", "fewer samples than dimensions"])
def test_distance_is_torch_fidelitys(n):
    x, y = features(n, 40, 1), features(n, 40, 2, shift=0.3)
    theirs = fid_statistics_to_metric(fid_features_to_statistics(x), fid_features_to_statistics(y), verbose=False)[
        "frechet_inception_distance"
    ]
    assert frechet_distance(statistics(x), statistics(y)) == pytest.approx(theirs, rel=1e-6)


def test_distance_is_symmetric_zero_to_itself_and_never_negative():
    a, b = statistics(features(300, 20, 1)), statistics(features(300, 20, 2))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)
    assert 0 <= frechet_distance(a, a) < 1e-10


def test_bad_features():
    with pytest.raises(ValueError, match="not finite"):
        Moments(2).add(torch.tensor([[1.0, float("nan")]]))
    moments = Moments(2)
    moments.add(torch.zeros(1, 2))
    with pytest.raises(UserError, match="at least 2 samples, got 1"):
        moments.statistics()
    with pytest.raises(UserError, match="12 and of 40 dimensions"):
        frechet_distance(statistics(features(50, 12, 0)), statistics(features(50, 40, 0)))
