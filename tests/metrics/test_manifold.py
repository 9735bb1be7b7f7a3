import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from samplerbench import UserError
from samplerbench.metrics import manifold
from samplerbench.metrics.manifold import precision, recall
from samplerbench.stats.difference import difference
from samplerbench.stats.estimate import Estimate
from samplerbench.stats.halving import halvings


def normal(n, d, seed, scale=1.0):
    return scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_equal_torch_fidelity(monkeypatch):
    monkeypatch.setattr(manifold, "BLOCK", 100)  # several blocks
    x, y = normal(700, 10, 0, 0.8), normal(600, 10, 1)
    theirs = prc_features_to_metric(x.double(), y.double(), verbose=False)
    assert precision(x, y).value == pytest.approx(theirs["precision"], abs=1e-6)
    assert recall(x, y).value == pytest.approx(theirs["recall"], abs=1e-6)
    assert precision(x, y).value > recall(x, y).value  # samples of too little variety


def test_a_mean_far_from_zero_changes_nothing():
    """float32 distances of features around 1,000 are off by more than the distances between neighbours."""
    x, y = normal(300, 10, 0), normal(300, 10, 1)
    assert precision(x + 1000, y + 1000).value == pytest.approx(precision(x, y).value, abs=0.01)
    assert recall(x + 1000, y + 1000).value == pytest.approx(recall(x, y).value, abs=0.01)


@pytest.mark.parametrize(("measure", "scale"), [(precision, 1.0), (recall, 0.7)])
def test_the_error_is_the_spread(measure, scale):
    y = normal(400, 6, 10**6)
    found = [measure(normal(400, 6, seed, scale), y) for seed in range(100)]
    predicted = np.sqrt(np.mean([f.se**2 for f in found]))
    assert predicted == pytest.approx(np.std([f.value for f in found]), rel=0.25)


def test_halves_are_the_shares_of_halves():
    x, y = normal(301, 6, 0, 0.9), normal(200, 6, 1)
    for measure in (precision, recall):
        halves = measure(x, y).halves
        rows = torch.from_numpy(halvings(301, len(halves)))
        for row, found in zip(rows, halves, strict=True):
            assert found == pytest.approx([measure(x[part], y).value for part in (row, ~row)])


def test_no_error_where_nothing_varies():
    x, y = normal(300, 6, 0), normal(200, 6, 1)
    none = precision(x + 1000, y)
    assert (none.value, none.se, none.note) == (0.0, None, "no error: all samples are outside")
    assert recall(x + 1000, y).se is None


def test_recall_of_two_cells_on_the_same_noise_is_paired():
    """The error of a difference, against the spread of differences over fresh draws."""
    y, errors, deltas = normal(800, 20, 10**6), [], []
    for seed in range(60):
        x = normal(200, 20, seed, 0.7)
        both = (recall(z, y) for z in (x, 1.05 * x + 0.3 * normal(200, 20, seed + 1000)))
        base, other = (Estimate(one.value, 200, one.se, None, one.halves) for one in both)
        found = difference(base, other, paired=True, extrapolate=False)
        assert found.how == "paired"
        errors.append(found.se)
        deltas.append(found.delta)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(deltas), rel=0.3)


def test_not_finite_is_an_error():
    bad = normal(100, 4, 0)
    bad[3, 1] = float("nan")
    for measure in (precision, recall):
        with pytest.raises(ValueError, match="finite"):
            measure(bad, normal(100, 4, 1))
        with pytest.raises(UserError, match="need 40 samples"):
            measure(normal(30, 4, 0), normal(100, 4, 1))
