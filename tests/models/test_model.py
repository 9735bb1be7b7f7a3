import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from samplerbench import UserError, linear_schedule, load_model, sample
from samplerbench.models.formats.own import save_model, shipped_models
from samplerbench.models.networks.experts import Experts
from samplerbench.models.networks.unet import UNet, UNetConfig
from samplerbench.models.preconditioning import Level
from samplerbench.models.predictor import ModelEpsilon, NoisePredictor


@pytest.fixture
def folder(tiny_model, tmp_path):
    return shutil.copytree(tiny_model, tmp_path / "model")


def test_a_model_has_the_name_of_its_folder_or_of_the_run_that_trained_it(folder, monkeypatch):
    run = folder.parent / "cifar10"
    run.mkdir()
    folder.rename(run / "model")
    monkeypatch.chdir(run)
    named = {path: load_model(path).name for path in ("model", str(run / "model"), "../cifar10/model/")}
    assert set(named.values()) == {"cifar10"}
    (run / "model").rename(run / "mine")
    assert load_model("mine").name == "mine"


def test_a_folder_is_loaded(folder):
    model = load_model(str(folder))
    assert model.image_shape == (1, 28, 28)
    assert model.reference == folder / "reference.npz"
    assert model.schedule.config() == linear_schedule().config()
    changed = load_file(folder / "model.safetensors")
    changed["stem.bias"] += 1
    save_file(changed, folder / "model.safetensors")
    assert load_model(str(folder)).sha256 != model.sha256


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
def test_predictions_are_turned_into_noise(prediction):
    """A network that outputs the true quantity gives the true noise."""
    x0, eps = torch.randn(2, 6, 1, 4, 4).double()
    schedule, t = linear_schedule(), 300.0
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    truth = {"epsilon": eps, "v": alpha * eps - sigma * x0, "x0": x0}[prediction]

    class Oracle(torch.nn.Module):
        def forward(self, x, label):
            assert label.tolist() == [299.0] * 6
            return truth

    epsilon = ModelEpsilon(NoisePredictor(Oracle(), prediction), schedule, "float64")
    assert torch.allclose(epsilon(alpha * x0 + sigma * eps, t), eps, atol=1e-12)


def test_unet_keeps_the_shape_and_treats_samples_apart():
    torch.manual_seed(0)
    net = UNet(UNetConfig(image_shape=(3, 16, 16), patch=2, channels=(8, 16), blocks=1, attention=(1,)))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, label = torch.randn(4, 3, 16, 16), torch.tensor([0.0, 10.0, 500.0, 999.0])
    out = net(x, label)
    assert out.shape == x.shape
    assert torch.allclose(net(x[2:3], label[2:3]), out[2:3], atol=1e-4)
    assert not torch.allclose(net(x, label.flip(0)), out, atol=1e-2)


class Plus(torch.nn.Module):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, x, label):
        return x + self.number


def test_experts_serve_the_labels_of_their_range():
    experts = Experts([Plus(1), Plus(2), Plus(3)], [10, 20])
    x, labels = torch.zeros(6, 1), [0.0, 10.0, 10.5, 20.0, 20.5, 999.0]
    assert experts(x, torch.tensor(labels)).flatten().tolist() == [1, 1, 2, 2, 3, 3]
    predictor = NoisePredictor(experts, "epsilon")
    assert [float(predictor(x[:1], label, Level(1.0, 1.0))) for label in labels] == [1, 1, 2, 2, 3, 3]
    for last in ([10], [20, 10], [10, 10]):
        with pytest.raises(UserError, match="increasing labels, one fewer"):
            Experts([Plus(1), Plus(2), Plus(3)], last)


