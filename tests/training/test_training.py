"""Training: the recipe, Algorithm 1, resuming, and what is exported."""

from __future__ import annotations

import csv
import gzip
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from samplerbench import UserError, linear_schedule, load_model
from samplerbench.data import load_images
from samplerbench.models.predictor import NoisePredictor
from samplerbench.training.diffusion import DiffusionLoss
from samplerbench.training.loop import Trainer
from samplerbench.training.recipe import DataConfig, ExpertsConfig, OptimiserConfig, Recipe, find_recipe, recipe_names
from samplerbench.training.run import train


@pytest.fixture
def images(tmp_path):
    path = tmp_path / "images.npz"
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 64)
    pictures = draw.integers(0, 80, (64, 8, 8)) + 120 * labels[:, None, None]
    pictures = pictures.astype(np.uint8)
    np.savez(path, images=pictures, labels=labels, test_images=pictures[:20], test_labels=labels[:20])
    return path


def recipe(**changes):
    base = Recipe(
        name="tiny",
        kind="diffusion",
        data=DataConfig("npz"),
        optimiser=OptimiserConfig(steps=120, batch_size=16, optimiser="muon", warmup=10, ema=0.9, learning_rate=3e-3),
        network={"channels": [8, 8], "blocks": 1},
        prediction="v",
    )
    return replace(base, **changes)


def losses(folder):
    with (folder / "loss.csv").open() as file:
        return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]


def test_a_model_is_trained_and_exported(images, tmp_path):
    summary = train(recipe(), tmp_path / "out", images)
    logged = losses(tmp_path / "out")
    assert [step for step, _ in logged] == [50, 100, 120]
    assert logged[-1][1] < 0.8 * logged[0][1]
    model = load_model(str(summary["folder"]))
    assert model.image_shape == (1, 8, 8)
    training = model.checkpoint.training
    assert training["images_seen"] == 120 * 16
    assert training["recipe"]["optimiser"]["ema"] == 0.9
    assert training["data_sha256"] == load_images("npz", images).sha256
    assert summary["samples"].is_file()
    epsilon = model.epsilon()
    assert epsilon.mean_square(1000.0) > epsilon.mean_square(1.0) > 0


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_a_killed_run_goes_on_as_if_it_had_not_been(images, tmp_path, optimiser):
    plan = recipe(optimiser=replace(recipe().optimiser, optimiser=optimiser))

    class Killed(Exception):
        pass

    def kill(step, loss):
        if step == 77:
            raise Killed

    # a checkpoint after every logged row
    monkey = pytest.MonkeyPatch()
    monkey.setattr(Trainer.run, "__defaults__", (Trainer.run.__defaults__[0], 0.0))
    with pytest.raises(Killed):
        train(plan, tmp_path / "killed", images, report=kill)
    resumed = []
    train(plan, tmp_path / "killed", images, report=lambda step, loss: resumed.append(step))
    train(plan, tmp_path / "whole", images)
    monkey.undo()
    assert resumed[0] == 51
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    one, other = (load_model(str(tmp_path / name / "model")) for name in ("killed", "whole"))
    for a, b in zip(one.predictor.parameters(), other.predictor.parameters(), strict=True):
        assert torch.equal(a, b)


def test_experts_go_on_from_the_shared_network_each_in_its_range(images, tmp_path):
    plan = recipe(experts=ExpertsConfig(last=(300,), steps=30), weights="float16")
    steps = []
    summary = train(plan, tmp_path / "out", images, report=lambda step, loss: steps.append(step))
    assert steps == list(range(1, plan.total + 1))
    assert plan.total == 120 + 2 * 30
    model = load_model(str(summary["folder"]))
    assert model.predictor.network.last == (299.0,)
    low, high = model.predictor.network.networks
    assert not torch.equal(low.stem.weight, high.stem.weight)
    shared = load_file(tmp_path / "out" / "checkpoint.safetensors")["ema/stem.weight"]
    assert torch.allclose(low.stem.weight, shared, atol=0.1)
    assert load_file(summary["folder"] / "model.safetensors")["networks.0.stem.weight"].dtype == torch.float16
    again = []
    train(plan, tmp_path / "out", images, report=lambda step, loss: again.append(step))
    assert again == []


