"""Checkpoints of guided-diffusion and improved-diffusion, against a network laid out as theirs."""

import json
from copy import deepcopy
from itertools import product

import pytest
import torch

import samplerbench
from samplerbench import UserError
from samplerbench.models.formats import guided_layers
from samplerbench.models.formats.guided_flags import flags_of
from samplerbench.models.networks.unet2d import UNet2D
from samplerbench.models.preconditioning import Label

from ..originals import difference, filled
from ..originals.guided import GuidedUNet
from . import understand
from .conftest import signal_kept

pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers' own deprecations

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([7.0, 901.0])
FLAGS = {  # of GuidedUNet's defaults
    "image_size": 16,
    "num_channels": 32,
    "channel_mult": "1,2,3",
    "attention_resolutions": "8",
    "num_head_channels": 16,
}


def saved(path, state, **flags):
    torch.save(state, path)
    path.with_suffix(".json").write_text(json.dumps(FLAGS | flags))
    return str(path)


@pytest.fixture(scope="module")
def original():
    return filled(GuidedUNet())


@pytest.mark.parametrize(("resblock_updown", "scale_shift", "new_order"), list(product([False, True], repeat=3)))
def test_the_network_is_the_original(tmp_path, resblock_updown, scale_shift, new_order):
    """And with queries, keys and values cut in the other order it is not, though every shape fits."""
    original = filled(GuidedUNet(resblock_updown=resblock_updown, scale_shift=scale_shift, new_order=new_order))
    flags = {"resblock_updown": resblock_updown, "use_scale_shift_norm": scale_shift}
    path, state = tmp_path / "model.pt", original.state_dict()
    found = understand(saved(path, state, **flags, use_new_attention_order=new_order))
    assert difference(original, found.network, X, LABELS) < 1e-5
    assert found.sample_shape == (3, 16, 16)
    assert found.files == (path, path.with_suffix(".json"))
    assert not any(module.training for module in found.network.modules())
    other = understand(saved(path, state, **flags, use_new_attention_order=not new_order))
    assert difference(original, other.network, X, LABELS) > 1e-2


def test_attention_at_several_levels_and_one_layer(tmp_path):
    original = filled(GuidedUNet(attention=(0, 2), layers=1, resblock_updown=True))
    flags = {"attention_resolutions": "16,4", "num_res_blocks": 1, "resblock_updown": True}
    found = understand(saved(tmp_path / "model.pt", original.state_dict(), **flags))
    assert difference(original, found.network, X, LABELS) < 1e-5


@pytest.mark.parametrize("heads", [1, 4])
def test_a_number_of_heads(tmp_path, heads):
    """improved-diffusion has one number of heads: any widths where it is 1, one width otherwise."""
    shape = {"multipliers": (1, 2, 2)} if heads > 1 else {}
    original = filled(GuidedUNet(heads=lambda channels: heads, **shape))
    flags = {"num_head_channels": -1, "num_heads": heads} | ({"channel_mult": "1,2,2"} if heads > 1 else {})
    found = understand(saved(tmp_path / "model.pt", original.state_dict(), **flags))
    assert difference(original, found.network, X, LABELS) < 1e-5


def test_a_learned_range_is_kept_whole(tmp_path):
    original = filled(GuidedUNet(outputs=6))
    found = understand(saved(tmp_path / "model.pt", original.state_dict(), learn_sigma=True))
    assert found.learned_range is True
    assert found.network(X, LABELS).shape == (2, 6, 16, 16)
    assert difference(original, found.network, X, LABELS) < 1e-5
    assert any("variance=learned-range" in note for note in found.notes)


