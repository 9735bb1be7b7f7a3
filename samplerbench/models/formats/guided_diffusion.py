"""Checkpoints of openai/guided-diffusion and improved-diffusion (Dhariwal & Nichol 2021; Nichol & Dhariwal 2021)."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...files import read_json
from ..preconditioning import Label, Preconditioning
from .format import Checkpoint, ModelFormat
from .guided_flags import Flags, flags_of
from .weights import dataset_of, flat_state, read_pickle, renamed, unet2d

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["GuidedDiffusion"]

TOP = {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
       "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out"}  # fmt: skip
INSIDE = {"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
          "out_layers.3": "conv2", "skip_connection": "conv_shortcut", "norm": "group_norm", "proj_out": "to_out.0",
          "qkv": "qkv", "op": "conv", "conv": "conv"}  # fmt: skip


class GuidedDiffusion(ModelFormat):
    """A `.pt` with its flags in a JSON of the same name beside it, as they were given to the authors' scripts."""

    name = "guided-diffusion"
    about = "checkpoints of openai/guided-diffusion and improved-diffusion (NAME.pt, its flags in NAME.json)"

    def recognises(self, spec: str) -> bool:
        return Path(spec).suffix == ".pt"

    def load(self, spec: str) -> Checkpoint:
        path, what = Path(spec), f"model '{spec}'"
        beside = path.with_suffix(".json")
        if path.is_file() and not beside.is_file():
            raise UserError(
                f"{what}: {path.parent} has no {beside.name}, which holds the flags that the network was trained with, "
                'such as {"image_size": 64, "num_channels": 128, "learn_sigma": true}'
            )
        state = flat_state(read_pickle(path, what), f"{what}: a checkpoint of this format")
        flags = flags_of(read_json(beside, what), f"{what}: {beside.name}")
        if "label_emb.weight" in state:
            raise UserError(f"{what} is conditioned on classes (it has label_emb), which is not read yet")
        config = _config(flags)
        converted = _converted(state, flags, what)
        network = unet2d(config, converted, f"{what}: {path.name}", beside.name, partial(_theirs, flags))
        named = re.search(r"(?<![a-z])ema(?![a-z])", path.stem.lower())
        weights = "their moving average (EMA), by the file's name" if named else (
            "those of the last step, by the file's name; ema_*.pt beside it samples far better"
            if re.fullmatch(r"model\d+", path.stem)
            else "the file does not say whether they are a moving average (EMA)"
        )  # fmt: skip
        dataset = dataset_of(path.stem, path.absolute().parent.name)
        half = any(value.is_floating_point() and value.itemsize == 2 for value in state.values())
        return Checkpoint(
            network=network,
            preconditioning=Preconditioning(
                "x0" if flags.predict_xstart else "epsilon", label=Label("index", flags.label_factor)
            ),
            schedule=_schedule(flags),
            sample_shape=network.sample_shape,
            architecture={"kind": "unet2d", **config},
            dataset=dataset,
            files=(path, beside),
            notes=(
                f"weights: {weights}",
                *(["weights in half precision are widened to float32"] if half else []),
                *([f"data set: {dataset}, by its name"] if dataset else []),
                f"its authors sample by ddpm, clipping x_0 to [-1, 1]: --samplers ddpm:variance={flags.variance}",
                *([f"timestep_respacing {flags.timestep_respacing} is the sampler's and is not taken over"]
                  if flags.timestep_respacing else []),
            ),
            learned_range=flags.learn_sigma,
        )  # fmt: skip


def _schedule(flags: Flags) -> dict[str, Any]:
    """Theirs: the linear one of 1000 steps scaled by 1000/N, or the cosine."""
    steps = flags.diffusion_steps
    if flags.noise_schedule == "cosine":
        return {"kind": "cosine", "steps": steps, "zero_terminal_snr": False}
    first, last = 1000 / steps * 1e-4, 1000 / steps * 0.02
    return {"kind": "linear", "steps": steps, "beta_first": first, "beta_last": last, "zero_terminal_snr": False}


def _config(flags: Flags) -> dict[str, Any]:
    plain = "Resnet{}sampleBlock2D" if flags.resblock_updown else "{}Block2D"
    down = ["AttnDownBlock2D" if a else plain.format("Down") for a in flags.attention]
    up = ["AttnUpBlock2D" if a else plain.format("Up") for a in reversed(flags.attention)]
    kind = "resnet" if flags.resblock_updown else "conv"
    return {
        "sample_size": flags.image_size,
        "in_channels": 3,
        "out_channels": 6 if flags.learn_sigma else 3,
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


def _converted(state: dict[str, Tensor], flags: Flags, what: str) -> dict[str, Tensor]:
    """The tensors by diffusers' names; names that mean nothing here are kept as they are, and are found out later."""
    places = _places(flags)
    converted: list[tuple[str, str, Tensor]] = []
    for name, value in state.items():
        module, _, kind = name.rpartition(".")
        new = TOP.get(module)
        if new is None:
            place, inside = next(((p, module[len(k) + 1 :]) for k, p in places.items() if module.startswith(k + ".")),
                                 ("", ""))  # fmt: skip
            new = f"{place}.{INSIDE[inside]}" if inside in INSIDE else None
        if new is None:
            converted.append((name, name, value))
        elif new.endswith(".qkv"):
            for part, piece in zip("qkv", _cut(value, flags, f"{what}: {name}"), strict=True):
                converted.append((name, f"{new[:-4]}.to_{part}.{kind}", piece))
        else:
            converted.append((name, f"{new}.{kind}", value))
    return renamed(converted, what)


def _theirs(flags: Flags, name: str) -> str:
    """A tensor of diffusers' U-Net by the name that it has in a checkpoint."""
    module, _, kind = name.rpartition(".")
    for theirs, ours in TOP.items():
        if ours == module:
            return f"{theirs}.{kind}"
    for theirs, place in _places(flags).items():
        if module.startswith(f"{place}."):
            inside = re.sub(r"^to_[qkv]$", "qkv", module.removeprefix(f"{place}."))
            if inside == "conv" and "downsamplers" in place:
                return f"{theirs}.op.{kind}"
            return f"{theirs}.{next((t for t, ours in reversed(INSIDE.items()) if ours == inside), inside)}.{kind}"
    return name


def _places(flags: Flags) -> dict[str, str]:
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
