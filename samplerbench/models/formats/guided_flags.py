"""The flags of guided-diffusion's and improved-diffusion's scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import UserError, unknown

__all__ = ["Flags", "flags_of"]

DEFAULTS: dict[str, Any] = {
    "image_size": 64, "num_channels": 128, "num_res_blocks": 2, "num_heads": 4, "num_heads_upsample": -1,
    "num_head_channels": -1, "attention_resolutions": "16,8", "channel_mult": "", "dropout": 0.0, "class_cond": False,
    "use_checkpoint": False, "use_scale_shift_norm": True, "resblock_updown": False, "use_fp16": False,
    "use_new_attention_order": False, "learn_sigma": False, "sigma_small": False, "diffusion_steps": 1000,
    "noise_schedule": "linear", "timestep_respacing": "", "use_kl": False, "predict_xstart": False,
    "rescale_timesteps": False, "rescale_learned_sigmas": False, "classifier_path": "",
}  # fmt: skip
MULTIPLIERS = {  # of the channels, where channel_mult is not given
    32: (1, 2, 2, 2),
    64: (1, 2, 3, 4),
    128: (1, 1, 2, 3, 4),
    256: (1, 1, 2, 2, 4, 4),
}


@dataclass(frozen=True)
class Flags:
    """Flags that make sense together and that diffusers' U-Net can express.

    Attributes:
        image_size: pixels a side.
        multipliers: channels of each level, in units of num_channels.
        attention: whether each level has attention.
        head_width: channels a head; None where there is one head.
        label_factor: of the index of a step.
        variance: as our ddpm calls it.
        classifier_path: of the classifier that guides it, relative to the flags; empty where there is none.

    The others are named as there.
    """

    image_size: int
    num_channels: int
    class_cond: bool
    num_res_blocks: int
    multipliers: tuple[int, ...]
    attention: tuple[bool, ...]
    head_width: int | None
    use_scale_shift_norm: bool
    resblock_updown: bool
    use_new_attention_order: bool
    learn_sigma: bool
    predict_xstart: bool
    diffusion_steps: int
    noise_schedule: str
    timestep_respacing: str
    label_factor: float
    variance: str
    classifier_path: str


def flags_of(given: Mapping[str, Any], what: str) -> Flags:
    """Flags from a JSON object; those left out have guided-diffusion's defaults. what: the file, in errors.

    Raises UserError for unknown flags, bad values, and what diffusers' U-Net cannot express.
    """
    for name, value in given.items():
        if name not in DEFAULTS:
            raise UserError(f"{what}: {unknown('flag', name, DEFAULTS)}")
        _check_type(name, value, what)
    if "image_size" not in given:
        raise UserError(f"{what} lacks image_size, the pixels a side, such as 64")
    flags = DEFAULTS | dict(given)
    if flags["noise_schedule"] not in ("linear", "cosine"):
        raise UserError(f"{what}: {unknown('noise_schedule', flags['noise_schedule'], ['linear', 'cosine'])}")
    steps = flags["diffusion_steps"]
    if steps != 1000 and "rescale_timesteps" not in given:
        raise UserError(
            f"{what}: with diffusion_steps {steps} rescale_timesteps must be given: it is true by default in "
            "improved-diffusion and false in guided-diffusion"
        )
    multipliers = _multipliers(flags, what)
    attention = _attention(flags, len(multipliers), what)
    return Flags(
        image_size=flags["image_size"],
        num_channels=flags["num_channels"],
        class_cond=flags["class_cond"],
        num_res_blocks=flags["num_res_blocks"],
        multipliers=multipliers,
        attention=attention,
        head_width=_head_width(flags, multipliers, attention, what),
        use_scale_shift_norm=flags["use_scale_shift_norm"],
        resblock_updown=flags["resblock_updown"],
        use_new_attention_order=flags["use_new_attention_order"],
        learn_sigma=flags["learn_sigma"],
        predict_xstart=flags["predict_xstart"],
        diffusion_steps=steps,
        noise_schedule=flags["noise_schedule"],
        timestep_respacing=str(flags["timestep_respacing"]),
        classifier_path=flags["classifier_path"],
        label_factor=1000 / steps if flags["rescale_timesteps"] else 1.0,
        variance="learned-range" if flags["learn_sigma"] else "fixed-small" if flags["sigma_small"] else "fixed-large",
    )


def _check_type(name: str, value: Any, what: str) -> None:
    default = DEFAULTS[name]
    if isinstance(default, bool):
        good, expected = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        least = 1 if default > 0 else -1
        good, expected = type(value) is int and value >= least and value != 0, "a whole number above 0"
    elif isinstance(default, float):
        good, expected = type(value) in (int, float), "a number"
    else:
        good, expected = isinstance(value, str) or type(value) is int, f"text such as {default or '1,2,2,2'!r}"
    if not good:
        raise UserError(f"{what}: {name} is {expected}, got {value!r}")


def _numbers(name: str, text: object, what: str) -> list[float]:
    try:
        return [float(part) for part in str(text).split(",")]
    except ValueError:
        raise UserError(f"{what}: {name} is numbers between commas, got {text!r}") from None


def _multipliers(flags: Mapping[str, Any], what: str) -> tuple[int, ...]:
    size = flags["image_size"]
    if flags["channel_mult"] == "":
        if size == 512:
            raise UserError(
                f"{what}: image_size 512 has half of num_channels in its first level, and time embeddings of "
                "num_channels; diffusers' U-Net takes its embeddings from the first level"
            )
        if size not in MULTIPLIERS:
            raise UserError(f"{what}: image_size {size} needs channel_mult; without it: {[*MULTIPLIERS]}")
        return MULTIPLIERS[size]
    multipliers = _numbers("channel_mult", flags["channel_mult"], what)
    if any(m < 1 or m != int(m) for m in multipliers):
        raise UserError(f"{what}: channel_mult is whole numbers between commas, got {flags['channel_mult']!r}")
    if multipliers[0] != 1:
        raise UserError(
            f"{what}: channel_mult starts with {multipliers[0]:g}: time embeddings are of num_channels, and diffusers' "
            "U-Net takes them from its first level, so only 1 can be expressed"
        )
    return tuple(int(m) for m in multipliers)


def _attention(flags: Mapping[str, Any], levels: int, what: str) -> tuple[bool, ...]:
    """Which levels have attention: the flag names sides in pixels, each a division of image_size."""
    size, sides = flags["image_size"], _numbers("attention_resolutions", flags["attention_resolutions"], what)
    if any(side < 1 or side != int(side) for side in sides):
        raise UserError(
            f"{what}: attention_resolutions is pixels between commas, got {flags['attention_resolutions']!r}"
        )
    divisions = {size // int(side) for side in sides}
    return tuple(2**i in divisions for i in range(levels))


def _head_width(
    flags: Mapping[str, Any], multipliers: tuple[int, ...], attention: tuple[bool, ...], what: str
) -> int | None:
    widths = sorted({flags["num_channels"] * m for m, a in zip(multipliers, attention, strict=True) if a}
                    | {flags["num_channels"] * multipliers[-1]})  # fmt: skip  # the last is the middle's
    if (width := flags["num_head_channels"]) != -1:
        if any(w % width for w in widths):
            raise UserError(f"{what}: num_head_channels {width} does not divide the {widths} channels with attention")
        return int(width)
    heads = flags["num_heads"]
    if flags["num_heads_upsample"] not in (-1, heads):
        raise UserError(f"{what}: num_heads_upsample differs from num_heads; diffusers' U-Net has one of both")
    if heads == 1:
        return None
    if len(widths) > 1:
        raise UserError(
            f"{what}: num_heads {heads} at {widths} channels: diffusers' U-Net fixes the channels a head, not their "
            "number, so that only one width with attention, or num_head_channels, can be expressed"
        )
    if widths[0] % heads:
        raise UserError(f"{what}: num_heads {heads} does not divide the {widths[0]} channels with attention")
    return int(widths[0] // heads)