def test_a_span_bounds_the_times_drawn():
    schedule, seen = linear_schedule(), []

    class Record(torch.nn.Module):
        def forward(self, x, label):
            seen.append(label)
            return torch.zeros_like(x)

    data = torch.full((10, 1, 4, 4), 128, dtype=torch.uint8)
    plan = recipe(times="lognormal", optimiser=OptimiserConfig(steps=1, batch_size=500))
    for span in ((0, 200), (200, 1000)):
        DiffusionLoss(NoisePredictor(Record()), schedule, data, plan, torch.device("cpu"), span, seed=5)(0)
        assert span[0] <= seen[-1].min() < span[0] + 20
        assert span[1] - 20 < seen[-1].max() + 1 <= span[1]


def test_a_checkpoint_of_another_recipe_is_refused(images, tmp_path):
    train(recipe(optimiser=replace(recipe().optimiser, steps=2)), tmp_path / "out", images)
    with pytest.raises(UserError, match="belongs to another recipe"):
        train(recipe(), tmp_path / "out", images)


def test_algorithm_1_draws_what_the_paper_says():
    """x_t = α x_0 + σ ε with ε standard normal and t uniform over 1..T; a network that outputs ε has loss 0."""
    schedule, device = linear_schedule(), torch.device("cpu")
    data = torch.full((10, 1, 4, 4), 255, dtype=torch.uint8)
    labels, inputs = [], []

    class Record(torch.nn.Module):
        def forward(self, x, label):
            labels.append(label)
            inputs.append(x)
            alpha = torch.from_numpy(schedule.alpha(label.numpy() + 1)).float()
            sigma = torch.from_numpy(schedule.sigma(label.numpy() + 1)).float()
            return (x - alpha.view(-1, 1, 1, 1)) / sigma.view(-1, 1, 1, 1)

    plan = recipe(prediction="epsilon", optimiser=OptimiserConfig(steps=1, batch_size=500))
    loss = DiffusionLoss(NoisePredictor(Record(), "epsilon"), schedule, data, plan, device)
    values = [float(loss(step)) for step in range(20)]
    assert max(values) < 1e-3  # float32 rounding at σ = 0.01
    label = torch.cat(labels)
    assert label.min() == 0
    assert label.max() == 999
    assert abs(label.mean() - 499.5) < 4 * 289 / len(label) ** 0.5
    eps = Record().forward(torch.cat(inputs), label)
    assert abs(eps.mean()) < 0.02
    assert abs(eps.std() - 1) < 0.02
    assert float(loss(3)) == values[3]


def test_v_weighting_divides_by_alpha_squared():
    schedule, device = linear_schedule(), torch.device("cpu")
    data = torch.full((10, 1, 4, 4), 128, dtype=torch.uint8)

    class Zero(torch.nn.Module):
        def forward(self, x, label):
            return torch.zeros_like(x)

    def value(weighting):
        plan = recipe(weighting=weighting, optimiser=OptimiserConfig(steps=1, batch_size=2000))
        return float(DiffusionLoss(NoisePredictor(Zero(), "v"), schedule, data, plan, device)(0))

    # ε - σ x_t = α (α ε - σ x_0): the error of v = 0 is E[v²] = E[α²] (the images are grey, x_0 = 0)
    times = np.arange(1, 1001)
    alpha = schedule.alpha(times)
    assert value("v") == pytest.approx(np.mean(alpha**2), rel=0.05)
    assert value("epsilon") == pytest.approx(np.mean(alpha**4), rel=0.05)


def test_a_classifier_is_trained_and_judged(images, tmp_path, monkeypatch):
    plan = Recipe(
        name="tiny-features",
        kind="classifier",
        data=DataConfig("npz", flips=True, shift=1),
        optimiser=OptimiserConfig(steps=60, batch_size=16, learning_rate=3e-3, warmup=5, ema=0.9),
        network={"widths": [8, 16]},
    )
    summary = train(plan, tmp_path / "out", images)
    assert summary["test_accuracy"] > 0.9  # bright against dark pictures
    assert (summary["folder"] / "config.json").is_file()


def test_rates_warm_up_stay_and_fall():
    config = OptimiserConfig(steps=100, warmup=10, decay=0.5)
    assert [config.rate(step) for step in (0, 4, 9, 30, 50, 75, 99)] == [0.1, 0.5, 1, 1, 1, 0.5, 0.02]
    again = replace(config, restarts=((50, 0.4), (10, 0.1)))
    assert again.total == 160
    assert [again.rate(step) for step in (99, 100, 125, 150, 155, 160)] == pytest.approx([0.02, 0.4, 0.2, 0.1, 0.05, 0])


