"""`samplerbench check --model`: what each check finds, on a perfect network and on small real ones."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from samplerbench import EDMSchedule, FlowSchedule, UserError, linear_schedule
from samplerbench.check.asked import Questions
from samplerbench.check.denoising import errors_of, levels_of
from samplerbench.check.finding import found
from samplerbench.check.model import check_model, compare_readings
from samplerbench.check.outside import calls
from samplerbench.check.readings import declared
from samplerbench.check.variants import swap_embedding
from samplerbench.images import quantise
from samplerbench.models.condition import Classes
from samplerbench.models.formats.format import Checkpoint
from samplerbench.models.formats.own import save_model
from samplerbench.models.model import Model, load_model
from samplerbench.models.networks.unet import UNet, UNetConfig
from samplerbench.models.preconditioning import Label, Preconditioning
from samplerbench.models.predictor import NoisePredictor

from .exact import SHAPE, SHORT, Changed, Exact, data_of

RIGHT = Preconditioning("v")
IMAGES = quantise(data_of(600))


def model_of(network=None, convention=RIGHT, path=SHORT, **said):
    network = Exact(path, convention) if network is None else network
    checkpoint = Checkpoint(network, path, convention, SHAPE, **said)
    predictor = NoisePredictor(network, convention).eval()
    return Model("exact", "factory", predictor, path, checkpoint, "0" * 64)


def findings(model, images=IMAGES, samples=128, **options):
    return {f.check: f for f in check_model(model, images, samples, **options).findings}


def changed(change):
    return model_of(Changed(Exact(SHORT, RIGHT), change))


@pytest.mark.parametrize("images", [IMAGES, None], ids=["data", "own"])
@pytest.mark.parametrize(
    ("convention", "path"),
    [
        (RIGHT, SHORT),
        (Preconditioning("epsilon"), linear_schedule()),
        (Preconditioning("velocity", label=Label("flow-time")), FlowSchedule()),
    ],
    ids=["v", "epsilon", "velocity"],
)
def test_a_perfect_network_passes(convention, path, images):
    proof = check_model(model_of(None, convention, path), images, 128)
    assert [f"{f.check}: {f.text}" for f in proof.findings if f.verdict != "passed"] == []
    assert proof.on == ("128 images" if images is not None else "128 samples of its own")


def test_false_alarms_on_a_perfect_network_are_rare():
    blamed = [
        c.reading.name
        for seed in range(10)
        for c in compare_readings(model_of(), data_of(128, 100 + seed), seed=seed)
        if c.verdict == "better"
    ]
    assert blamed == []


class Moody(nn.Module):
    """A network whose dropout does not ask whether it is being trained."""

    def forward(self, x, label):
        return Exact(SHORT, RIGHT)(x, label) * (1 + 0.1 * torch.randn_like(x))


def test_two_calls_that_differ_are_found():
    assert "two calls with the same x differ by" in findings(model_of(Moody()))["calls"].text


def test_training_mode_is_found():
    network = Changed(Exact(SHORT, RIGHT), lambda net, x, label: net(x, label))
    network.drop = nn.Dropout(0.1)
    model = model_of(network)
    network.drop.train()
    assert findings(model)["calls"].text == "drop is in training mode; a model is evaluated with eval()"


def test_a_network_that_looks_at_the_batch_is_found():
    finding = findings(changed(lambda net, x, label: net(x, label) + 0.1 * x.mean()))["calls"]
    assert "a sample alone differs by" in finding.text


@pytest.mark.parametrize(("rounding", "verdict"), [(1e-5, "passed"), (1e-3, "failed")])
def test_what_a_batch_may_change_goes_by_the_output(rounding, verdict):
    """D(x; σ) of EDM: ε at σ = 0.002 is 500 times as far away as x_0, which is rounding where x_0 differs so little."""

    class Denoiser(nn.Module):
        def forward(self, x, label):
            scale = 1 / (1 + label.view(-1, 1, 1, 1) ** 2)
            return x * scale * (1 + rounding * len(x) * torch.cos(9 * x))

    model = model_of(Denoiser(), Preconditioning("x0", label=Label("sigma")), EDMSchedule())
    assert found("calls", lambda: calls(model, "cpu")).verdict == verdict


def test_nan_is_found():
    finding = findings(changed(lambda net, x, label: net(x, label) * float("nan")))
    assert finding["calls"].text == "ε at time 1 is not finite"
    assert finding["samples"].verdict == finding["readings"].verdict == "failed"


def test_nan_without_images_leaves_nothing_to_compare():
    finding = findings(changed(lambda net, x, label: net(x, label) * float("nan")), None)
    assert (finding["readings"].verdict, "--data" in finding["readings"].text) == ("skipped", True)


def test_the_noisy_end_shows_a_wrong_meaning():
    model = model_of(Exact(SHORT, RIGHT), replace(RIGHT, prediction="epsilon"))
    found = findings(model)
    assert {found["noisy end"].verdict, found["readings"].verdict} == {"failed"}
    assert "output is v: the output seems to be v = α ε - σ x_0" in found["readings"].text


def test_the_noisy_end_of_an_epsilon():
    model = model_of(Changed(Exact(SHORT, Preconditioning()), lambda net, x, label: -net(x, label)), Preconditioning())
    assert "their correlation is -1.000" in findings(model)["noisy end"].text


@pytest.mark.parametrize("data", [(0.5, 0.5), (2.0, 0.0)])
def test_samples_of_another_range_are_found(data):
    finding = findings(model_of(Exact(SHORT, RIGHT, data)))["samples"]
    assert finding.verdict == "failed"
    assert ("another range" in finding.text) == (data == (0.5, 0.5))


@pytest.mark.parametrize("wrong", ["label", "schedule", "sign"])
def test_large_mistakes_show_without_data(wrong):
    model = {
        "label": lambda: model_of(Exact(SHORT, RIGHT), replace(RIGHT, label=Label("index", factor=-1.0, offset=99.0))),
        "schedule": lambda: replace(model_of(), schedule=linear_schedule(100, 1e-3, 0.02)),
        "sign": lambda: changed(lambda net, x, label: -net(x, label)),
    }[wrong]()
    assert "failed" in {f.verdict for f in findings(model, None).values()}


def blurred(share):
    return Changed(Exact(SHORT, RIGHT), lambda net, x, label: net(x, label) * (1 - share))


@pytest.mark.parametrize(("name", "share", "verdict"), [("averaged", 0.2, "failed"), ("raw", 0.05, "passed")])
def test_the_better_weights_are_named(name, share, verdict):
    """Averaged weights that were not taken are a mistake; raw ones may fit a little better."""
    exact = Exact(SHORT, RIGHT)
    found = check_model(model_of(blurred(share), other_weights=lambda: (name, exact)), IMAGES, 256)
    (one,) = [c for c in found.compared if c.reading.name == f"{name} weights"]
    assert one.ratio < 1
    assert (one.verdict == "better") == (verdict == "failed")
    if verdict == "failed":
        assert f"the {name} weights seem to be the better ones" in found.findings[-1].text


def small_unet(seed=0):
    torch.manual_seed(seed)
    network = UNet(UNetConfig(image_shape=SHAPE, patch=2, channels=(8,), blocks=1))
    for part in network.parameters():
        nn.init.normal_(part, std=0.3)
    return network


def test_a_swapped_embedding_is_the_other_order():
    network, x, label = small_unet(), torch.randn(2, *SHAPE), torch.tensor([3.0, 70.0])
    before = network(x, label)
    assert swap_embedding(network)
    assert not torch.allclose(network(x, label), before, atol=1e-3)
    assert swap_embedding(network)
    assert torch.equal(network(x, label), before)
    assert not swap_embedding(Exact(SHORT, RIGHT))


def test_raw_weights_are_found_beside_a_trained_model(tmp_path):
    """`samplerbench train` leaves its state beside the folder, with weights and their averages."""
    averaged, raw = small_unet(0), small_unet(1)
    save_model(tmp_path / "model", averaged, "v", SHORT)
    assert load_model(str(tmp_path / "model")).checkpoint.other_weights is None
    state = {f"network/{n}": v for n, v in raw.state_dict().items()} | {"ema/x": torch.zeros(1)}
    save_file(state, tmp_path / "checkpoint.safetensors")
    model = load_model(str(tmp_path / "model"))
    name, network = model.checkpoint.other_weights()
    x, label = torch.randn(2, *SHAPE), torch.tensor([3.0, 70.0])
    assert name == "raw"
    assert torch.equal(network(x, label), raw(x, label))
    assert "raw weights" in {c.reading.name for c in compare_readings(model, data_of(64))}
    save_file({"network/stem.weight": torch.zeros(1)}, tmp_path / "checkpoint.safetensors")
    with pytest.raises(UserError, match=r"checkpoint\.safetensors does not fit config.json"):
        load_model(str(tmp_path / "model")).checkpoint.other_weights()


class Halves:
    """A coder whose latents are pixels in [-1, 1], times `scale`; `wrong` is what it decodes by."""

    image_shape = latent_shape = SHAPE

    def __init__(self, scale=1.5, wrong=1.0):
        self.scale, self.wrong, self.module = scale, wrong, nn.Linear(1, 1)

    def encode(self, images, noise=None):
        return self.scale * (images.float() / 127.5 - 1)

    def decode(self, latents):
        return self.wrong * latents / self.scale


@pytest.mark.parametrize("images", [IMAGES, None], ids=["data", "own"])
def test_a_perfect_network_of_latents_passes(images):
    """The mixture's deviation is .6, so that of its latents is .9."""
    model = model_of(Exact(SHORT, RIGHT, (1.5, 0.0)), decoder=Halves())
    proof = check_model(model, images, 128)
    assert [f"{f.check}: {f.text}" for f in proof.findings if f.verdict != "passed"] == []
    assert ("decoder" in {f.check for f in proof.findings}) == (images is not None)
    assert {"latents × 2", "latents ÷ 2"} <= {c.reading.name for c in proof.compared}


