"""diffusers' `UNet2DModel` behind this project's convention."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn

from ...errors import UserError, one_line, unknown

__all__ = ["UNet2D", "ddpm_config"]


class UNet2D(nn.Module):
    """The U-Net of diffusers without text: of Ho et al. 2020, Dhariwal & Nichol 2021 and others, by its config.

    config: arguments of `diffusers.UNet2DModel` as plain JSON; those left out have its defaults. classes: how many
    classes it can be asked for; 0 of one that is asked for nothing.

    Raises UserError where diffusers is missing, and for a config that makes no such U-Net.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.unet = _made(config)
        size = config["sample_size"]
        height, width = (size, size) if isinstance(size, int) else size
        self.sample_shape: tuple[int, int, int] = (config.get("in_channels", 3), height, width)
        self.learned_times = config.get("time_embedding_type") == "learned"
        self.classes: int = config.get("num_class_embeds") or 0

    def forward(self, x: Tensor, label: Tensor, labels: Tensor | None = None) -> Tensor:
        """x [B, C, H, W], label [B], of one with classes labels [B] -> [B, C, H, W], or [B, 2C, H, W]. A table of
        learned times takes whole labels.
        """
        if self.learned_times:
            label = label.round().long()
        output: Tensor = self.unet(x, label, class_labels=labels, return_dict=False)[0]
        return output


def ddpm_config(
    side: int, inputs: int, outputs: int, widths: Sequence[int], layers: int, attention: Sequence[int]
) -> dict[str, Any]:
    """The config of the U-Net of Ho et al. 2020, appendix B, as its authors' code and its conversions to PyTorch have
    it.

    side: of the square images; inputs, outputs: channels; widths: of each resolution, finest first; layers: residual
    blocks a resolution; attention: the resolutions with self-attention after each block, 0 the finest.
    """
    levels = range(len(widths))
    return {
        "sample_size": side,
        "in_channels": inputs,
        "out_channels": outputs,
        "block_out_channels": list(widths),
        "layers_per_block": layers,
        "down_block_types": ["AttnDownBlock2D" if i in attention else "DownBlock2D" for i in levels],
        "up_block_types": ["AttnUpBlock2D" if i in attention else "UpBlock2D" for i in reversed(levels)],
        "time_embedding_type": "positional",
        "flip_sin_to_cos": False,  # sines first
        "freq_shift": 1,  # frequencies to half - 1
        "downsample_padding": 0,  # which pads at the right and below only
        "attention_head_dim": None,  # one head
        "norm_eps": 1e-6,
        "norm_num_groups": 32,
        "act_fn": "silu",
    }


def _made(config: Mapping[str, Any]) -> nn.Module:
    try:
        from diffusers import UNet2DModel
    except ImportError:
        raise UserError("a unet2d network needs diffusers: pip install 'samplerbench[diffusers]'") from None
    known = [name for name in inspect.signature(UNet2DModel.__init__).parameters if name != "self"]
    for name in config:
        if name not in known:
            raise unknown("field of the U-Net's config", name, known)
    if (kind := config.get("class_embed_type")) is not None:
        raise UserError(f"class_embed_type of the U-Net's config is {kind!r}, expected null; others are not read")
    _check(config)
    try:
        unet: nn.Module = cast(Any, UNet2DModel)(**config)
    except (ValueError, TypeError, AttributeError, ArithmeticError, LookupError, RuntimeError) as error:
        raise UserError(f"the U-Net's config makes no UNet2DModel: {one_line(error)}") from None
    return unet


def _check(config: Mapping[str, Any]) -> None:
    """What diffusers would find out in the middle of an evaluation, or never."""
    size, widths = config.get("sample_size"), config.get("block_out_channels", (224, 448, 672, 896))
    sides: Any = [size, size] if type(size) is int else size
    if not (_whole(sides) and len(sides) == 2):
        raise UserError(f"sample_size of the U-Net's config is a whole number or two, got {size!r}")
    if not (_whole(widths) and widths):
        raise UserError(f"block_out_channels of the U-Net's config are whole numbers, got {widths!r}")
    for name, (allowed, expected) in FIELDS.items():
        if name in config and not allowed(config[name]):
            raise UserError(f"{name} of the U-Net's config is {expected}, got {config[name]!r}")
    halvings = 2 ** (len(widths) - 1)
    if any(side % halvings for side in sides):
        raise UserError(f"sample_size {size} is not divisible by {halvings}, which {len(widths)} levels need")
    for name, choices in CHOICES.items():
        if name in config and config[name] not in choices:
            raise unknown(name, config[name], choices)


def _whole(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(type(value) is int and value > 0 for value in values)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


COUNT = (lambda v: _whole([v]), "a whole number")
COUNT_OR_NULL = (lambda v: v is None or _whole([v]), "a whole number or null")
SWITCH = (lambda v: isinstance(v, bool), "true or false")
POSITIVE = (lambda v: _number(v) and v > 0, "a number above 0")
FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {  # what each may be; diffusers takes what is merely truthy
    **dict.fromkeys(("in_channels", "out_channels", "layers_per_block", "norm_num_groups"), COUNT),
    **dict.fromkeys(
        ("attention_head_dim", "attn_norm_num_groups", "time_embedding_dim", "num_train_timesteps", "num_class_embeds"),
        COUNT_OR_NULL,
    ),
    **dict.fromkeys(("flip_sin_to_cos", "center_input_sample", "add_attention"), SWITCH),
    **dict.fromkeys(("mid_block_scale_factor", "norm_eps"), POSITIVE),
    "freq_shift": (_number, "a finite number"),
    "dropout": (lambda v: _number(v) and 0 <= v <= 1, "a number from 0 to 1"),
    "downsample_padding": (lambda v: type(v) is int and v >= 0, "a whole number from 0 up"),
}
CHOICES = {
    "time_embedding_type": ("positional", "fourier", "learned"),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "downsample_type": ("conv", "resnet"),
    "upsample_type": ("conv", "resnet"),
}
