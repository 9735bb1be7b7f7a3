"""Training of a VAE: what is minimised, what is logged, resuming, and what is said of the finished one."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from samplerbench import UserError
from samplerbench.data import load_images
from samplerbench.models.elbo import elbo
from samplerbench.models.latents import noise_of
from samplerbench.models.networks.vae import VAE, VAEConfig
from samplerbench.models.vae import load_vae
from samplerbench.training.loop import Trainer, generator
from samplerbench.training.recipe import DataConfig, FinishConfig, OptimiserConfig, Recipe, find_recipe
from samplerbench.training.run import train
from samplerbench.training.told import Told
from samplerbench.training.vae import ElboLoss, judged, latent_moments

NETWORK = {"latent_channels": 2, "channels": [8], "blocks": [1, 1]}


@pytest.fixture
def images(tmp_path):
    path = tmp_path / "images.npz"
    draw = np.random.default_rng(0)
    bright = draw.integers(0, 2, (64, 1, 1)) * 120
    pictures = (draw.integers(0, 40, (64, 8, 8)) + bright).astype(np.uint8)
    np.savez(path, images=pictures, test_images=pictures[:20])
    return path


def recipe(**changes):
    base = Recipe(
        name="tiny",
        kind="vae",
        data=DataConfig("npz"),
        optimiser=OptimiserConfig(steps=60, batch_size=16, optimiser="muon", warmup=10, ema=0.9, learning_rate=3e-3),
        network=NETWORK,
        beta=0.5,
    )
    return replace(base, **changes)


def rows(folder):
    with (folder / "loss.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_loss_is_the_reconstruction_and_beta_times_the_kl(images):
    data = load_images("npz", images).images
    network, plan = VAE(VAEConfig((1, 8, 8), **NETWORK)), recipe(beta=0.25, data=DataConfig("npz", flips=True))
    loss, (reconstruction, kl) = ElboLoss(network, data, plan, torch.device("cpu"))(7)
    assert float(loss.detach()) == pytest.approx((reconstruction + 0.25 * kl) / 64)
    draw = generator(0, 7)
    picked = data[torch.randint(64, (16,), generator=draw)]
    flipped = torch.rand(16, 1, 1, 1, generator=draw) < 0.5
    picked = torch.where(flipped, picked.flip(3), picked)
    found = elbo(network, picked, torch.randn(16, 2, 4, 4, generator=draw))
    assert [float(part.mean().detach()) for part in found] == pytest.approx([reconstruction, kl])


def test_a_vae_is_trained_saved_and_judged(images, tmp_path):
    summary = train(recipe(optimiser=replace(recipe().optimiser, steps=100)), tmp_path / "out", images)
    logged = rows(tmp_path / "out")
    assert list(logged[0]) == ["step", "loss", "reconstruction", "kl", "rate", "seconds"]
    for row in logged:
        loss, reconstruction, kl = (float(row[name]) for name in ("loss", "reconstruction", "kl"))
        assert loss == pytest.approx((reconstruction + 0.5 * kl) / 64, rel=1e-5)
    assert float(logged[-1]["loss"]) < 0.9 * float(logged[0]["loss"])
    coder = load_vae(summary["folder"])
    assert coder.training["recipe"]["beta"] == 0.5
    assert coder.training["images_seen"] == 100 * 16
    said, test = coder.training["test"], load_images("npz", images, train=False).images
    assert said == judged(coder, test)
    assert said["elbo_nats"] == pytest.approx(-said["reconstruction_nats"] - said["kl_nats"], abs=2e-3)
    assert said["bits_per_dim"] == pytest.approx(-said["elbo_nats"] / 64 / math.log(2), abs=1e-4)
    assert said["bits_per_dim"] < 8  # of a uniform distribution over the levels
    assert {name: summary[name] for name in said} == said
    assert summary["pictures"].is_file()


def test_latents_of_the_training_images_are_standard(images, tmp_path):
    coder = load_vae(train(recipe(), tmp_path / "out", images)["folder"])
    data = load_images("npz", images).images
    latents = torch.cat([coder.encode(data, noise_of(coder, 64 * i, 64)) for i in range(50)])
    count = latents[:, 0].numel() / 50  # the images are the same ones again; their latents' noise is fresh
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 4 / math.sqrt(count)
    assert torch.allclose(latents.std(dim=(0, 2, 3)), torch.ones(2), atol=0.05)
    shift, scale = latent_moments(coder.network, data, torch.device("cpu"))
    assert torch.equal(shift, coder.shift)
    assert torch.equal(scale, coder.scale)


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_a_killed_run_goes_on_as_if_it_had_not_been(images, tmp_path, optimiser, monkeypatch):
    plan = recipe(optimiser=replace(recipe().optimiser, optimiser=optimiser, precision="bfloat16"))

    class Killed(Exception):
        pass

    class Kill(Told):
        def step(self, done, loss):
            if done == 57:
                raise Killed

    # a checkpoint after every logged row
    monkeypatch.setattr(Trainer.run, "__defaults__", (Trainer.run.__defaults__[0], 0.0))
    with pytest.raises(Killed):
        train(plan, tmp_path / "killed", images, told=Kill())
    resumed = []

    class Heard(Told):
        def step(self, done, loss):
            resumed.append(done)

    train(plan, tmp_path / "killed", images, told=Heard())
    train(plan, tmp_path / "whole", images)
    assert resumed[0] == 51
    one, other = ([{**row, "seconds": ""} for row in rows(tmp_path / name)] for name in ("killed", "whole"))
    assert one == other
    one, other = (load_vae(tmp_path / name / "model") for name in ("killed", "whole"))
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(one.scale, other.scale)


def test_the_floor_is_judged_where_an_extractor_is_named(tmp_path):
    """Of a VAE that was hardly trained it is far above the images' own FID."""
    path, draw = tmp_path / "images.npz", np.random.default_rng(0)
    pictures = np.clip(draw.normal(128, 60, (700, 28, 28)), 0, 255).astype(np.uint8)
    np.savez(path, images=pictures[:350], test_images=pictures[350:])
    plan = recipe(optimiser=replace(recipe().optimiser, steps=2), extractor="fashion-mnist-cnn")
    found = train(plan, tmp_path / "out", path)
    assert found["fid"] > 10 * found["fid_of_the_images"] > 0
    assert found["fid_cost"] == pytest.approx(found["fid"] - found["fid_of_the_images"])
    assert 0 < found["fid_se"] < found["fid"]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"width": [8]}, "'width'"),
        ({"channels": [12]}, "multiples of 8"),
        ({"image_shape": [1, 8, 8]}, "image_shape"),
        ({"patch": 3}, "not divisible by 6"),
    ],
)
def test_networks_that_cannot_be(images, tmp_path, network, message):
    with pytest.raises(UserError, match=rf"^\[network\] of recipe 'tiny': .*{message}"):
        train(recipe(network=network), tmp_path / "out", images)


