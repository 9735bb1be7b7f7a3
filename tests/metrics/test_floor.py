"""The FID of real images through an autoencoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from samplerbench import UserError
from samplerbench.metrics.floor import reconstruction_floor
from samplerbench.metrics.frechet import frechet_distance, statistics_of
from samplerbench.plugins import load_plugins


@pytest.fixture(scope="module")
def extractor():
    return load_plugins().extractor("fashion-mnist-cnn")


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (800, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture(scope="module")
def reference(extractor, images):
    return statistics_of(extractor(images[400:]))


def test_one_that_changes_nothing_costs_nothing(extractor, images, reference):
    floor = reconstruction_floor(images[:400], lambda batch, first: batch, extractor, reference)
    assert (
        floor.through.value
        == floor.before.value
        == pytest.approx(frechet_distance(statistics_of(extractor(images[:400])), reference), rel=1e-6)
    )
    assert (floor.cost.delta, floor.cost.se, floor.cost.how) == (0, 0, "same")


def test_the_cost_is_paired_image_by_image(extractor, images, reference):
    """Batches come in order, each with the number of its first image."""
    firsts = []

    def darker(batch, first):
        firsts.append(first)
        assert torch.equal(batch, images[first : first + len(batch)])
        return batch - batch // 16

    floor = reconstruction_floor(images[:400], darker, extractor, reference)
    assert firsts == [0, 256]
    through = statistics_of(extractor(images[:400] - images[:400] // 16))
    assert floor.through.value == pytest.approx(frechet_distance(through, reference), rel=1e-6)
    assert floor.cost.delta == pytest.approx(floor.through.value - floor.before.value)
    assert floor.cost.how == "paired"
    influences = floor.through.influences - floor.before.influences
    assert floor.cost.se == pytest.approx(np.std(influences, ddof=1) / 20)


def test_what_gives_back_something_else_is_refused(extractor, images, reference):
    with pytest.raises(UserError, match=r"gives back uint8 images of 1×28×28, got torch.float32 \[256, 1, 28, 28\]"):
        reconstruction_floor(images[:400], lambda batch, first: batch.float(), extractor, reference)
