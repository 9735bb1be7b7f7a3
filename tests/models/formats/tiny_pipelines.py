"""Tiny diffusers pipelines with random weights: what `save_pretrained` writes of each kind that is read."""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..originals import filled

LETTERS = "abcdefghijklmnopqrstuvwxyz"
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
UNET = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (32, 32),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 8,
    "cross_attention_dim": 32,
    "norm_num_groups": 8,  # with 32 each channel would lose what time and conditions add to it
}


def words_of_clip(length: int = 12):
    """A tokenizer of letters."""
    from transformers import CLIPTokenizer

    ends = [f"{letter}</w>" for letter in LETTERS]
    known = ["<|startoftext|>", "<|endoftext|>", *ends, *LETTERS]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(known)}, merges=[], model_max_length=length)


def words_of_t5():
    from transformers import T5Tokenizer

    pieces = ["<pad>", "</s>", "<unk>", "▁", *LETTERS]
    return T5Tokenizer(vocab=[(word, -float(i)) for i, word in enumerate(pieces)], extra_ids=0, model_max_length=300)


def clip(pooled: bool, width: int = 32, seed: int = 0, length: int = 12) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=54, hidden_size=width, intermediate_size=40, num_attention_heads=4, num_hidden_layers=3,
        max_position_embeddings=length, projection_dim=24, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    return filled((CLIPTextModelWithProjection if pooled else CLIPTextModel)(config), seed)


def t5(width: int) -> nn.Module:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=40, d_model=width, d_kv=8, d_ff=40, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
    )  # fmt: skip
    return filled(T5EncoderModel(config))


def kl(channels: int = 4, **changes: Any) -> nn.Module:
    from diffusers import AutoencoderKL

    config = {
        "block_out_channels": (32, 32), "layers_per_block": 1, "latent_channels": channels, "norm_num_groups": 8,
        "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
        "sample_size": 16,
    }  # fmt: skip
    return calmed(filled(AutoencoderKL(**config | changes)))


def calmed(vae: nn.Module) -> nn.Module:
    """With images that mostly lie between -1 and 1, so that clamping hides no difference."""
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(0.3)
        vae.decoder.conv_out.bias.zero_()
    return vae


@cache
def pipeline(kind: str) -> Any:
    """A pipeline of a kind, its networks in evaluation mode."""
    import diffusers

    torch.manual_seed(0)
    made = {
        "ldm": _ldm, "sd1": _sd1, "grey": _grey, "sd2": _sd2, "sdxl": _sdxl, "dit": _dit, "sd3": _sd3,
        "sd3-without-t5": partial(_sd3, third=False),
    }[kind](diffusers)  # fmt: skip
    made.set_progress_bar_config(disable=True)
    return made


def _ddim(diffusers, **changes):
    return diffusers.DDIMScheduler(**{**BETAS, "clip_sample": False, **changes})


def _ldm(diffusers):
    config = {
        "sample_size": 8, "in_channels": 3, "out_channels": 3, "block_out_channels": (32, 64), "layers_per_block": 1,
        "norm_num_groups": 8, "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    vae = diffusers.VQModel(
        block_out_channels=(32, 32), layers_per_block=1, latent_channels=3, num_vq_embeddings=64,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, scaling_factor=0.7,
    )  # fmt: skip
    unet = filled(diffusers.UNet2DModel(**config))
    return diffusers.LDMPipeline(vqvae=calmed(filled(vae)), unet=unet, scheduler=_ddim(diffusers))


def _sd(diffusers, scheduler, vae=None, **changes):
    return diffusers.StableDiffusionPipeline(
        vae=vae or kl(), unet=filled(diffusers.UNet2DConditionModel(**UNET | changes)), scheduler=scheduler,
        text_encoder=clip(False), tokenizer=words_of_clip(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def _sd1(diffusers):
    return _sd(diffusers, _ddim(diffusers))


def _grey(diffusers):
    """Of images as the shipped feature extractor takes them."""
    return _sd(diffusers, _ddim(diffusers), kl(in_channels=1, out_channels=1), sample_size=14)


def _sd2(diffusers):
    scheduler = _ddim(diffusers, prediction_type="v_prediction")
    return _sd(diffusers, scheduler, use_linear_projection=True, attention_head_dim=(2, 4), upcast_attention=True)


def _sdxl(diffusers):
    unet = diffusers.UNet2DConditionModel(
        **UNET | {
            "cross_attention_dim": 48, "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 24 + 6 * 8, "transformer_layers_per_block": (1, 2),
            "use_linear_projection": True, "attention_head_dim": (2, 4),
        }
    )  # fmt: skip
    return diffusers.StableDiffusionXLPipeline(
        vae=kl(scaling_factor=0.13025), unet=filled(unet), scheduler=_ddim(diffusers), text_encoder=clip(False, 16),
        text_encoder_2=clip(True, 32, 1), tokenizer=words_of_clip(), tokenizer_2=words_of_clip(),
        add_watermarker=False,
    )  # fmt: skip


def _dit(diffusers):
    transformer = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=8, num_layers=2, sample_size=8,
        num_embeds_ada_norm=1000,
    )  # fmt: skip
    return diffusers.DiTPipeline(
        transformer=filled(transformer), vae=kl(), scheduler=_ddim(diffusers, beta_schedule="linear")
    )


def _sd3(diffusers, third=True):
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=16, out_channels=16, num_layers=2, attention_head_dim=8,
        num_attention_heads=4, joint_attention_dim=80, caption_projection_dim=32, pooled_projection_dim=48,
        pos_embed_max_size=8, qk_norm="rms_norm", dual_attention_layers=(0,),
    )  # fmt: skip
    shifting = {"shift": 3.0} if third else {"use_dynamic_shifting": True}
    return diffusers.StableDiffusion3Pipeline(
        transformer=filled(transformer), scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**shifting),
        vae=kl(16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip(True, 32), tokenizer=words_of_clip(), text_encoder_2=clip(True, 32, 1),
        tokenizer_2=words_of_clip(), text_encoder_3=t5(80) if third else None,
        tokenizer_3=words_of_t5() if third else None,
    )  # fmt: skip


def saved(kind: str, root: Path) -> Path:
    """The folder of a pipeline below `root`, written once."""
    folder = root / kind
    if not folder.exists():
        pipeline(kind).save_pretrained(folder)
        if kind == "dit":  # as in the published ones
            names = {str(i): f"thing {i}, object {i}" for i in range(1000)} | {"134": "crane", "517": "crane"}
            edited(folder, "model_index.json", id2label=names)
    return folder


def edited(folder: Path, name: str, **fields: Any) -> Path:
    """Sets fields of a JSON file; None deletes one."""
    said = {**json.loads((folder / name).read_text()), **fields}
    (folder / name).write_text(json.dumps({field: value for field, value in said.items() if value is not None}))
    return folder
