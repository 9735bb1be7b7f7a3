"""What is wrong with a diffusers folder is said in one line."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from samplerbench import UserError

from . import understand
from .conftest import small_unet

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")  # its own deprecations


def refused(spec, expected):
    with pytest.raises(UserError) as caught:
        understand(str(spec))
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert str(spec) in message


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prediction_type": "v-prediction"}, "unknown prediction_type 'v-prediction'; did you mean 'v_prediction'?"),
        ({"beta_schedule": "scaled-linear"}, "unknown beta_schedule 'scaled-linear'; did you mean 'scaled_linear'?"),
        ({"beta_schedul": "linear"}, "unknown field 'beta_schedul'; did you mean 'beta_schedule'?"),
        ({"_class_name": "DDPMSheduler"}, "model_index.json names DDPMScheduler, scheduler_config.json is of DDPMShed"),
        ({"prediction_type": "flow_prediction"}, "'flow_prediction' contradicts use_flow_sigmas False"),
        ({"use_flow_sigmas": True}, "'epsilon' contradicts use_flow_sigmas True"),
        ({"predict_epsilon": False}, "predict_epsilon False contradicts prediction_type 'epsilon'"),
        ({"num_train_timesteps": 0}, "num_train_timesteps is a whole number from 1 to 1000000, got 0"),
        ({"num_train_timesteps": "1000"}, "num_train_timesteps is a whole number from 1 to 1000000, got '1000'"),
        ({"beta_start": "0.1"}, "beta_start is a finite number, got '0.1'"),
        ({"beta_end": 2.0}, "betas lie in (0, 1) and do not fall, got beta_start 0.0001 and beta_end 2"),
        ({"trained_betas": [0.1, 0.2]}, "2 trained_betas contradict num_train_timesteps 1000"),
        ({"trained_betas": [0.1, 1.5], "num_train_timesteps": 2}, "at most at 1, got 1.5"),
        ({"trained_betas": 0.1}, "trained_betas is a list"),
        ({"variance_type": "learnt"}, "unknown variance_type 'learnt'; did you mean 'learned'?"),
        ({"rescale_betas_zero_snr": "yes"}, "rescale_betas_zero_snr is true or false, got 'yes'"),
        ({"timestep_type": "continuous"}, "timestep_type is 'continuous'; only 'discrete' is read"),
    ],
)
def test_scheduler_configs(save, fields, expected):
    refused(save(diffusers.DDPMScheduler(), **fields), expected)


@pytest.mark.parametrize(
    ("scheduler", "fields", "expected"),
    [
        ("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}, "use_dynamic_shifting is not read"),
        ("FlowMatchEulerDiscreteScheduler", {"invert_sigmas": True}, "invert_sigmas is not read"),
        ("FlowMatchEulerDiscreteScheduler", {"prediction_type": "epsilon"}, "'epsilon' contradicts FlowMatchEuler"),
        ("FlowMatchEulerDiscreteScheduler", {"shift": 0}, "shift is above 0, got 0"),
        ("EDMEulerScheduler", {"sigma_data": 1.0}, "sigma_data is 1; only EDM's 0.5 is read"),
        ("EDMEulerScheduler", {"prediction_type": "v_prediction"}, "only 'epsilon'"),
        ("EDMEulerScheduler", {"sigma_min": 90}, "sigma_min lies between 0 and sigma_max, got 90 and 80"),
        ("ScoreSdeVeScheduler", {}, "unknown scheduler 'ScoreSdeVeScheduler'"),
        ("LCMScheduler", {}, "unknown scheduler 'LCMScheduler'"),
    ],
)
def test_other_schedulers(save, scheduler, fields, expected):
    refused(save(getattr(diffusers, scheduler)(), **fields), expected)


def edited(folder, name, **fields):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"_class_name": "UNet2DConditionModel"}, "only an unconditional UNet2DModel"),
        (
            {"blocks_out_channels": [32]},
            "unknown field of the U-Net's config 'blocks_out_channels'; did you mean",
        ),
        ({"num_class_embeds": 10}, "does not fit config.json: it lacks class_embedding.weight"),
        ({"class_embed_type": "timestep"}, "class_embed_type of the U-Net's config is 'timestep', expected null"),
        (
            {"down_block_types": ["DownBlock", "DownBlock2D"]},
            "config makes no UNet2DModel: ValueError: DownB",
        ),
        ({"down_block_types": ["DownBlock2D"]}, "makes no UNet2DModel"),
        ({"sample_size": None}, "sample_size of the U-Net's config is a whole number or two, got None"),
        ({"sample_size": 9}, "sample_size 9 is not divisible by 2"),
        ({"in_channels": "3"}, "in_channels of the U-Net's config is a whole number, got '3'"),
        ({"block_out_channels": [32, 0]}, "block_out_channels of the U-Net's config are whole numbers"),
        ({"attention_head_dim": 0}, "attention_head_dim of the U-Net's config is a whole number or null, got 0"),
        ({"flip_sin_to_cos": "no"}, "flip_sin_to_cos of the U-Net's config is true or false, got 'no'"),
        ({"mid_block_scale_factor": 0}, "mid_block_scale_factor of the U-Net's config is a number above 0, got 0"),
        ({"freq_shift": "1"}, "freq_shift of the U-Net's config is a finite number, got '1'"),
        ({"downsample_padding": True}, "downsample_padding of the U-Net's config is a whole number from 0 up"),
        ({"resnet_time_scale_shift": "scale-shift"}, "'scale-shift'; did you mean 'scale_shift'?"),
        ({"time_embedding_type": "fourier"}, "does not fit config.json"),
        ({"time_embedding_type": "sines"}, "unknown time_embedding_type 'sines'"),
        ({"block_out_channels": [32, 96]}, "diffusion_pytorch_model.safetensors does not fit config.json: "),
        ({"layers_per_block": 2}, "does not fit config.json: it lacks down_blocks.0.resnets.1.conv1.bias, lacks"),
    ],
)
def test_network_configs(save, fields, expected):
    refused(edited(save(diffusers.DDPMScheduler()), "unet/config.json", **fields), expected)


def test_networks_of_sigma(save):
    refused(save(diffusers.DDPMScheduler(), small_unet(time_embedding_type="fourier")), "'fourier' is of networks of σ")


def test_missing_files(save, tmp_path):
    folder = save(diffusers.DDPMScheduler())
    for name, expected in {
        "scheduler/scheduler_config.json": "has no scheduler/scheduler_config.json",
        "unet/config.json": "has no config.json of a UNet2DModel",
        "unet/diffusion_pytorch_model.safetensors": "has neither diffusion_pytorch_model.safetensors nor",
    }.items():
        broken = shutil.copytree(folder, tmp_path / "broken")
        (broken / name).unlink()
        refused(broken, expected)
        shutil.rmtree(broken)
    refused(folder / "unet", "has no scheduler/scheduler_config.json")


def test_pipelines_of_latents(save):
    folder = edited(save(diffusers.DDPMScheduler()), "model_index.json", vqvae=["diffusers", "VQModel"])
    refused(folder, "has a part 'vqvae'; only a unet of images and a scheduler are read")
    folder = edited(save(diffusers.DDPMScheduler()), "model_index.json", unet=["diffusers", "UNet1DModel"])
    refused(folder, "its network is diffusers.UNet1DModel; only an unconditional UNet2DModel")


@pytest.mark.parametrize("entry", ["x", 3, [], ["diffusers"], [None, None], ["diffusers", 3], {}])
@pytest.mark.parametrize("part", ["unet", "scheduler"])
def test_an_index_that_names_no_class(save, part, entry):
    folder = edited(save(diffusers.DDPMScheduler()), "model_index.json", **{part: entry})
    refused(folder, f"model_index.json names library and class of its {part}, got {entry!r}")


def test_a_layer_by_two_names(save):
    path = (folder := save(diffusers.DDPMScheduler())) / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    new = next(name for name in state if name.endswith("to_q.weight"))
    old = new.replace("to_q", "query")
    save_file(state | {old: 2 * state[new]}, path)
    refused(folder, f"has both {old} and {new}, which are the same layer")


def test_weights(save):
    path = (folder := save(diffusers.DDPMScheduler())) / "unet" / "diffusion_pytorch_model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    refused(folder, "is truncated or not safetensors")
    path.write_bytes(whole)
    state = load_file(path)
    save_file(state | {"conv_in.bias": state["conv_in.bias"].long()}, path)
    refused(folder, "conv_in.bias is torch.int64, expected torch.float32")
    save_file(state | {"conv_in.bias": state["conv_in.bias"] + torch.inf}, path)
    refused(folder, "conv_in.bias has values that are not finite")
    path.rename(path.with_suffix(".fp16.safetensors"))
    refused(folder, "it has diffusion_pytorch_model.fp16.safetensors")


def test_without_diffusers(save, monkeypatch):
    import sys

    folder = save(diffusers.DDPMScheduler())
    monkeypatch.setitem(sys.modules, "diffusers", None)
    refused(folder, "needs diffusers: pip install 'samplerbench[diffusers]'")
