"""Training: the recipe, Algorithm 1, resuming, and what is exported."""

from __future__ import annotations

import csv
import gzip
import pickle
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from samplerbench import UserError, linear_schedule, load_model
from samplerbench.data import load_images
from samplerbench.drawing import BadSample
from samplerbench.training.finish import preview_steps
from samplerbench.training.loop import Trainer
from samplerbench.training.network import new_network
from samplerbench.training.recipe import (
    DataConfig,
    ExpertsConfig,
    FinishConfig,
    OptimiserConfig,
    Recipe,
    find_recipe,
)
from samplerbench.training.run import settled, train
from samplerbench.training.told import Told


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


class Heard(Told):
    """Remembers what it hears; `kill` at a step, or at what is made afterwards, ends it as Ctrl-C would."""

    def __init__(self, kill=None):
        self.steps, self.finished, self.kill = [], [], kill

    def step(self, done, loss):
        self.steps.append(done)
        if done == self.kill:
            raise KeyboardInterrupt

    def finishing(self, what, done, total):
        self.finished.append((what, done, total))
        if what == self.kill:
            raise KeyboardInterrupt


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


@pytest.mark.parametrize(("steps", "zero"), [(1, False), (2, True), (50, False), (61, True)])
def test_samples_of_a_short_schedule_take_the_steps_it_has(images, tmp_path, steps, zero):
    plan = recipe(
        schedule={"kind": "linear", "steps": steps, "beta_last": 0.3, "zero_terminal_snr": zero},
        optimiser=replace(recipe().optimiser, steps=2),
        finish=FinishConfig(samples=2, mean_squares=2),
        times="lognormal",
        weighting="v",
    )
    summary = train(plan, tmp_path / "out", images)
    assert summary["samples"].is_file()
    assert load_model(str(summary["folder"])).schedule.t_max == steps


def test_as_many_steps_as_ddims_quadratic_spacing_has():
    """⌊0.8·T⌋ + 1 labels, up to 50."""
    found = [preview_steps("ddim", linear_schedule(steps)) for steps in (1, 10, 50, 61, 62, 1000)]
    assert found == [1, 9, 41, 49, 50, 50]
    assert preview_steps("ddim:spacing=linspace:final=none", linear_schedule(10)) == 9


@pytest.mark.parametrize(
    ("error", "said", "message"),
    [
        (RuntimeError("no memory"), RuntimeError, "no memory"),
        (BadSample("ddim returned NaN"), UserError, "the model is saved, but ddim returned NaN; a lower learning rate"),
    ],
)
def test_the_model_is_saved_before_samples_are_drawn(images, tmp_path, monkeypatch, error, said, message):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr("samplerbench.training.finish.sample", fail)
    with pytest.raises(said, match=message):
        train(recipe(optimiser=replace(recipe().optimiser, steps=2)), tmp_path / "out", images)
    assert load_model(str(tmp_path / "out" / "model")).image_shape == (1, 8, 8)


DDPM = {"kind": "ddpm", "channels": [32, 32], "blocks": 1, "attention": [1], "dropout": 0.5}


@pytest.mark.parametrize(("optimiser", "network"), [("adam", {}), ("muon", {}), ("adam", DDPM)])
def test_a_killed_run_goes_on_as_if_it_had_not_been(images, tmp_path, optimiser, network):
    """Dropout included: its draws belong to the step."""
    if network:
        pytest.importorskip("diffusers")
    plan = recipe(optimiser=replace(recipe().optimiser, optimiser=optimiser, steps=60), finish=FinishConfig(0, 0))
    plan = replace(plan, network=network or plan.network)

    # a checkpoint after every logged row
    monkey = pytest.MonkeyPatch()
    monkey.setattr(Trainer.run, "__defaults__", (Trainer.run.__defaults__[0], 0.0))
    with pytest.raises(KeyboardInterrupt):
        train(plan, tmp_path / "killed", images, told=Heard(57))
    resumed = Heard()
    train(plan, tmp_path / "killed", images, told=resumed)
    train(plan, tmp_path / "whole", images)
    monkey.undo()
    assert resumed.steps[0] == 51
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    one, other = (load_model(str(tmp_path / name / "model")) for name in ("killed", "whole"))
    for a, b in zip(one.predictor.parameters(), other.predictor.parameters(), strict=True):
        assert torch.equal(a, b)