def test_classes(tmp_path):
    """A class a sample, without a null condition; and nothing is asked of a network that has none."""
    original = filled(GuidedUNet(classes=1000))
    spec = saved(tmp_path / "model.pt", original.state_dict(), class_cond=True)
    found, labels = understand(spec), torch.tensor([3, 999])
    with torch.no_grad():
        expected, output = original(X, LABELS, labels), found.network(X, LABELS, labels=labels)
        other = original(X, LABELS, labels.flip(0))
    assert (output - expected).abs().max() < 1e-5 * expected.abs().max()
    assert (other - expected).abs().max() > 1e-2 * expected.abs().max()
    assert (len(found.conditioner.default), found.conditioner.nothing) == (1000, None)
    model = samplerbench.load_model(spec)
    with pytest.raises(UserError, match=r"guidance 2: model 'model\.pt' has no null condition"):
        samplerbench.sample("ddim", model, samples=1, steps=2, prompts="3", guidance=2)
    for line in ("1000", "", "-1"):
        with pytest.raises(UserError, match=rf"class '{line}' is not among this model's: a number from 0 to 999"):
            samplerbench.sample("ddim", model, samples=1, steps=2, prompts=line)
    assert samplerbench.sample("ddim", model, samples=2, steps=2, prompts=["3", "999"]).passes == 2
    with pytest.raises(UserError, match=r"model\.pt has label_emb, and model\.json says that class_cond is False"):
        understand(saved(tmp_path / "model.pt", original.state_dict()))


@pytest.mark.parametrize(
    ("mistake", "least"),
    [
        ({"downsample_padding": 0}, 0.1),
        ({"flip_sin_to_cos": False}, 0.01),
        ({"freq_shift": 1}, 0.01),
        ({"attention_head_dim": 8}, 1e-3),
        ({"norm_eps": 1e-6}, 5e-6),
    ],
)
def test_what_this_comparison_would_find(original, tmp_path, mistake, least):
    found = understand(saved(tmp_path / "model.pt", original.state_dict()))
    config = {name: value for name, value in found.architecture.items() if name != "kind"} | mistake
    wrong = UNet2D(config).eval()
    wrong.load_state_dict(found.network.state_dict())
    assert difference(deepcopy(original).double(), wrong.double(), X.double(), LABELS) > least


def test_in_float64_nothing_is_left(original, tmp_path):
    """At label 0, whose embedding diffusers does not round."""
    found = understand(saved(tmp_path / "model.pt", original.state_dict()))
    assert difference(deepcopy(original).double(), found.network.double(), X.double(), 0 * LABELS) < 1e-12


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [1000, 4000, 100])
def test_paths_and_labels(original, tmp_path, schedule, steps):
    """At a thousand steps β is the DDPM paper's; of N it is scaled by 1000/N, and labels too where that is said."""
    flags = {"noise_schedule": schedule, "diffusion_steps": steps}
    found = understand(saved(tmp_path / "model.pt", original.state_dict(), **flags, rescale_timesteps=True))
    assert found.preconditioning.label == Label("index", 1000 / steps)
    kept = signal_kept(found.schedule)
    assert len(kept) == steps
    if schedule == "linear":
        betas = 1 - kept[1:] / kept[:-1]
        assert betas[-1] == pytest.approx(0.02 * 1000 / steps)
        assert 1 - kept[0] == pytest.approx(1e-4 * 1000 / steps)
    found = understand(saved(tmp_path / "model.pt", original.state_dict(), **flags, rescale_timesteps=False))
    assert found.preconditioning.label.factor == 1


def test_predictions_and_notes(original, tmp_path):
    path, state = tmp_path / "ema_0.9999_500000.pt", original.state_dict()
    found = understand(saved(path, state, predict_xstart=True, sigma_small=True, timestep_respacing="250"))
    assert found.preconditioning.prediction == "x0"
    assert found.notes[0] == "weights: their moving average (EMA), by the file's name"
    notes = " | ".join(found.notes)
    assert "variance=fixed-small" in notes
    assert "timestep_respacing 250" in notes
    found = understand(saved(tmp_path / "model500000.pt", state))
    assert found.preconditioning.prediction == "epsilon"
    assert "weights: those of the last step" in found.notes[0]
    found = understand(saved(tmp_path / "lsun_bedroom.pt", state))
    assert found.dataset == "lsun-bedroom"


