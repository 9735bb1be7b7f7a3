"""The picture of a trajectory: what the network predicts x_0 to be at each evaluation, of a cell's first samples."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import samplerbench
import samplerbench.bench.execute
from samplerbench.bench.trajectory import FILM, MOST, film
from samplerbench.images import quantise
from samplerbench.plugins import load_plugins
from samplerbench.sampling import plan_grid

OPTIONS = {"device": "cpu", "samples": 20, "nfe": [3]}


def read(path):
    """[F, N, H, W] of the frames, and what the picture says of itself."""
    with Image.open(path) as picture:
        about, pixels = json.loads(picture.text[FILM]), np.asarray(picture)
    tall, wide = about["height"] + about["gap"], about["width"] + about["gap"]
    rows, columns = (pixels.shape[0] + about["gap"]) // tall, (pixels.shape[1] + about["gap"]) // wide
    frames = [
        [pixels[k * tall : k * tall + about["height"], i * wide : i * wide + about["width"]] for k in range(rows)]
        for i in range(columns)
    ]
    return np.array(frames), about


@pytest.fixture
def kept(tiny_model, tmp_path):
    def of(sampler, **options):
        samplerbench.run(sampler, out=tmp_path / "run", model=str(tiny_model), **(OPTIONS | options))
        return sorted((tmp_path / "run" / "trajectories").glob("*.png"))

    return of


def test_the_predictions_are_those_of_ddim_by_hand(kept, tiny_model, tmp_path):
    (path,) = kept("ddim")
    frames, about = read(path)
    assert (about["evaluations"], frames.shape) == ([1, 2, 3], (5, 8, 28, 28))
    model, sampler = load_plugins().model(str(tiny_model)), load_plugins().sampler("ddim")
    grid = plan_grid(sampler, model.schedule, nfe=3)
    noise = samplerbench.NoiseSource(0, range(8), model.sample_shape, "cpu", torch.float32)
    x, epsilon = noise.x_T(), model.epsilon()
    expected = [x]
    with torch.no_grad():
        for i in range(3):
            eps = epsilon(x, grid.times[i])
            expected.append((x - grid.sigma[i] * eps) / grid.alpha[i])
            x = grid.alpha[i + 1] * expected[-1] + grid.sigma[i + 1] * eps
    expected.append(x)
    for got, one in zip(frames, expected, strict=True):
        assert np.abs(got.astype(int) - quantise(one)[:, 0].numpy().astype(int)).max() <= 1
    with Image.open(next((tmp_path / "run" / "samples").glob("*.png"))) as picture:  # and the samples are the run's
        grid_pixels = np.asarray(picture)[::2, ::2]
    assert np.abs(grid_pixels[2:30, 2:30].astype(int) - frames[-1, 0].astype(int)).max() <= 1


KINDS = [("heun", True), ("ddpm", True), ("unipc", True), ("dpm:mode=adaptive", False)]


@pytest.mark.parametrize(("sampler", "counted"), KINDS)
def test_every_kind_of_sampler_has_one(kept, sampler, counted):
    (path,) = kept(sampler, nfe=[3 if counted else 30])
    frames, about = read(path)
    assert len(frames) == len(about["evaluations"]) + 2
    assert not counted or about["evaluations"] == [1, 2, 3]


def test_it_costs_nothing_that_is_measured(kept, tmp_path):
    import pandas as pd

    kept("ddim")
    row = pd.read_csv(tmp_path / "run" / "results.csv").iloc[0]
    assert (row["nfe"], row["passes"]) == (3, 3)


def test_of_many_evaluations_some_are_kept(kept):
    frames, about = read(kept("ddim", nfe=[100])[0])
    assert len(frames) == MOST + 2
    assert (about["evaluations"][0], about["evaluations"][-1]) == (1, 100)
    assert about["evaluations"] == sorted(set(about["evaluations"]))


def test_few_samples_and_large_images_make_a_small_picture(kept, tmp_path):
    frames, _ = read(kept("ddim", samples=3)[0])
    assert frames.shape[1] == 3
    large = torch.randint(0, 256, (3, 2, 1, 128, 96), dtype=torch.uint8)
    picture, about = film(large, [1])
    picture.save(tmp_path / "large.png", pnginfo=about)
    frames, said = read(tmp_path / "large.png")
    assert (said["height"], said["width"]) == (64, 48)
    means = large.float().reshape(3, 2, 64, 2, 48, 2).mean(dim=(3, 5)).numpy()
    assert np.abs(frames - means).max() <= 0.5


def test_a_trajectory_that_fails_costs_nothing_else(tiny_model, tmp_path):
    plugin = tmp_path / "moody.py"
    plugin.write_text(
        "from samplerbench import Sampler, hookimpl\nfrom dataclasses import dataclass\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Moody(Sampler):\n    name = 'moody'\n"
        "    def evaluations(self, steps):\n        return steps\n"
        "    def sample(self, eps, grid, x, noise):\n"
        "        if len(x) == 8:\n            raise ValueError('not so few')\n"
        "        for t in grid.times[:-1]:\n            x = x - 0.1 * eps(x, t)\n        return x\n"
        "@hookimpl\ndef samplerbench_samplers(register):\n    register(Moody)\n"
    )
    told = []

    class Told(samplerbench.bench.execute.Listener):
        def notice(self, text):
            told.append(text)

    frame = samplerbench.run(
        "moody,ddim", out=tmp_path / "run", model=str(tiny_model), plugins=[str(plugin)], listener=Told(), **OPTIONS
    )
    assert frame["status"].tolist() == ["done", "done"]
    assert told == ["moody nfe=3: no trajectory was kept: ValueError: not so few"]
    assert len(list((tmp_path / "run" / "trajectories").glob("*.png"))) == 1