def test_shipped_recipes_are_read():
    assert recipe_names() == ["cifar10-36m", "cifar10-8m", "fashion-mnist", "fashion-mnist-features"]
    assert find_recipe("fashion-mnist").schedule["kind"] == "linear"
    assert find_recipe("fashion-mnist-features").kind == "classifier"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "not valid TOML"),
        ("nmae = 'x'", "unknown key in recipe .* 'nmae'; did you mean 'name'"),
        ("name = 'x'\nkind = 'difusion'\n[data]\ndataset = 'npz'\n[optimiser]\nsteps = 1", "did you mean 'diffusion'"),
        ("name = 'x'\nkind = 'diffusion'\n[data]\ndataset = 'npz'\n[optimiser]\nstpes = 1", "did you mean 'steps'"),
        ("name = 'x'\nkind = 'diffusion'\n[data]\ndataset = 'npz'\n[optimiser]\nsteps = 0", "needs steps >= 1"),
        ("name = 'x'\n[data]\ndataset = 'npz'\n[optimiser]\nsteps = 1", "missing .* 'kind'"),
        ("name = 'x'\nkind = 'diffusion'\n[data]\ndataset = 'npz'", "missing .* 'steps'"),
        (
            "name = 'x'\nkind = 'diffusion'\nextractor = 'cnn'\n[data]\ndataset = 'npz'\n[optimiser]\nsteps = 1",
            "unknown extractor 'cnn'",
        ),
        (b"name = '\xff'", "cannot be read: UnicodeDecodeError"),
    ],
)
def test_bad_recipes(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message):
        find_recipe(str(path))


class TestData:
    def idx(self, folder, packed, value=0):
        """The four files of an MNIST-like dataset, of two images each."""
        for split in ("train", "t10k"):
            for kind, magic, body in (
                ("images-idx3", struct.pack(">iiii", 2051, 2, 28, 28), bytes([value]) * (2 * 784)),
                ("labels-idx1", struct.pack(">ii", 2049, 2), b"\x03\x07"),
            ):
                data = magic + body
                name = f"{split}-{kind}-ubyte"
                if packed:
                    (folder / f"{name}.gz").write_bytes(gzip.compress(data))
                else:
                    (folder / name).write_bytes(data)

    @pytest.mark.parametrize("packed", [True, False])
    def test_idx_files_in_a_folder(self, tmp_path, monkeypatch, packed):
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        (tmp_path / "files").mkdir()
        self.idx(tmp_path / "files", packed)
        data = load_images("FashionMNIST", tmp_path / "files")
        assert data.images.shape == (2, 1, 28, 28)
        assert data.labels.tolist() == [3, 7]

    def test_idx_files_of_another_folder_are_not_taken_for_them(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        for value in (1, 2):
            (tmp_path / str(value)).mkdir()
            self.idx(tmp_path / str(value), packed=False, value=value)
        assert [int(load_images("FashionMNIST", tmp_path / str(v)).images.max()) for v in (1, 2, 1)] == [1, 2, 1]

    def test_npz(self, images):
        data = load_images("npz", images)
        assert data.images.shape == (64, 1, 8, 8)
        assert data.images.dtype == torch.uint8

    def test_bad_data(self, tmp_path, images, monkeypatch):
        with pytest.raises(UserError, match="did you mean 'FashionMNIST'"):
            load_images("FashionMINST", tmp_path)
        with pytest.raises(UserError, match="is not a folder"):
            load_images("FashionMNIST", tmp_path / "nowhere")
        with pytest.raises(UserError, match="needs --data-root to name an npz"):
            load_images("npz", None)
        np.savez(tmp_path / "bad.npz", pictures=np.zeros(3))
        with pytest.raises(UserError, match="has no array 'images'"):
            load_images("npz", tmp_path / "bad.npz")
        (tmp_path / "bad.npz").write_text("no arrays")
        with pytest.raises(UserError, match="is not an npz file of arrays"):
            load_images("npz", tmp_path / "bad.npz")
        np.savez(tmp_path / "bad.npz", images=np.zeros((2, 8, 8)))
        with pytest.raises(UserError, match="must be uint8"):
            load_images("npz", tmp_path / "bad.npz")