def test_a_learned_range_is_a_second_output(tmp_path):
    torch.manual_seed(0)
    network = UNet(UNetConfig(image_shape=(1, 8, 8), channels=(8,), blocks=1, learned_range=True))
    torch.nn.init.normal_(network.head.weight, std=0.01)
    save_model(tmp_path, network, "epsilon", linear_schedule(), None, training={})
    epsilon = load_model(str(tmp_path)).epsilon()
    x = torch.randn(3, 1, 8, 8)
    eps, place = epsilon.with_range(x, 500.0)
    assert eps.shape == place.shape == x.shape
    assert torch.equal(epsilon(x, 500.0), eps)
    assert not torch.equal(eps, place)
    out = sample("ddpm:variance=learned-range", epsilon, linear_schedule(), x, nfe=4)
    assert out.nfe == 4


def test_impossible_architectures():
    with pytest.raises(ValueError, match="not divisible by 4"):
        UNetConfig(image_shape=(1, 30, 30), patch=2, channels=(8, 8))
    with pytest.raises(ValueError, match="multiples of 8"):
        UNetConfig(image_shape=(1, 28, 28), channels=(12,))


def edit(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(config))


def without_config(folder):
    (folder / "config.json").unlink()


def without_weights(folder):
    (folder / "model.safetensors").unlink()


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def of_another_shape(folder):
    architecture = json.loads((folder / "config.json").read_text())["architecture"]
    edit(folder, architecture=architecture | {"channels": [16]})


def with_another_depth(folder):
    architecture = json.loads((folder / "config.json").read_text())["architecture"]
    edit(folder, architecture=architecture | {"blocks": 2})


def with_a_misspelt_key(folder):
    architecture = json.loads((folder / "config.json").read_text())["architecture"]
    edit(folder, architecture=architecture | {"chanels": [16]})


def pickled(folder):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "model.pt")


def pickled_with_another_ending(folder):
    torch.save({}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_config, "is a folder of no known format .*samplerbench's own has config.json and model.safetensors"),
        (without_weights, r"has no model\.safetensors"),
        (truncated, r"model\.safetensors is truncated or not safetensors"),
        (of_another_shape, r"does not fit config\.json: .* is \[.*\], expected \["),
        (with_another_depth, r"does not fit config\.json: it lacks"),
        (with_a_misspelt_key, "unknown key of the architecture 'chanels'; did you mean 'channels'"),
        (pickled, r"model\.pt is a pickle.*is refused; convert it"),
        (pickled_with_another_ending, "is a pickle with another ending"),
        (lambda f: edit(f, prediction="vv"), "unknown prediction 'vv'"),
        (lambda f: edit(f, schedule={"kind": "linaer"}), "did you mean 'linear'"),
        (lambda f: edit(f, architecture={"kind": "transformer"}), "unknown architecture 'transformer'"),
        (lambda f: (f / "config.json").write_text("{"), "not valid JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "must hold a JSON object"),
        (lambda f: (f / "config.json").write_text("{}"), "lacks 'architecture'"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "not valid JSON"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "not valid JSON"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "is truncated or not safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 99), "is truncated or not safetensors"),
    ],
)
def test_damaged_folders(folder, damage, message):
    damage(folder)
    with pytest.raises(UserError, match=message) as error:
        load_model(str(folder))
    assert "\n" not in str(error.value)


def with_weight(value, dtype=None):
    def damage(folder):
        state = load_file(folder / "model.safetensors")
        state["stem.bias"] = state["stem.bias"].to(dtype or state["stem.bias"].dtype)
        state["stem.bias"][0] = value
        save_file(state, folder / "model.safetensors")

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (with_weight(math.nan), "stem.bias has values that are not finite"),
        (with_weight(-math.inf), "stem.bias has values that are not finite"),
        (with_weight(1, torch.int64), r"stem.bias is torch.int64, expected torch.float32"),
        (with_weight(1, torch.complex64), r"stem.bias is torch.complex64, expected torch.float32"),
    ],
)
def test_weights_that_are_no_weights(folder, damage, message):
    damage(folder)
    with pytest.raises(UserError, match=message):
        load_model(str(folder))


