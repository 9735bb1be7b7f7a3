"""Checkpoints of the DDPM paper's networks, against a network laid out as theirs."""

import hashlib
from copy import deepcopy

import pytest
import torch

from samplerbench import UserError
from samplerbench.models.formats import ddpm_ckpt
from samplerbench.models.networks.unet2d import UNet2D
from samplerbench.models.preconditioning import Label

from ..originals import difference, filled
from ..originals.ho import HoUNet
from . import understand

pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers' own deprecations

X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([7.0, 901.0])
LSUN = {"multipliers": (1, 1, 2, 2, 4, 4), "attention": 4, "layers": 1, "dropout": 0.0}
CELEBA = {"multipliers": (1, 2, 2, 2, 4), "attention": 2, "layers": 1}


@pytest.fixture(scope="module")
def original():
    return filled(HoUNet())


def saved(path, held):
    torch.save(held, path)
    return str(path)


def test_the_network_is_the_original(original, tmp_path):
    found = understand(saved(tmp_path / "x.ckpt", original.state_dict()))
    assert difference(original, found.network, X, LABELS) < 1e-5
    assert found.sample_shape == (3, 32, 32)
    assert found.preconditioning.prediction == "epsilon"
    assert found.schedule == {
        "kind": "linear", "steps": 1000, "beta_first": 1e-4, "beta_last": 0.02, "zero_terminal_snr": False,
    }  # fmt: skip
    assert found.preconditioning.label == Label("index", 1.0)
    assert found.files == (tmp_path / "x.ckpt",)
    assert not any(module.training for module in found.network.modules())


@pytest.mark.parametrize(("shape", "size"), [(LSUN, 256), (CELEBA, 64)])
def test_other_configurations(tmp_path, shape, size):
    original = filled(HoUNet(**shape))
    found = understand(saved(tmp_path / "x.ckpt", original.state_dict()))
    assert found.sample_shape == (3, size, size)
    assert difference(original, found.network, X, LABELS) < 1e-5


@pytest.mark.parametrize(
    ("mistake", "least"),
    [
        ({"downsample_padding": 1}, 0.1),
        ({"flip_sin_to_cos": True}, 0.01),
        ({"freq_shift": 0}, 0.01),
        ({"attention_head_dim": 8}, 1e-3),
        ({"norm_eps": 1e-5}, 5e-6),
    ],
)
def test_what_this_comparison_would_find(original, tmp_path, mistake, least):
    """No field of the config could be wrong unnoticed."""
    found = understand(saved(tmp_path / "x.ckpt", original.state_dict()))
    config = {name: value for name, value in found.architecture.items() if name != "kind"} | mistake
    wrong = UNet2D(config).eval()
    wrong.load_state_dict(found.network.state_dict())
    assert difference(deepcopy(original).double(), wrong.double(), X.double(), LABELS) > least


def test_in_float64_nothing_is_left(original, tmp_path):
    """At label 0, whose embedding diffusers does not round."""
    found = understand(saved(tmp_path / "x.ckpt", original.state_dict()))
    assert difference(deepcopy(original).double(), found.network.double(), X.double(), 0 * LABELS) < 1e-12


def test_labels_are_not_off_by_one(original, tmp_path):
    found = understand(saved(tmp_path / "x.ckpt", original.state_dict()))
    for off in (0.5, 1.0):
        assert difference(original, lambda x, label, off=off: found.network(x, label + off), X, LABELS) > 1e-4


def test_the_average_is_taken_from_a_list(original, tmp_path):
    """ddim's own: DataParallel's names in the model, plain ones in the average."""
    model = {f"module.{name}": torch.randn_like(value) for name, value in original.state_dict().items()}
    optimizer = torch.optim.Adam(original.parameters()).state_dict()
    found = understand(saved(tmp_path / "ckpt.pth", [model, optimizer, 3, 100, original.state_dict()]))
    assert difference(original, found.network, X, LABELS) < 1e-5
    assert "weights: their moving average (EMA), the last of its five entries" in found.notes
    model = {f"module.{name}": value for name, value in original.state_dict().items()}
    found = understand(saved(tmp_path / "ckpt.pth", [model, optimizer, 3, 100]))
    assert difference(original, found.network, X, LABELS) < 1e-5
    assert any("there is no moving average (EMA) in the file" in note for note in found.notes)


