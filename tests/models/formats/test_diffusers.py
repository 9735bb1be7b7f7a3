"""Folders that diffusers itself writes are understood as diffusers means them."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from samplerbench import UserError
from samplerbench.models.networks.unet2d import UNet2D
from samplerbench.models.preconditioning import Label

from ..originals import difference
from . import understand
from .conftest import signal_kept, small_unet

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")  # its own deprecations

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([7.0, 901.0])
PREDICTIONS = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v"}


class Plain(torch.nn.Module):
    """diffusers' network, called as its pipelines do."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, x, label):
        return self.unet(x, label.long()).sample


def test_the_network_is_diffusers_own(save, unet):
    folder = save(diffusers.DDPMScheduler())
    found = understand(str(folder))
    assert difference(Plain(unet), found.network, X, LABELS) == 0
    assert found.sample_shape == (3, 8, 8)
    assert found.learned_range is False
    assert [path.relative_to(folder).as_posix() for path in found.files] == [
        "unet/config.json", "scheduler/scheduler_config.json", "unet/diffusion_pytorch_model.safetensors",
    ]  # fmt: skip
    assert not found.network.training
    assert not any(module.training for module in found.network.modules())
    assert {(p.dtype, p.requires_grad, p.device.type) for p in found.network.parameters()} == {
        (torch.float32, False, "cpu")
    }


def test_the_config_rebuilds_the_network(save, unet):
    found = understand(str(save(diffusers.DDPMScheduler())))
    config = json.loads(json.dumps(found.architecture))
    assert config.pop("kind") == "unet2d"
    again = UNet2D(config)
    again.load_state_dict(found.network.state_dict(), strict=True)
    assert difference(Plain(unet), again.eval(), X, LABELS) == 0


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(
    ("kind", "beta_schedule"),
    [
        *(("DDPMScheduler", name) for name in ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace")),
        *(("DDIMScheduler", name) for name in ("linear", "scaled_linear", "squaredcos_cap_v2")),
        ("HeunDiscreteScheduler", "exp"),
    ],
)
def test_every_path_and_prediction(save, kind, beta_schedule, prediction):
    """Labels 0..N-1 have the scheduler's own ᾱ (its own is float32), and its own step reads the truth as x_0."""
    scheduler = getattr(diffusers, kind)(beta_schedule=beta_schedule, prediction_type=prediction)
    found = understand(str(save(scheduler)))
    assert found.preconditioning.prediction == PREDICTIONS[prediction]
    assert found.preconditioning.label == Label("index", 1.0)
    kept = signal_kept(found.schedule)
    assert np.allclose(kept, scheduler.alphas_cumprod.double().numpy(), rtol=2e-4, atol=1e-9)
    if kind != "HeunDiscreteScheduler":
        x0, eps, label = X.clamp(-1, 1), torch.randn(X.shape), 400
        alpha, sigma = kept[label] ** 0.5, (1 - kept[label]) ** 0.5
        truth = {"epsilon": eps, "x0": x0, "v": alpha * eps - sigma * x0}[found.preconditioning.prediction]
        scheduler.set_timesteps(1000)
        read = scheduler.step(truth, label, alpha * x0 + sigma * eps).pred_original_sample
        assert torch.allclose(read, x0, atol=1e-3)


def test_other_numbers_of_steps_and_betas(save):
    scheduler = diffusers.DDIMScheduler(250, beta_start=0.001, beta_end=0.03, beta_schedule="scaled_linear")
    kept = signal_kept(understand(str(save(scheduler))).schedule)
    assert np.allclose(kept, scheduler.alphas_cumprod, rtol=1e-4)
    betas = np.linspace(0.01, 0.2, 40).tolist()
    found = understand(str(save(diffusers.DDPMScheduler(40, trained_betas=betas))))
    assert found.schedule == {"kind": "betas", "betas": betas, "zero_terminal_snr": False}


@pytest.mark.parametrize("prediction", ["sample", "v_prediction"])
def test_zero_terminal_snr(save, prediction):
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type=prediction)
    found = understand(str(save(scheduler)))
    assert found.schedule["zero_terminal_snr"] is True
    kept = signal_kept(found.schedule)
    assert kept[-1] == 0
    assert np.allclose(kept, scheduler.alphas_cumprod, rtol=2e-3, atol=1e-7)


