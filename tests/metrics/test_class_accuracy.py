"""The share of samples that are what was asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from samplerbench.metrics.class_accuracy import class_accuracy
from samplerbench.metrics.measured import Unmeasurable


def test_those_that_were_asked_for_no_class_do_not_count():
    logits = torch.eye(3).repeat(4, 1)
    labels = torch.tensor([0, 1, 2, 0, 0, 0, -1, -1, -1, 1, 1, 1])
    found = class_accuracy(logits, labels)
    assert found.value == pytest.approx(5 / 9)
    assert found.count == 9
    assert found.influences.mean() == pytest.approx(0, abs=1e-12)
    assert (found.influences[6:9] == 0).all()


def test_its_error_is_that_of_fresh_draws():
    draw = torch.Generator().manual_seed(0)
    values, errors = [], []
    for _ in range(400):
        logits = torch.randn(300, 5, generator=draw)
        labels = torch.randint(-1, 5, (300,), generator=draw)
        logits[torch.arange(300), labels.clamp(min=0)] += 1.5
        found = class_accuracy(logits, labels)
        values.append(found.value)
        errors.append(found.se)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.1)


def test_what_cannot_be_measured():
    logits = torch.randn(4, 3)
    for labels, given, message in (
        ([-1] * 4, logits, "no sample was asked for a class"),
        ([0, 1, 2, 3], logits, "class 3 was asked for, and the extractor knows 3 classes"),
        ([0, 1, 2, 0], torch.zeros(4, 3), "have no classifier"),
    ):
        with pytest.raises(Unmeasurable, match=message):
            class_accuracy(given, torch.tensor(labels))