def test_a_loaded_model_keeps_its_weights_when_the_file_is_written_over(folder):
    path = folder / "model.safetensors"
    loaded = load_model(str(folder)).predictor.state_dict()
    before = {name: value.clone() for name, value in loaded.items()}
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(bytes(size - size // 2))
    assert all(torch.equal(value, before[name]) for name, value in loaded.items())


def test_weights_of_float16_are_loaded_as_float32(folder):
    whole = load_model(str(folder)).predictor.state_dict()
    state = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(state, folder / "model.safetensors")
    loaded = load_model(str(folder)).predictor.state_dict()
    assert all(value.dtype == torch.float32 for value in loaded.values())
    assert all(torch.equal(value, whole[name].half().float()) for name, value in loaded.items())


NOT_WHOLE = [0, -1, True, 1.0, 1.5, "2", None, [1], {}, 10**30]
ARCHITECTURES = [
    *(({"patch": value}, "patch holds whole numbers from 1") for value in NOT_WHOLE),
    *(({"blocks": value}, "blocks holds whole numbers from 1") for value in NOT_WHOLE),
    *(({"channels": [value]}, "channels holds whole numbers from 8") for value in NOT_WHOLE),
    *(({"image_shape": [1, value, 28]}, "image_shape holds whole numbers from 1") for value in NOT_WHOLE),
    *(({"channels": value}, "channels holds whole numbers") for value in (8, "8", None, {"0": 8}, True)),
    *(({"image_shape": value}, "image_shape holds whole numbers") for value in (28, "1×28×28", None, {})),
    ({"image_shape": []}, r"image_shape is \[C, H, W\], got \[\]"),
    ({"image_shape": [28, 28]}, r"image_shape is \[C, H, W\], got \[28, 28\]"),
    ({"channels": []}, "channels has a width for each resolution, got none"),
    ({"channels": [8] * 50}, "not divisible by"),
    *(({"attention": value}, "attention holds whole numbers from 0 to 0") for value in ([1], [-1], [0.0], 0, "0")),
    *(({"learned_range": value}, "learned_range is true or false") for value in (0, 1, "no", None)),
    ({"kind": None}, "unknown architecture 'None'"),
    ({"kind": ["unet"]}, "unknown architecture"),
    ({"channels": [2**16]}, r"does not fit config\.json"),  # 300 GB, were the network made first
]


@pytest.mark.parametrize(("changes", "message"), ARCHITECTURES, ids=lambda case: str(case)[:40])
def test_architectures_that_cannot_be(folder, changes, message):
    architecture = json.loads((folder / "config.json").read_text())["architecture"]
    edit(folder, architecture=architecture | changes)
    with pytest.raises(UserError, match=message) as error:
        load_model(str(folder))
    assert "\n" not in str(error.value)


LINEAR = {"kind": "linear", "steps": 1000}
CONFIGS = [
    *(
        ({"experts": value}, "experts is a list of increasing labels from 0 to below 999")
        for value in (
            [99999],
            [999],
            [-1],
            [5, 5],
            [9, 3],
            ["5"],
            [True],
            [math.nan],
            [10**400],
            5,
            "5",
            None,
            {"a": 1},
        )
    ),
    *(({"architecture": value}, "architecture is a JSON object") for value in (None, 5, "unet", ["unet"])),
    ({"architecture": {"kind": "unet"}}, "architecture lacks 'image_shape'"),
    ({"architecture": {}}, "architecture lacks 'kind'"),
    *(({"prediction": value}, "unknown prediction") for value in (None, 1, ["v"], {})),
    *(({"schedule": value}, "schedule is a JSON object") for value in (None, 5, "linear", ["linear"])),
    *(({"schedule": {"kind": value}}, "unknown schedule") for value in (None, 5, ["linear"], {}, "Linear")),
    ({"schedule": {}}, "unknown schedule"),
    ({"schedule": LINEAR | {"colour": 1}}, "unknown key of schedule 'linear' 'colour'"),
    *(
        ({"schedule": {"kind": kind, "steps": value}}, "steps of a schedule is a whole number from 1")
        for kind in ("linear", "cosine")
        for value in (0, -5, 2.5, 1000.0, "1000", True, None, 10**9)
    ),
    *(
        ({"schedule": LINEAR | {"beta_first": value}}, "schedule|betas")
        for value in (0, -1, 1, 2, "0.1", True, None, [0.1], math.nan, math.inf)
    ),
    *(({"schedule": {"kind": "cosine", "offset": value}}, "schedule|betas") for value in (-1, "1", None, math.nan)),
    *(
        ({"schedule": {"kind": "cosine", "beta_limit": value}}, "schedule|betas")
        for value in (1, 2, "1", None, math.nan)
    ),
    ({"schedule": {"kind": "betas"}}, "schedule 'betas' needs 'betas'"),
    *(
        ({"schedule": {"kind": "betas", "betas": value}}, "schedule 'betas'|betas must be")
        for value in ([], [[0.1]], ["a"], "ab", 0.5, None, [1.0, 0.1], [0.1, math.nan], [{}])
    ),
    ({"schedule": {"kind": "betas", "betas": [0.9999] * 100}}, r"ends at α = exp\(-460.5\), which is 0 in float64"),
    *(
        ({"schedule": {"kind": "vp", "label_scale": value}}, "label_scale")
        for value in (0, -1, "a", None, math.nan, True)
    ),
    *(
        ({"schedule": {"kind": "vp", "beta_1": value}}, "beta_1|VP|too large")
        for value in (-1, "a", None, math.inf, 10**400)
    ),
    *(({"schedule": {"kind": "vp", "t_min": value}}, "t_min") for value in (0, 1, 2, "a", None, math.nan)),
    ({"schedule": {"kind": "vp", "beta_1": 1e6}}, "which is 0 in float64"),
    *(({"extractor": value}, "extractor is a name or null") for value in (5, ["a"], {}, True)),
    *(({"training": value}, "training is a JSON object") for value in (5, "a", [1], None)),
    ({"training": {"recipe": 5}}, "recipe is a JSON object"),
    ({"training": {"recipe": {"data": "FashionMNIST"}}}, "data is a JSON object"),
    *(({"mean_squares": value}, "mean_squares") for value in (5, [1], {"times": [1]}, {"values": [1], "times": 1})),
    *(
        ({"mean_squares": {"times": times, "values": values}}, "mean_squares: ")
        for times, values in (([], []), ([1, 2], [1]), ([2, 1], [1, 1]), (["1"], [1]), ([1], [-1]), ([1], [math.nan]))
    ),
    (
        {"schedule": {"kind": "betas", "betas": [0.1, 0.2], "config": {"kind": "linear"}}},
        "unknown key of schedule 'betas' 'config'",
    ),
    ({"format": True}, "format is 1 or 2, got True"),
    *(({"format": 1, "label": value}, "label of format 1 is 't - 1 for") for value in ("time", None, {"kind": "time"})),
    ({"format": 3}, "format is 1 or 2, got 3: another version of samplerbench"),
    ({"expert": [5]}, "unknown key of config.json 'expert'; did you mean 'experts'"),
]


@pytest.mark.parametrize(("changes", "message"), CONFIGS, ids=lambda case: str(case)[:50])
def test_configs_that_cannot_be(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(UserError, match=message) as error:
        load_model(str(folder))
    assert "\n" not in str(error.value)
    assert "config.json" in str(error.value)


def test_unknown_model():
    with pytest.raises(UserError, match="unknown model 'fashion-mnits'; did you mean 'fashion-mnist'"):
        load_model("fashion-mnits")


def test_the_shipped_model_is_what_its_config_says():
    assert "fashion-mnist" in shipped_models()
    model = load_model("fashion-mnist")
    assert model.image_shape == (1, 28, 28)
    assert model.checkpoint.training["images_seen"] > 1_000_000
    assert model.reference is not None