def test_an_extractor_that_does_not_take_the_images_is_refused_first(images, tmp_path):
    with pytest.raises(UserError, match="takes images of 1×28×28, not of 1×8×8"):
        train(recipe(extractor="fashion-mnist-cnn"), tmp_path / "out", images)
    assert not (tmp_path / "out").exists()


def test_data_without_test_images_are_refused_first(tmp_path):
    np.savez(tmp_path / "images.npz", images=np.zeros((4, 8, 8), np.uint8))
    with pytest.raises(UserError, match="has no array 'test_images'"):
        train(recipe(), tmp_path / "out", tmp_path / "images.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": -1.0}, "recipe 'tiny': beta is a number from 0 to 1000, got -1.0"),
        ({"beta": float("nan")}, "beta is a number from 0 to 1000, got nan"),
        ({"prediction": "v"}, "prediction belongs to kind diffusion; a vae has none"),
        ({"finish": FinishConfig(3)}, "finish belongs to kind diffusion; a vae has none"),
        ({"extractor": "cnn"}, "unknown extractor 'cnn'"),
    ],
)
def test_bad_recipes(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        recipe(**changes)
    assert "\n" not in str(caught.value)


def test_other_kinds_have_no_beta():
    for name in ("fashion-mnist", "fashion-mnist-features"):
        with pytest.raises(UserError, match=r"beta belongs to kind vae; a (diffusion|classifier) has none"):
            find_recipe(name, ["beta=0.5"])
