import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from samplerbench import Unmeasurable
from samplerbench.metrics.inception_score import inception_score
from samplerbench.stats.halving import halvings


def logits(n, seed):
    return 2 * torch.randn(n, 10, generator=torch.Generator().manual_seed(seed))


def test_equals_torch_fidelity_on_one_split():
    theirs = isc_features_to_metric(logits(500, 0), splits=1)
    assert inception_score(logits(500, 0)).value == pytest.approx(theirs["inception_score_mean"], rel=1e-6)


def test_the_error_is_the_spread():
    found = [inception_score(logits(400, seed)) for seed in range(300)]
    assert np.mean([f.se for f in found]) == pytest.approx(np.std([f.value for f in found]), rel=0.15)


def test_halves_are_the_scores_of_halves():
    x = logits(301, 0)
    for row, found in zip(torch.from_numpy(halvings(301)), inception_score(x).halves, strict=True):
        assert found == pytest.approx([inception_score(x[part]).value for part in (row, ~row)])


def test_weights_without_a_classifier_are_refused():
    with pytest.raises(Unmeasurable, match="have no classifier"):
        inception_score(torch.zeros(100, 1008))