def test_experts_go_on_from_the_shared_network_each_in_its_range(images, tmp_path):
    plan = recipe(experts=ExpertsConfig(last=(300,), steps=30), weights="float16")
    heard = Heard()
    summary = train(plan, tmp_path / "out", images, told=heard)
    assert heard.steps == list(range(1, plan.total + 1))
    assert plan.total == 120 + 2 * 30
    model = load_model(str(summary["folder"]))
    assert model.predictor.network.last == (299.0,)
    low, high = model.predictor.network.networks
    assert not torch.equal(low.stem.weight, high.stem.weight)
    shared = load_file(tmp_path / "out" / "checkpoint.safetensors")["ema/stem.weight"]
    assert torch.allclose(low.stem.weight, shared, atol=0.1)
    assert load_file(summary["folder"] / "model.safetensors")["networks.0.stem.weight"].dtype == torch.float16
    again = Heard()
    train(plan, tmp_path / "out", images, told=again)
    assert again.steps == []
    changed = replace(plan, experts=ExpertsConfig(last=(400,), steps=30))
    with pytest.raises(UserError, match=r"expert-0.* recipe: experts.last is \[300\] there and \[400\] here; name"):
        train(changed, tmp_path / "out", images)


def test_a_checkpoint_of_another_recipe_is_refused(images, tmp_path):
    train(recipe(optimiser=replace(recipe().optimiser, steps=2)), tmp_path / "out", images)
    message = r"belongs to another recipe: optimiser.steps is 2 there and 120 here; name another --out"
    with pytest.raises(UserError, match=message):
        train(recipe(), tmp_path / "out", images)
    changed = replace(recipe(schedule={"kind": "cosine"}), optimiser=replace(recipe().optimiser, steps=2))
    with pytest.raises(UserError, match=r'recipe: schedule\.kind is "linear" there and "cosine" here; name'):
        train(changed, tmp_path / "out", images)
    with np.load(images) as held:
        np.savez(images, images=255 - held["images"], labels=held["labels"])
    with pytest.raises(UserError, match="another recipe: sha256 of the images is "):
        train(recipe(optimiser=replace(recipe().optimiser, steps=2)), tmp_path / "out", images)


@pytest.mark.parametrize("stage", ["mean squares", "reference statistics", "samples"])
def test_a_run_killed_after_its_last_step_trains_no_more(images, tmp_path, stage):
    """Whatever else is to be made then, or is not."""
    plan = recipe(optimiser=replace(recipe().optimiser, steps=2), extractor="fashion-mnist-cnn")
    plan = replace(plan, finish=FinishConfig(samples=4, mean_squares=20))
    with np.load(images) as held:
        np.savez(images, images=held["images"].repeat(4, 1).repeat(4, 2)[:, 2:-2, 2:-2])
    with pytest.raises(KeyboardInterrupt):
        train(plan, tmp_path / "out", images, told=Heard(stage))
    again = Heard()
    changed = replace(plan, name="other", finish=FinishConfig(samples=3, mean_squares=10), weights="float16")
    summary = train(changed, tmp_path / "out", images, told=again)
    assert again.steps == []
    last = {what: (done, total) for what, done, total in again.finished}
    assert last == {"mean squares": (640, 640), "reference statistics": (64, 64), "samples": (50, 50)}
    model = load_model(str(summary["folder"]))
    assert (model.name, len(model.checkpoint.mean_squares["times"])) == ("out", 64)
    whole = train(plan, tmp_path / "whole", images)["folder"]
    raw = [load_file(folder.parent / "checkpoint.safetensors") for folder in (summary["folder"], whole)]
    assert all(torch.equal(raw[0][name], raw[1][name]) for name in raw[1])


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
    for changes, message in (
        (
            {"network": {"width": [8]}},
            r"^unknown key in \[network\] of recipe 'tiny-features' 'width'; did you mean 'widths'",
        ),
        ({"network": {"widths": [8.5]}}, "widths holds whole numbers"),
        ({"optimiser": OptimiserConfig(steps=1, batch_size=65)}, "batch_size 65 is more than the 64 training images"),
    ):
        with pytest.raises(UserError, match=message):
            train(replace(plan, **changes), tmp_path / "bad", images)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