def test_what_name_and_hash_tell(original, tmp_path, monkeypatch):
    folder = tmp_path / "ema_diffusion_lsun_bedroom_model"
    folder.mkdir()
    path = folder / "model-1.ckpt"
    found = understand(saved(path, original.state_dict()))
    assert found.dataset == "lsun-bedroom"
    assert "weights: their moving average (EMA), by the file's name" in found.notes
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(ddpm_ckpt.PUBLISHED, digest, ("cifar10", False))
    found = understand(str(path))
    assert found.dataset == "cifar10"
    assert any("not their moving average" in note and "by its MD5" in note for note in found.notes)
    found = understand(saved(tmp_path / "x.ckpt", filled(HoUNet(ch=128, layers=1)).state_dict()))
    assert found.dataset == "cifar10"
    assert "data set: cifar10, by its network's shapes" in found.notes


def refused(path, expected):
    with pytest.raises(UserError) as caught:
        understand(str(path))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [{}, LSUN])
def test_every_tensor_is_called_in_errors_as_in_the_file(shape):
    names, levels = HoUNet(**shape).state_dict(), len(shape.get("multipliers", (1, 2, 2, 2)))
    renamed = [ddpm_ckpt._renamed(name, levels) for name in names]
    assert [ddpm_ckpt._theirs(levels, name) for name in renamed] == list(names)


def test_what_is_refused(original, tmp_path):
    state, path = original.state_dict(), tmp_path / "x.ckpt"
    refused(path, "there is no file")
    refused(saved(path, {"weight": torch.zeros(3)}), "is no checkpoint of pytorch_diffusion or ddim: it lacks conv_in")
    refused(saved(path, [state, 1]), "this one has 2 entries")
    refused(saved(path, 5), "this one holds a int")
    refused(saved(path, {"state_dict": state}), "this one holds other things than tensors by name")
    refused(
        saved(path, {n: v for n, v in state.items() if n != "mid.attn_1.q.bias"}),
        "x.ckpt does not fit the U-Net of its shapes: it lacks mid.attn_1.q.bias",
    )
    refused(
        saved(path, state | {"up.0.block.1.conv2.bias": torch.zeros(4)}), "up.0.block.1.conv2.bias is [4], expected"
    )
    refused(saved(path, state | {"logvar": torch.zeros(3)}), "has unexpected logvar")
    refused(saved(path, state | {"conv_out.bias": torch.zeros(4)}), "conv_out.bias is [4], expected [3]")
    wide = HoUNet(multipliers=(1, 2), attention=0, layers=1).state_dict()
    refused(saved(path, wide), "channels grow as [1, 2], attention is at levels [0]; known: [1, 2, 2, 2] with")
    for junk in (b"no checkpoint at all", b"\x80\x02junk", b"<html>"):
        path.write_bytes(junk)
        refused(path, "x.ckpt is damaged")
    whole = saved(path, state)
    path.write_bytes(path.read_bytes()[:2000])
    refused(whole, "x.ckpt is damaged")
    path.write_bytes(b"")
    refused(whole, "x.ckpt is damaged")


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_no_code_of_a_file_is_run(original, tmp_path):
    """A pickle may call anything when it is loaded."""
    mark = tmp_path / "ran"
    refused(saved(tmp_path / "x.ckpt", [original.state_dict(), Evil(mark), 0, 0]), "holds more than tensors")
    assert not mark.exists()
    (tmp_path / "edm.pkl").write_bytes(b"\x80\x04")
    refused(tmp_path / "edm.pkl", "where you trust it, take its weights out inside EDM's repository")
    refused(tmp_path / "no.pkl", "there is no file")