def test_zero_terminal_snr_contradicts_epsilon(save):
    with pytest.raises(UserError, match="rescale_betas_zero_snr contradicts prediction_type 'epsilon'"):
        understand(str(save(diffusers.DDIMScheduler(rescale_betas_zero_snr=True))))
    betas = [*np.linspace(0.01, 0.2, 39), 1.0]
    with pytest.raises(UserError, match="end at 1"):
        understand(str(save(diffusers.DDPMScheduler(40, trained_betas=betas))))


def test_flows(save):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    found = understand(str(save(scheduler)))
    assert found.preconditioning.prediction == "velocity"
    assert found.schedule == {"kind": "flow", "shift": 3.0}
    assert found.preconditioning.label.kind == "flow-time"
    scheduler.set_timesteps(20)
    assert torch.allclose(scheduler.timesteps, found.preconditioning.label.factor * scheduler.sigmas[:-1])
    x0, eps = X, torch.randn(X.shape)
    scheduler.set_timesteps(1)
    assert float(scheduler.sigmas[0]) == 1
    assert torch.allclose(scheduler.step(eps - x0, scheduler.timesteps[0], eps).prev_sample, x0, atol=1e-6)
    multistep = diffusers.UniPCMultistepScheduler(
        use_flow_sigmas=True, flow_shift=2.0, prediction_type="flow_prediction"
    )
    assert understand(str(save(multistep))).schedule == {"kind": "flow", "shift": 2.0}


def test_edm(save):
    scheduler = diffusers.EDMEulerScheduler(sigma_max=50.0)
    found = understand(str(save(scheduler)))
    assert found.preconditioning.prediction == "edm"
    assert found.schedule == {"kind": "edm", "sigma_min": 0.002, "sigma_max": 50.0}
    assert found.preconditioning.label.kind == "log-sigma"
    scheduler.set_timesteps(10)
    assert torch.allclose(scheduler.timesteps, found.preconditioning.label.factor * scheduler.sigmas[:-1].log())


def test_prediction_that_is_not_named(save):
    found = understand(str(save(diffusers.DDPMScheduler(), prediction_type=None)))
    assert found.preconditioning.prediction == "epsilon"
    assert "prediction: epsilon, as older configs mean it that do not name it" in found.notes
    found = understand(str(save(diffusers.DDPMScheduler(), prediction_type=None, predict_epsilon=False)))
    assert found.preconditioning.prediction == "x0"


def test_the_authors_sampler_is_noted(save):
    scheduler = diffusers.DDIMScheduler(set_alpha_to_one=False, timestep_spacing="trailing")
    notes = " | ".join(understand(str(save(scheduler))).notes)
    for part in (
        "DDIMScheduler",
        "set_alpha_to_one=false",
        "clip_sample=true",
        "--samplers ddim:spacing=trailing:clip=x0, without their set_alpha_to_one=false",
    ):
        assert part in notes
    scheduler = diffusers.DDPMScheduler(variance_type="fixed_large")
    assert 'variance_type="fixed_large"' in " ".join(understand(str(save(scheduler))).notes)


@pytest.mark.parametrize(
    ("scheduler", "fields", "note"),
    [
        (
            "DDPMScheduler",
            {"shift": 3.0, "sigma_min": 0.1, "use_dynamic_shifting": True, "invert_sigmas": True},
            "a chain of β has none: shift=3.0, use_dynamic_shifting=true, invert_sigmas=true, sigma_min=0.1",
        ),
        ("DPMSolverMultistepScheduler", {"flow_shift": 2.0}, "a chain of β has none: flow_shift=2.0"),
        ("EDMEulerScheduler", {"beta_start": 0.1}, "a path of σ has none: beta_start=0.1"),
        ("FlowMatchEulerDiscreteScheduler", {"flow_shift": 3}, "a flow has none: flow_shift=3"),
        ("UniPCMultistepScheduler", {}, None),
        ("EulerDiscreteScheduler", {}, None),
        ("EDMEulerScheduler", {}, None),
    ],
)
def test_fields_of_another_path_are_noted(save, scheduler, fields, note):
    found = understand(str(save(getattr(diffusers, scheduler)(), **fields)))
    assert [n for n in found.notes if n.startswith("not heeded")] == ([f"not heeded, as {note}"] if note else [])