def test_latents_of_another_scale_are_found():
    model = model_of(Exact(SHORT, RIGHT, (3.0, 0.0)), decoder=Halves())
    found = findings(model)
    assert "the network seems to know latents twice as large" in found["readings"].text
    assert "the latents' shift or scale seems to be another one" in found["latents"].text


def test_another_decoder_is_found():
    found = findings(model_of(Exact(SHORT, RIGHT, (1.5, 0.0)), decoder=Halves(wrong=-1.0)))
    assert "encoder and decoder do not belong together" in found["decoder"].text


class Asked(nn.Module):
    """A perfect network that is asked for one of two signs of the data; 2 stands for no sign, which is the first."""

    def __init__(self):
        super().__init__()
        self.network = Exact(SHORT, RIGHT)

    def forward(self, given, label, labels):
        sign = torch.where(labels == 1, -1.0, 1.0).view(-1, 1, 1, 1)
        return sign * self.network(sign * given, label)


@pytest.mark.parametrize("images", [IMAGES, None], ids=["data", "own"])
def test_a_perfect_network_that_is_asked_for_something_passes(images):
    proof = check_model(model_of(Asked(), conditioner=Classes(2, null=2)), images, 128)
    assert [f"{f.check}: {f.text}" for f in proof.findings if f.verdict != "passed"] == []


