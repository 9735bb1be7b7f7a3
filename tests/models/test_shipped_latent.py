"""The shipped latent model, whole: a VAE, an ε_θ of its latents, and a text encoder."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import samplerbench
from samplerbench.images import quantise
from samplerbench.models.model import load_model
from samplerbench.plugins import load_plugins
from samplerbench.training import garments
from samplerbench.training.held_out import held_out_prompts, scores

NAME = "fashion-mnist-latent"
FOLDER = Path(str(resources.files("samplerbench.models").joinpath("shipped", NAME)))
NOUNS = [nouns[-1][0] for nouns in garments.GARMENTS]


@pytest.fixture(scope="module")
def model():
    return load_model(NAME)


@pytest.fixture(scope="module")
def classify():
    extractor = load_plugins().extractor("fashion-mnist-cnn", image_shape=(1, 28, 28))
    return lambda images: extractor.with_logits(images)[1].argmax(dim=1)


def test_it_is_small_and_has_the_pixel_models_reference(model):
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) <= 10_000_000
    assert not (FOLDER / "reference.npz").exists()
    assert model.checkpoint.reference == load_model("fashion-mnist").checkpoint.reference
    assert (model.sample_shape, model.image_shape) == ((8, 7, 7), (1, 28, 28))
    assert all(len(text) < 2**16 for text in [(FOLDER / "config.json").read_text()])
    for file in FOLDER.rglob("*.json"):
        assert "/" not in file.read_text().replace("text/", "").replace("vae/", "")  # no path of where it was trained


def test_it_is_asked_for_what_training_saw_and_for_each_garment_equally_often(model):
    asked = model.conditioner.default
    said = [garments.facts(line) for line in asked]
    assert Counter(model.conditioner.label(line) for line in asked) == dict.fromkeys(range(10), 1000)
    assert not {(one.garment, one.shade) for one in said} & set(garments.HELD_OUT.pairs)


def test_it_draws_what_it_is_asked_for(model, classify):
    """A garment by its noun alone, each three times."""
    drawn = samplerbench.sample("dpm", model, samples=30, nfe=8, guidance=2, prompts=NOUNS)
    right = classify(quantise(drawn.images)) == torch.arange(30) % 10
    assert right.float().mean() >= 0.8
    assert drawn.passes == 2 * drawn.nfe == 16


def test_pairs_that_training_never_saw_are_no_lookup(model, classify):
    """Beside the garment's word alone from the same noise."""
    prompts = held_out_prompts(model.conditioner.default, 20)["new pairs"]

    def drawn(asked):
        return quantise(samplerbench.sample("dpm", model, samples=20, nfe=8, guidance=2, prompts=list(asked)).images)

    (found,) = scores({"new pairs": prompts}, drawn, classify)
    assert found.more[0] > 3 * found.more[1]


def test_from_a_prompt_to_a_picture(command, classify, tmp_path):
    out = tmp_path / "boots.png"
    code, said, errors = command(
        "sample", "--model", NAME, "--prompt", "a pair of ankle boots", "--sampler", "dpm", "--nfe", 10, "--count", 4,
        "--out", out, "--device", "cpu",
    )  # fmt: skip
    assert code == 0, errors
    assert said.endswith("4 samples in 10 evaluations each\n")
    with Image.open(out) as picture:
        assert (np.asarray(picture.convert("L")) > 0).mean() > 0.2
    images = samplerbench.sample("dpm", NAME, samples=4, nfe=10, prompts="a pair of ankle boots").images
    assert (classify(quantise(images)) == 9).sum() >= 3
