"""The layers of guided-diffusion's and improved-diffusion's networks as those of diffusers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from .guided_flags import Flags
from .weights import renamed

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["config_of", "converted", "theirs"]

TOP = {"label_emb": "class_embedding", "time_embed.0": "time_embedding.linear_1",
       "time_embed.2": "time_embedding.linear_2", "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out",
       "out.2": "conv_out"}  # fmt: skip
INSIDE = {"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
          "out_layers.3": "conv2", "skip_connection": "conv_shortcut", "norm": "group_norm", "proj_out": "to_out.0",
          "qkv": "qkv", "op": "conv", "conv": "conv"}  # fmt: skip


def config_of(flags: Flags, classes: int = 0) -> dict[str, Any]:
    """The config of diffusers' U-Net for these flags. classes: how many it can be asked for."""
    plain = "Resnet{}sampleBlock2D" if flags.resblock_updown else "{}Block2D"
    down = ["AttnDownBlock2D" if a else plain.format("Down") for a in flags.attention]
    up = ["AttnUpBlock2D" if a else plain.format("Up") for a in reversed(flags.attention)]
    kind = "resnet" if flags.resblock_updown else "conv"
    return {
        "sample_size": flags.image_size,
        "in_channels": 3,
        "out_channels": 6 if flags.learn_sigma else 3,
        **({"num_class_embeds": classes} if classes else {}),
        "block_out_channels": [flags.num_channels * m for m in flags.multipliers],
        "layers_per_block": flags.num_res_blocks,
        "down_block_types": down,
        "up_block_types": up,
        "downsample_type": kind,
        "upsample_type": kind,
        "downsample_padding": 1,
        "resnet_time_scale_shift": "scale_shift" if flags.use_scale_shift_norm else "default",
        "attention_head_dim": flags.head_width,
        "attn_norm_num_groups": 32,  # without it scale_shift takes the norm from the attention in the middle
        "norm_num_groups": 32,
        "norm_eps": 1e-5,
        "time_embedding_type": "positional",
        "flip_sin_to_cos": True,  # cosines first
        "freq_shift": 0,
        "act_fn": "silu",
    }


def converted(state: dict[str, Tensor], flags: Flags, what: str) -> dict[str, Tensor]:
    """The tensors by diffusers' names; names that mean nothing here are kept as they are, and are found out later."""
    places = places_of(flags)
    found: list[tuple[str, str, Tensor]] = []
    for name, value in state.items():
        module, _, kind = name.rpartition(".")
        new = TOP.get(module)
        if new is None:
            place, inside = next(((p, module[len(k) + 1 :]) for k, p in places.items() if module.startswith(k + ".")),
                                 ("", ""))  # fmt: skip
            new = f"{place}.{INSIDE[inside]}" if inside in INSIDE else None
        if new is None:
            found.append((name, name, value))
        elif new.endswith(".qkv"):
            for part, piece in zip("qkv", _cut(value, flags, f"{what}: {name}"), strict=True):
                found.append((name, f"{new[:-4]}.to_{part}.{kind}", piece))
        else:
            found.append((name, f"{new}.{kind}", value))
    return renamed(found, what)


def theirs(flags: Flags, name: str) -> str:
    """A tensor of diffusers' U-Net by the name that it has in a checkpoint."""
    module, _, kind = name.rpartition(".")
    for name_there, ours in TOP.items():
        if ours == module:
            return f"{name_there}.{kind}"
    for name_there, place in places_of(flags).items():
        if module.startswith(f"{place}."):
            inside = re.sub(r"^to_[qkv]$", "qkv", module.removeprefix(f"{place}."))
            if inside == "conv" and "downsamplers" in place:
                return f"{name_there}.op.{kind}"
            return f"{name_there}.{next((t for t, ours in reversed(INSIDE.items()) if ours == inside), inside)}.{kind}"
    return name


def places_of(flags: Flags) -> dict[str, str]:
    """Where each module of each numbered block is in diffusers' U-Net."""
    places = {"middle_block.0": "mid_block.resnets.0", "middle_block.1": "mid_block.attentions.0",
              "middle_block.2": "mid_block.resnets.1"}  # fmt: skip
    levels, k = len(flags.multipliers), 1
    for i, attention in enumerate(flags.attention):
        for j in range(flags.num_res_blocks):
            places[f"input_blocks.{k}.0"] = f"down_blocks.{i}.resnets.{j}"
            if attention:
                places[f"input_blocks.{k}.1"] = f"down_blocks.{i}.attentions.{j}"
            k += 1
        if i + 1 < levels:  # a block of its own
            places[f"input_blocks.{k}.0"] = f"down_blocks.{i}.downsamplers.0"
            k += 1
    k = 0
    for i, attention in enumerate(reversed(flags.attention)):
        for j in range(flags.num_res_blocks + 1):
            places[f"output_blocks.{k}.0"] = f"up_blocks.{i}.resnets.{j}"
            if attention:
                places[f"output_blocks.{k}.1"] = f"up_blocks.{i}.attentions.{j}"
            if i + 1 < levels and j == flags.num_res_blocks:  # behind the level's last block
                places[f"output_blocks.{k}.{1 + attention}"] = f"up_blocks.{i}.upsamplers.0"
            k += 1
    return places


def _cut(value: Tensor, flags: Flags, what: str) -> tuple[Tensor, ...]:
    """Queries, keys and values. The old order is (head, q|k|v, channel), the new one (q|k|v, head, channel)."""
    rows = len(value)
    if rows % 3 or (rows // 3) % (width := flags.head_width or rows // 3):
        raise UserError(f"{what} has {rows} rows, which are not queries, keys and values of {flags.head_width} a head")
    if flags.use_new_attention_order:
        return value.chunk(3)
    apart = value.reshape(rows // 3 // width, 3, width, *value.shape[1:]).transpose(0, 1)
    return tuple(apart.flatten(1, 2))