def test_what_is_asked_for_goes_with_each_sample():
    """A network that is told another class than its sample is of denoises worse, which is found in the readings."""
    model = model_of(Asked(), conditioner=Classes(2))
    assert Questions(model).rows(range(1, 4))["labels"].tolist() == [1, 0, 1]
    own, x0 = Questions(model), data_of(128)
    x0[1::2] *= -1
    right, readings = declared(SHORT, RIGHT), [declared(SHORT, RIGHT)]
    levels = levels_of(right, 128, 0)
    good = errors_of(readings, {"": model.predictor.network}, x0, levels, 0, asked=own.rows)
    bad = errors_of(readings, {"": model.predictor.network}, -x0, levels, 0, asked=own.rows)
    assert good.mean() < 0.5 * bad.mean()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"conditioner": Classes(2)}, "must be asked for something, and images do not say what; leave --data out"),
        (
            {"decoder": SimpleNamespace(module=nn.Linear(1, 1), image_shape=SHAPE)},
            "has no encoder, .* leave --data out",
        ),
    ],
)
def test_images_that_cannot_be_taken(said, message):
    with pytest.raises(UserError, match=message):
        check_model(model_of(**said), IMAGES, 64)


@pytest.mark.parametrize(
    ("images", "samples", "message"),
    [
        (IMAGES[:, :, :4], 64, "--data has images of 1×4×8, the model's are 1×8×8"),
        (IMAGES[:100], 128, "--data has 100 images, and 128 are to be compared on; lower --samples"),
        (IMAGES, 8, "--samples is at least 64, 8 a band"),
    ],
)
def test_what_it_cannot_be_checked_on(images, samples, message):
    with pytest.raises(UserError, match=message):
        check_model(model_of(), images, samples)


def test_the_command(command, tiny_model, tmp_path):
    np.savez(tmp_path / "images.npz", images=np.random.default_rng(0).integers(0, 256, (80, 28, 28), dtype=np.uint8))
    arguments = ["check", "--model", tiny_model, "--data", tmp_path / "images.npz", "--samples", 64, "--device", "cpu"]
    code, out, _ = command(*arguments)
    assert code == 1  # it is untrained
    assert "noisy end" in out
    assert "squared error of other readings over the declared one's, 64 images of" in out
    assert "checks failed." in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "FashionMNIST"], "--data goes with --model"),
        (["ddim", "--seed", "1"], "--seed goes with --model"),
        (["ddim", "--model", "fashion-mnist"], "one at a time; leave out ddim"),
        (["--model", "fashion-mnist", "--paths", "all"], "leave out --paths"),
        (
            ["--model", "fashion-mnist", "--data", "nothing"],
            "--data nothing: no folder, CSV or npz, and unknown dataset",
        ),
        (["--model", "fashion-mnist", "--data", "x.npz"], "--data x.npz: no such file"),
        (["--model", "fashion-mnist", "--data-root", "."], "--data-root goes with --data"),
        (["--model", "fashion-mnits"], "did you mean 'fashion-mnist'"),
    ],
)
def test_bad_input_is_one_line(command, arguments, message):
    code, _, err = command("check", *arguments)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