def test_the_index_may_name_the_scheduler_alone(save):
    """Its class then decides the betas that are not written: Heun's go from 0.00085 to 0.012."""
    left_out = {name: None for name in ("_class_name", "beta_start", "beta_end")}
    for kind, ends in {"HeunDiscreteScheduler": (0.00085, 0.012), "DDIMScheduler": (1e-4, 0.02)}.items():
        schedule = understand(str(save(getattr(diffusers, kind)(), **left_out))).schedule
        assert (schedule["beta_first"], schedule["beta_last"]) == ends


def test_learned_range(save):
    network = small_unet(out_channels=6)
    found = understand(str(save(diffusers.DDPMScheduler(variance_type="learned_range"), network)))
    assert found.learned_range is True
    assert found.network(X, LABELS).shape == (2, 6, 8, 8)
    with pytest.raises(UserError, match=r"out_channels 6 contradicts in_channels 3 .* expected 3"):
        understand(str(save(diffusers.DDIMScheduler(), network)))
    with pytest.raises(UserError, match="variance_type is 'learned'"):
        understand(str(save(diffusers.DDPMScheduler(variance_type="learned"), network)))


def test_a_table_of_times_takes_whole_labels(save):
    network = small_unet(time_embedding_type="learned", num_train_timesteps=1000)
    found = understand(str(save(diffusers.DDPMScheduler(), network)))
    assert found.preconditioning.label.between == "round"
    assert difference(Plain(network), found.network, X, LABELS) == 0
    with pytest.raises(UserError, match="1000 learned times contradicts the scheduler's 500 steps"):
        understand(str(save(diffusers.DDPMScheduler(500), network)))


def test_all_files_in_one_folder(save, unet, tmp_path):
    """As in older repositories on the hub."""
    folder = save(diffusers.DDPMScheduler())
    for part in ("unet", "scheduler"):
        for file in (folder / part).iterdir():
            file.rename(folder / file.name)
        (folder / part).rmdir()
    assert difference(Plain(unet), understand(str(folder)).network, X, LABELS) == 0


def test_old_names_in_attention_and_bin(save, unet):
    """Files from before diffusers 0.12, by weights_only."""
    folder = save(diffusers.DDPMScheduler())
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, value in load_file(path).items():
        for new, former in old.items():
            name = name.replace(f".{new}.", f".{former}.")
        state[name] = value
    assert any("proj_attn" in name for name in state)
    torch.save(state, folder / "unet" / "diffusion_pytorch_model.bin")
    path.unlink()
    assert difference(Plain(unet), understand(str(folder)).network, X, LABELS) == 0


def test_half_precision_is_widened(save, unet):
    folder = save(diffusers.DDPMScheduler(), small_unet().half())
    found = understand(str(folder))
    assert {p.dtype for p in found.network.parameters()} == {torch.float32}
    assert difference(Plain(unet), found.network, X, LABELS) < 1e-2
    assert "weights in float16 are widened to float32" in found.notes


def test_averaged_weights_of_a_training_are_taken(save, unet, tmp_path):
    from diffusers.training_utils import EMAModel

    folder = save(diffusers.DDPMScheduler(), small_unet().requires_grad_(True))
    (folder / "model_index.json").unlink()
    EMAModel(unet.parameters(), model_cls=diffusers.UNet2DModel, model_config=unet.config).save_pretrained(
        folder / "unet_ema"
    )
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: value * 2 for name, value in load_file(weights).items()}, weights)
    found = understand(str(folder))
    assert "weights: their moving average (EMA), of unet_ema" in found.notes
    assert difference(Plain(unet), found.network, X, LABELS) == 0


@pytest.mark.parametrize(
    ("folder", "dataset"),
    [
        ("ddpm-ema-cifar10-32", "cifar10"),
        ("ddpm-church-256", "lsun-church"),
        ("location", None),
        ("cifar100", None),
        ("lsun-church256", "lsun-church"),
        ("cats", "lsun-cat"),
    ],
)
def test_the_data_set_is_told_by_name(save, tmp_path, folder, dataset):
    found = understand(str(save(diffusers.DDPMScheduler(), folder=tmp_path / folder)))
    assert found.dataset == dataset
    assert any("(EMA), by its name" in note for note in found.notes) == ("ema" in folder)
