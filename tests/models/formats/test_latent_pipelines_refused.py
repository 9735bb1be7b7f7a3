"""Pipelines' folders that are left out in part, refused, or odd: a line each."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import samplerbench
from samplerbench import UserError, load_model
from samplerbench.drawing import BadSample
from samplerbench.errors import Shortened

from . import understand
from .tiny_pipelines import edited, kl, words_of_clip

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # diffusers' and transformers' own deprecations
    pytest.mark.filterwarnings("always::samplerbench.errors.Shortened"),
]


def refused(folder, expected):
    with pytest.raises(UserError) as caught:
        understand(str(folder))
    message = str(caught.value)
    assert message.startswith(f"model '{folder}'")
    assert expected in message.replace(str(folder), "FOLDER")
    assert "\n" not in message


def test_a_safety_checker_is_left_out(own_pipeline):
    folder = edited(
        own_pipeline("sd1"),
        "model_index.json",
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
        feature_extractor=["transformers", "CLIPImageProcessor"],
    )
    notes = understand(str(folder)).notes
    assert "safety_checker (StableDiffusionSafetyChecker) is left out: images are as the decoder gives them" in notes
    assert "feature_extractor (CLIPImageProcessor) is left out: only images need it" in notes


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"image_encoder": ["transformers", "CLIPVisionModelWithProjection"]},
            "has image_encoder (CLIPVisionModelWithProjection), of an IP adapter, which is not read; save it without",
        ),
        ({"controlnet": ["diffusers", "ControlNetModel"]}, "has controlnet (ControlNetModel), of ControlNet, which is"),
        ({"refiner": ["mine", "Refiner"]}, "its pipeline has refiner (Refiner), which is not read; save it without"),
        ({"vae": ["diffusers", "AutoencoderTiny"]}, "its vae is a AutoencoderTiny, expected AutoencoderKL; others"),
        ({"unet": ["mine", "MyUNet"]}, "its unet is a MyUNet, expected UNet2DConditionModel; others are not read"),
        ({"tokenizer": None}, "model_index.json names no tokenizer"),
        ({"scheduler": ["diffusers"]}, "names library and class of its scheduler, got ['diffusers']"),
        ({"text_encoder": [None, None]}, "model_index.json names no text_encoder"),
        (
            {"_class_name": "StableDiffusionControlNetPipeline", "controlnet": ["diffusers", "ControlNetModel"]},
            "its pipeline StableDiffusionControlNetPipeline has controlnet, of ControlNet, which is not read",
        ),
        (
            {"_class_name": "StableDiffusionInpaintPipeline"},
            "its pipeline StableDiffusionInpaintPipeline is not read; read are LDMPipeline, ",
        ),
        ({"_class_name": "FluxPipeline", "unet": None}, "its pipeline FluxPipeline is not read; read are "),
        ({"_class_name": None}, "its pipeline without a name is not read"),
    ],
)
def test_parts_that_are_not_read(own_pipeline, fields, expected):
    refused(edited(own_pipeline("sd1"), "model_index.json", **fields), expected)


@pytest.mark.parametrize("place", ["", "unet/"])
def test_weights_that_are_laid_over_others(own_pipeline, place):
    folder = own_pipeline("sd1")
    (folder / f"{place}pytorch_lora_weights.safetensors").write_bytes(b"")
    refused(folder, f"{place}pytorch_lora_weights.safetensors is of LoRA, which is not read; fuse it into the weights")


@pytest.mark.parametrize(
    ("kind", "file", "fields", "expected"),
    [
        ("sd1", "unet", {"time_cond_proj_dim": 8}, "time_cond_proj_dim is 8, expected null; such networks are not"),
        ("sd1", "unet", {"encoder_hid_dim_type": "ip_image_proj"}, 'encoder_hid_dim_type is "ip_image_proj", expected'),
        ("sd1", "unet", {"addition_embed_type": "text_time"}, 'addition_embed_type is "text_time", expected null'),
        ("sdxl", "unet", {"addition_embed_type": None}, 'addition_embed_type is null, expected "text_time"'),
        (
            "sd1",
            "unet",
            {"crossattention_dim": 8},
            "unknown field 'crossattention_dim'; did you mean 'cross_attention_",
        ),
        ("sd1", "unet", {"sample_size": None}, "sample_size, the side of its latents, is a whole number, got"),
        ("sd1", "unet", {"sample_size": 9}, "unet/config.json: sample_size 9 is not divisible by 2"),
        ("sd1", "unet", {"down_block_types": ["Down", "Down"]}, "unet/config.json makes no UNet2DConditionModel: "),
        ("sd1", "unet", {"layers_per_block": 2}, "does not fit its config.json: it lacks down_blocks.0.resnets.1"),
        ("sd1", "unet", {"_class_name": "UNet3DConditionModel"}, "unet is a UNet3DConditionModel; only UNet2DCondit"),
        ("sd1", "vae", {"scaling_factor": 0}, "vae/config.json: scaling_factor is a number above 0, got 0"),
        ("sd1", "vae", {"shift_factor": "x"}, "shift_factor is a number or null, got 'x'"),
        ("sd1", "vae", {"latents_mean": [0, 0], "latents_std": [1, 1]}, "latents_mean is a number for each of 4"),
        ("dit", "transformer", {"num_vector_embeds": 8}, "num_vector_embeds is 8, which a DiT does not have"),
        ("dit", "transformer", {"sample_size": 7}, "transformer/config.json: sample_size 7 is not divisible by 2"),
        ("sd3", "transformer", {"pos_embed_max_size": 4}, "pos_embed.pos_embed is [1, 64, 32], expected [1, 16, 32]"),
    ],
)
def test_configs_that_are_not_read(own_pipeline, kind, file, fields, expected):
    folder = own_pipeline(kind)
    path = folder / file / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    refused(folder, expected)


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("sd3", {"use_dynamic_shifting": True, "time_shift_type": "cosine"}, "unknown time_shift_type 'cosine'"),
        (
            "sd3",
            {"use_dynamic_shifting": True, "max_image_seq_len": 9},
            "lies between 0 and max_image_seq_len, got 256",
        ),
        ("sd3", {"use_dynamic_shifting": True, "base_shift": 50}, "the shift of 16 patches is above 0, got"),
        ("sd1", {"variance_type": "learned_range"}, "learned_range contradicts out_channels 4, expected 8"),
    ],
)
def test_schedulers_that_do_not_fit(own_pipeline, kind, fields, expected):
    refused(edited(own_pipeline(kind), "scheduler/scheduler_config.json", **fields), expected)


def test_a_vae_whose_latents_do_not_fit(own_pipeline):
    folder = own_pipeline("sd1")
    shutil.rmtree(folder / "vae")
    kl(16).save_pretrained(folder / "vae")
    refused(folder, "its vae has latents of 16 channels, and its network takes 4")


def test_text_that_does_not_fit(own_pipeline, saved_pipeline):
    folder = own_pipeline("sd1")
    words_of_clip(20).save_pretrained(folder / "tokenizer")
    refused(folder, "tokenizer makes 20 tokens, and text_encoder takes 12")
    shutil.rmtree(folder / "tokenizer")
    refused(folder, "FOLDER has no tokenizer")
    shutil.copytree(saved_pipeline("sd1") / "tokenizer", folder / "tokenizer")
    shutil.rmtree(folder / "text_encoder")
    shutil.copytree(saved_pipeline("sdxl") / "text_encoder", folder / "text_encoder")  # of width 16
    refused(folder, "its text encoders give 16 numbers a token, and its network takes 32")
    (folder / "text_encoder" / "model.safetensors").unlink()
    refused(folder, "FOLDER/text_encoder has neither model.safetensors nor model.bin")


def test_an_encoder_whose_weights_do_not_fit(own_pipeline):
    folder = own_pipeline("sd1")
    path = folder / "text_encoder" / "model.safetensors"
    state = load_file(path)
    name = next(name for name in state if name.endswith("final_layer_norm.weight"))
    save_file({n: v for n, v in state.items() if n != name}, path, {"format": "pt"})
    refused(folder, "weights of text_encoder do not fit its config.json: it lacks ")
    save_file(state | {"lora.up.weight": torch.zeros(1)}, path, {"format": "pt"})
    refused(folder, "weights of text_encoder do not fit its config.json: it has unexpected lora.up.weight")
    save_file(state | {name: state[name] * torch.nan}, path, {"format": "pt"})
    refused(folder, f"text_encoder: {name.removeprefix('text_model.')} has values that are not finite")


def test_prompts_that_are_cut(saved_pipeline, tmp_path):
    """Said by what draws; and the image is that of what is left."""
    model = load_model(str(saved_pipeline("sd1")))
    long, short = "a red cab in a fog", "a red cabin a fog"  # letters are tokens, twelve in all
    with pytest.warns(Shortened, match="2 of 2 prompts are longer than the 12 tokens that tokenizer takes; what"):
        cut = samplerbench.sample("ddim", model, samples=2, steps=2, prompts=[long, f"{long} {short}"])
    assert model.conditioner.told(["a red cab"]) == ""
    one, other = model.conditioner.rows([long, f"{long} {short}"])["text"]
    assert torch.equal(one, other)
    assert cut.x0.isfinite().all()
    with pytest.raises(UserError, match="has no prompts of its own; name them: --prompts FILE"):
        samplerbench.sample("ddim", model, samples=1, steps=2)


def test_classes_out_of_range(own_pipeline):
    folder = own_pipeline("dit")
    model = load_model(str(folder))
    for line in ("1000", "-1", "hat", "crane"):
        with pytest.raises(UserError, match=f"class '{line}' is not among this model's: a number from 0 to 999 or one"):
            samplerbench.sample("ddim", model, samples=1, steps=2, prompts=line)
    assert model.conditioner.default == tuple(map(str, range(1000)))
    refused(edited(folder, "model_index.json", id2label={"0": "a"}), "id2label in model_index.json names 1000 classes")


def test_negative_prompts_that_cannot_be(saved_pipeline, monkeypatch):
    dit, ldm = (load_model(str(saved_pipeline(kind))) for kind in ("dit", "ldm"))
    with pytest.raises(UserError, match="class '1000' is not among this model's"):
        samplerbench.sample("ddim", dit, samples=1, steps=2, prompts="3", guidance="cfg:scale=2:negative=1000")
    with pytest.raises(UserError, match="is asked for nothing, so there is nothing to lean away from"):
        samplerbench.sample("ddim", ldm, samples=1, steps=2, guidance="cfg:scale=2:negative=bees")
    monkeypatch.setattr(dit.conditioner, "nothing", None)  # a negative class does without
    away = samplerbench.sample("ddim", dit, samples=1, steps=2, prompts="3", guidance="cfg:scale=2:negative=4")
    assert away.passes == 4


def test_guidance_of_latents_that_are_asked_for_nothing(saved_pipeline):
    model = load_model(str(saved_pipeline("ldm")))
    with pytest.raises(UserError, match="model 'ldm' is asked for nothing, so there is nothing to lean away from"):
        samplerbench.sample("ddim", model, samples=1, steps=2, guidance=2)


@pytest.mark.parametrize("upcast", [True, False])
def test_a_decoder_that_overflows_in_float16(own_pipeline, upcast):
    """Where its config asks for float32 it decodes in that; otherwise it is said that there are no numbers."""
    folder = edited(own_pipeline("sd1"), "vae/config.json", force_upcast=upcast)
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    name = "decoder.mid_block.resnets.0.conv2.weight"
    save_file(state | {name: 1e5 * state[name]}, path)
    model, z = load_model(str(folder)), torch.randn(2, 4, 8, 8)
    images = model.decode(z)
    model.checkpoint.decoder.module.half()
    if upcast:
        torch.testing.assert_close(model.decode(z), images, rtol=0, atol=0.1)  # its weights were rounded
        assert "decoded in float32, as its config asks (force_upcast)" in model.checkpoint.notes
    else:
        with pytest.raises(BadSample, match="the decoder gives NaN or infinite values in 2 of 2 images"):
            model.decode(z)
    with pytest.raises(UserError, match=r"takes latents \[B, 4, 8, 8\], got \[2, 4, 4, 4\]"):
        model.decode(torch.zeros(2, 4, 4, 4))


@pytest.mark.parametrize("library", ["diffusers", "transformers"])
def test_without_a_library(saved_pipeline, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    refused(saved_pipeline("sd1"), f"needs {library}: pip install 'samplerbench[diffusers]'")