def test_half_precision_is_widened(original, tmp_path):
    halves = {
        name: value.half() if "blocks" in name and value.ndim > 1 else value
        for name, value in original.state_dict().items()
    }
    found = understand(saved(tmp_path / "model.pt", halves, use_fp16=True))
    assert {p.dtype for p in found.network.parameters()} == {torch.float32}
    assert difference(original, found.network, X, LABELS) < 1e-2
    assert "weights in half precision are widened to float32" in found.notes


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"image_sise": 64}, "unknown flag 'image_sise'; did you mean 'image_size'?"),
        ({"image_size": "64"}, "image_size is a whole number above 0, got '64'"),
        ({"learn_sigma": "True"}, "learn_sigma is true or false, got 'True'"),
        ({"class_cond": True}, "model.pt lacks label_emb, and model.json says that class_cond is True"),
        ({"noise_schedule": "cosin"}, "unknown noise_schedule 'cosin'; did you mean 'cosine'?"),
        ({"diffusion_steps": 4000}, "rescale_timesteps must be given"),
        ({"image_size": 512, "channel_mult": ""}, "image_size 512 has half of num_channels"),
        ({"image_size": 48, "channel_mult": ""}, "image_size 48 needs channel_mult; without it: [32, 64, 128, 256]"),
        ({"channel_mult": "2,2,3"}, "channel_mult starts with 2"),
        ({"channel_mult": "1,2,x"}, "channel_mult is numbers between commas, got '1,2,x'"),
        ({"channel_mult": "1,2.5"}, "channel_mult is whole numbers between commas"),
        ({"attention_resolutions": "0"}, "attention_resolutions is pixels between commas, got '0'"),
        ({"num_head_channels": 48}, "num_head_channels 48 does not divide the [64, 96] channels"),
        ({"num_head_channels": -1}, "num_heads 4 at [64, 96] channels: diffusers' U-Net fixes the channels a head"),
        ({"num_head_channels": -1, "num_heads_upsample": 2}, "num_heads_upsample differs from num_heads"),
        ({"num_head_channels": -1, "channel_mult": "1,2,2", "num_heads": 5}, "num_heads 5 does not divide the 64"),
        ({"channel_mult": "1,2,2"}, "model.pt does not fit model.json: "),
        ({"num_res_blocks": 3}, "model.pt does not fit model.json: it lacks"),
        ({"attention_resolutions": "4"}, "model.pt does not fit model.json: it lacks"),
        ({"resblock_updown": True}, "model.pt does not fit model.json: it lacks"),
        ({"use_scale_shift_norm": False}, "emb_layers.1.weight is [64, 128], expected [32, 128]"),
        ({"learn_sigma": True}, "out.2.weight is [3, 32, 3, 3], expected [6, 32, 3, 3]"),
    ],
)
def test_flags_that_are_refused(original, tmp_path, flags, expected):
    spec = saved(tmp_path / "model.pt", original.state_dict(), **flags)
    with pytest.raises(UserError) as caught:
        understand(spec)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("resblock_updown", [False, True])
def test_every_tensor_is_called_in_errors_as_in_the_file(resblock_updown):
    original = GuidedUNet(resblock_updown=resblock_updown)
    flags = flags_of(FLAGS | {"resblock_updown": resblock_updown}, "")
    for name, value in original.state_dict().items():
        converted = guided_layers.converted({name: value}, flags, "")
        assert {guided_layers.theirs(flags, one) for one in converted} == {name}


def test_files_that_are_missing(original, tmp_path):
    path = tmp_path / "model.pt"
    with pytest.raises(UserError, match="there is no file"):
        understand(str(path))
    saved(path, original.state_dict())
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(UserError, match=r"model.json lacks image_size"):
        understand(str(path))
    path.with_suffix(".json").unlink()
    with pytest.raises(UserError, match=r"has no model.json, which holds the flags"):
        understand(str(path))


def test_foreign_files_are_refused(original, tmp_path):
    path, state = tmp_path / "model.pt", original.state_dict()
    with pytest.raises(UserError, match=r"it lacks input_blocks.0.0.bias, lacks .*, has unexpected conv.weight"):
        understand(saved(path, {"conv.weight": torch.zeros(3)}))
    bad = state | {"middle_block.1.qkv.weight": torch.zeros(100, 96, 1)}
    with pytest.raises(UserError, match="has 100 rows, which are not queries, keys and values"):
        understand(saved(path, bad))
