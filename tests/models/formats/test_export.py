"""Models of every format as folders of our own: the same ε, everything that a sampler goes by, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from samplerbench import NoiseSource, UserError, load_model, sample
from samplerbench.models.export import export_model
from samplerbench.models.understood import understood

from ..originals import filled
from ..originals.guided import GuidedUNet
from ..originals.ho import HoUNet
from .conftest import small_unet
from .test_guided_diffusion import saved

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers' own deprecations

SAME = ("image_shape", "path", "prediction", "learned_range", "input", "label", "network", "dataset", "extractor")
FACTORY = """
import torch
from samplerbench import Checkpoint, Preconditioning
from samplerbench.models.networks.unet import UNet, UNetConfig
from samplerbench.models.networks.build import architecture_of

def network(seed=0):
    torch.manual_seed(seed)
    made = UNet(UNetConfig(image_shape=(3, 8, 8), channels=(8, 16), blocks=1))
    torch.nn.init.normal_(made.head.weight, 0, 0.1)
    return made

def described():
    made = network()
    flow = {"kind": "flow", "shift": 3.0}
    label = samplerbench.Label("flow-time", 1000.0)
    convention = Preconditioning("velocity", label=label)
    return Checkpoint(made, flow, convention, (3, 8, 8), architecture_of(made))

def code():
    return Checkpoint(network(), {"kind": "linear"}, Preconditioning("v"), (3, 8, 8))

def another():
    other = UNet(UNetConfig(image_shape=(3, 8, 8), channels=(16, 16), blocks=1))
    return Checkpoint(network(), {"kind": "linear"}, Preconditioning("v"), (3, 8, 8), architecture_of(other))

def raises():
    raise ValueError("weights\\nare elsewhere")
"""


@pytest.fixture
def factory(tmp_path):
    path = tmp_path / "made.py"
    path.write_text("import samplerbench\n" + FACTORY)
    return lambda name: f"{path}:{name}"


@pytest.fixture
def specs(tmp_path, save, factory):
    def spec(kind):
        if kind == "diffusers":
            return str(save(diffusers.DDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True)))
        if kind == "betas":
            return str(save(diffusers.DDPMScheduler(4, trained_betas=[0.01, 0.05, 0.1, 0.3])))
        if kind == "ddpm-ckpt":
            torch.save(filled(HoUNet(layers=1)).state_dict(), tmp_path / "cifar10.ckpt")
            return str(tmp_path / "cifar10.ckpt")
        if kind == "guided-diffusion":
            network = filled(GuidedUNet(outputs=6))
            return saved(tmp_path / "model.pt", network.state_dict(), learn_sigma=True)
        return factory("described") if kind == "factory" else "fashion-mnist"

    return spec


@pytest.mark.parametrize("kind", ["samplerbench", "diffusers", "betas", "ddpm-ckpt", "guided-diffusion", "factory"])
def test_the_same_model_comes_back(specs, tmp_path, kind):
    model = load_model(specs(kind))
    assert export_model(model, tmp_path / "out") < 1e-5  # not 0 where weights lie otherwise in memory
    again = load_model(str(tmp_path / "out"))
    assert again.format == "samplerbench"
    one, other = understood(model), understood(again)
    assert {name: one[name] for name in SAME} == {name: other[name] for name in SAME}
    origin = again.checkpoint.training["exported_from"]
    assert origin == {
        "name": model.name,
        "format": model.format,
        "sha256": model.sha256,
        "notes": [*model.checkpoint.notes],
    }
    x = NoiseSource(0, range(2), model.sample_shape).x_T()
    runs = [sample("ddim:spacing=trailing", m.epsilon(), m.schedule, x, steps=2).x0 for m in (model, again)]
    assert float((runs[0] - runs[1]).abs().max()) < 1e-5
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_a_learned_range_stays_one(specs, tmp_path):
    export_model(load_model(specs("guided-diffusion")), tmp_path / "out")
    x = torch.zeros(1, 3, 16, 16)
    eps, place = load_model(str(tmp_path / "out")).epsilon().with_range(x, 500.0)
    assert eps.shape == place.shape == x.shape


def test_statistics_go_along(tiny_model, tmp_path):
    export_model(load_model(str(tiny_model)), tmp_path / "out")
    assert (tmp_path / "out" / "reference.npz").read_bytes() == (tiny_model / "reference.npz").read_bytes()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("code", "cannot be exported: its network is code, which no config.json describes"),
        ("another", "cannot be exported: its architecture makes another network .*does not fit config.json"),
        ("raises", "ValueError: weights are elsewhere$"),
        ("descried", "did you mean 'described'"),
    ],
)
def test_what_is_no_model_of_a_config(factory, tmp_path, name, message):
    with pytest.raises(UserError, match=message) as caught:
        export_model(load_model(factory(name)), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_a_folder_that_holds_something_is_left_alone(tiny_model, tmp_path):
    model = load_model(str(tiny_model))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="full is not empty; name a folder that is new or empty"):
        export_model(model, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    with pytest.raises(UserError, match="is a file; name a folder"):
        export_model(model, tmp_path / "full" / "mine.txt")
    (tmp_path / "empty").mkdir()
    assert export_model(model, tmp_path / "empty") == 0.0
    assert export_model(model, tmp_path / "new" / "deep") == 0.0


def test_flops_are_counted(save):
    """Of a network without attention: convolutions and linear layers, by their shapes."""
    network = small_unet(down_block_types=["DownBlock2D"] * 2, up_block_types=["UpBlock2D"] * 2, add_attention=False)
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
    model = load_model(str(save(diffusers.DDPMScheduler(), network)))
    counted = []
    for layer in layers:
        layer.register_forward_hook(lambda m, _, out: counted.append(2 * out.numel() * m.weight[0].numel()))
    network(torch.zeros(1, 3, 8, 8), torch.zeros(1))
    assert understood(model)["network"]["flops"] == sum(counted)


def test_all_that_is_understood_is_json(specs):
    for kind in ("diffusers", "ddpm-ckpt", "factory"):
        facts = understood(load_model(specs(kind)))
        assert json.loads(json.dumps(facts, allow_nan=False)) == facts