class TestCifar10:
    """The recipes of the DDPM paper's network."""

    @pytest.fixture(autouse=True)
    def _diffusers(self):
        pytest.importorskip("diffusers")

    def test_weights(self):
        sizes = {}
        for name in ("cifar10-8m", "cifar10-36m"):
            network, _ = new_network(find_recipe(name).network, (3, 32, 32))
            sizes[name] = sum(p.numel() for p in network.parameters())
        assert sizes == {"cifar10-8m": 7_794_659, "cifar10-36m": 35_746_307}  # the latter as the authors' file

    def test_the_paper(self):
        recipe = find_recipe("cifar10-36m")
        assert recipe.schedule == {"kind": "linear", "steps": 1000, "beta_first": 1e-4, "beta_last": 0.02}
        optimiser = recipe.optimiser
        assert (optimiser.learning_rate, optimiser.ema, optimiser.clip, optimiser.beta2) == (2e-4, 0.9999, 1.0, 0.999)
        assert [optimiser.rate(step) for step in (0, 2499, 4999, 799_999)] == [1 / 5000, 0.5, 1.0, 1.0]
        assert (recipe.prediction, recipe.times, recipe.weighting) == ("epsilon", "uniform", "epsilon")
        assert recipe.network["dropout"] == 0.1
        assert recipe.data.flips

    def test_first_weights(self):
        """At first every residual block is the identity, and ε_θ is 0; the other layers keep the variance."""
        torch.manual_seed(0)
        network, _ = new_network(DDPM | {"dropout": 0.0}, (3, 8, 8))
        block = network.unet.down_blocks[0].resnets[0]
        x, time = torch.randn(2, 32, 8, 8), torch.randn(2, 128)
        assert torch.equal(block(x, time), x)
        assert not network(torch.randn(2, 3, 8, 8), torch.tensor([1.0, 900.0])).any()
        assert float(block.conv1.weight.detach().var()) == pytest.approx(2 / (9 * 32 + 9 * 32), rel=0.05)

    def test_an_rgb_model_is_trained_saved_and_read(self, tmp_path):
        path = tmp_path / "images.npz"
        pictures = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
        np.savez(path, images=pictures)
        changes = ["data.dataset=npz", "optimiser.steps=3", "optimiser.batch_size=4", "finish.samples=4"]
        changes += ["finish.mean_squares=2", "network.channels=[32, 32]", "network.blocks=1"]
        plan = find_recipe("cifar10-8m", changes)
        summary = train(plan, tmp_path / "out", path)
        assert summary["precision"] == "float32 on cpu"
        model = load_model(str(summary["folder"]))
        assert model.image_shape == (3, 8, 8)
        assert model.checkpoint.architecture["kind"] == "unet2d"
        assert (model.extractor, model.reference) == ("inception-v3-compat", None)
        assert model.checkpoint.training["recipe"]["optimiser"]["precision"] == "float32"
        trained = load_file(tmp_path / "out" / "checkpoint.safetensors")
        for name, value in model.predictor.network.state_dict().items():
            assert torch.equal(value, trained[f"ema/{name}"])
        with summary["samples"].open("rb") as file:
            assert file.read(4) == b"\x89PNG"

    @pytest.mark.parametrize(
        ("network", "message"),
        [
            ({"kind": "dpm"}, "unknown kind of network 'dpm'; did you mean 'ddpm'"),
            ({"kind": "ddpm", "widths": [32]}, "unknown key 'widths'"),
            ({"patches": 2}, "unknown key 'patches'; did you mean 'patch'"),
            ({"kind": "ddpm", "channels": [32, 40]}, "must be multiples of 32"),
            ({"kind": "ddpm", "channels": [32, 32], "attention": [2]}, "attention holds whole numbers from 0 to 1"),
            ({"kind": "ddpm", "channels": [32, 32], "dropout": 1}, "dropout is at least 0 and below 1, got 1"),
            ({"kind": "ddpm", "channels": [32] * 5}, "sample_size 8 is not divisible by 16"),
        ],
    )
    def test_networks_that_cannot_be(self, images, tmp_path, network, message):
        with pytest.raises(UserError, match=rf"^\[network\] of recipe 'tiny': .*{message}"):
            train(recipe(network=network), tmp_path / "out", images)

    def test_precision_goes_by_the_device(self, monkeypatch):
        plan = find_recipe("cifar10-8m")
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
        found = [settled(plan, torch.device(name)).optimiser.precision for name in ("cpu", "cuda")]
        assert found == ["float32", "bfloat16"]


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

    def test_cifar10_in_its_authors_layout(self, tmp_path, monkeypatch):
        """Five batches of rows, red, green and blue one after the other, as torchvision reads them."""
        from torchvision.datasets import CIFAR10
        from torchvision.datasets.utils import calculate_md5

        folder = tmp_path / "cifar-10-batches-py"
        folder.mkdir()
        rows = np.random.default_rng(0).integers(0, 256, (6, 3072)).astype(np.uint8)
        files = {f"data_batch_{i + 1}": {"data": rows[i : i + 1], "labels": [i]} for i in range(5)}
        files |= {"test_batch": {"data": rows[5:], "labels": [9]}, "batches.meta": {"label_names": list("abcdefghij")}}
        for name, held in files.items():
            (folder / name).write_bytes(pickle.dumps(held))
        sums = {name: calculate_md5(str(folder / name)) for name in files}
        monkeypatch.setattr(
            CIFAR10, "train_list", [[f"data_batch_{i + 1}", sums[f"data_batch_{i + 1}"]] for i in range(5)]
        )
        monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
        monkeypatch.setattr(
            CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
        )
        data = load_images("CIFAR10", tmp_path)
        assert data.labels.tolist() == [0, 1, 2, 3, 4]
        assert np.array_equal(data.images.numpy().reshape(5, 3072), rows[:5])
        assert load_images("CIFAR10", tmp_path, train=False).labels.tolist() == [9]

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
