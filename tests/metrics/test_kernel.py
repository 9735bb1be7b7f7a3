import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from samplerbench import UserError
from samplerbench.metrics import kernel
from samplerbench.metrics.kernel import kernel_distance
from samplerbench.stats.halving import halvings


def normal(n, d, seed, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_equals_torch_fidelity_on_one_subset_of_everything():
    """Its subsets are drawn of both inputs alike, so one of all samples is all pairs."""
    x, y = normal(1500, 20, 0, 0.1), normal(1500, 20, 1)
    theirs = kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=1500, verbose=False)
    key = "kernel_inception_distance_mean"
    assert kernel_distance(x, y).value == pytest.approx(theirs[key], rel=1e-9)


def test_is_unbiased_and_its_error_is_the_spread():
    """Over 200 fresh draws, for equal distributions and for distant ones, the reference fixed."""
    y = normal(600, 8, 10**6)
    for shift in (0.0, 0.3):
        found = [kernel_distance(normal(150, 8, seed, shift), y) for seed in range(200)]
        values = np.array([f.value for f in found])
        many = kernel_distance(normal(4000, 8, 10**7, shift), y)
        assert abs(values.mean() - many.value) < 4 * (values.std() / 200**0.5 + many.se)
        predicted = np.sqrt(np.mean([f.se**2 for f in found]))
        assert predicted == pytest.approx(values.std(), rel=0.15)


def test_influences_add_up_to_the_difference_of_two_samplers():
    """A small change of every sample moves the distance by what the influences say."""
    y, x = normal(500, 6, 0), normal(400, 6, 1, 0.2)
    one, two = kernel_distance(x, y), kernel_distance(x + 0.01 * normal(400, 6, 2), y)
    assert abs(one.influences.mean()) < 1e-9
    assert np.std(two.influences - one.influences) < 0.2 * np.std(one.influences)


def test_halves_are_the_distances_of_halves(monkeypatch):
    monkeypatch.setattr(kernel, "BLOCK", 100)  # several blocks
    x, y = normal(301, 6, 0, 0.2), normal(200, 6, 1)
    for row, found in zip(torch.from_numpy(halvings(301)), kernel_distance(x, y).halves, strict=True):
        assert found == pytest.approx([kernel_distance(x[part], y).value for part in (row, ~row)], rel=1e-9)


def test_too_few():
    with pytest.raises(UserError, match="needs two samples"):
        kernel_distance(normal(1, 4, 0), normal(10, 4, 1))
