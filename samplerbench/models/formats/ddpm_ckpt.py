"""Checkpoints of Ho et al. 2020 in PyTorch: of pesser/pytorch_diffusion and of ermongroup/ddim."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ..preconditioning import Label, Preconditioning
from .format import Checkpoint, ModelFormat
from .weights import dataset_of, flat_state, read_pickle, renamed, unet2d

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..networks.unet2d import UNet2D

__all__ = ["DDPMCheckpoint"]

SIZES = {  # multipliers of the channels, level with attention (at 16 pixels): side of the images
    ((1, 2, 2, 2), 1): 32,
    ((1, 1, 2, 2, 4, 4), 4): 256,
    ((1, 2, 2, 2, 4), 2): 64,
}
PUBLISHED = {  # MD5 of pytorch_diffusion's files (its ckpt_util.py): data set, whether weights are averaged
    "82ed3067fd1002f5cf4c339fb80c4669": ("cifar10", False),
    "1fa350b952534ae442b1d5235cce5cd3": ("cifar10", True),
    "f70280ac0e08b8e696f42cb8e948ff1c": ("lsun-bedroom", False),
    "1921fa46b66a3665e450e42f36c2720f": ("lsun-bedroom", True),
    "bbee0e7c3d7abfb6e2539eaf2fb9987b": ("lsun-cat", False),
    "646f23f4821f2459b8bafc57fd824558": ("lsun-cat", True),
    "eb619b8a5ab95ef80f94ce8a5488dae3": ("lsun-church", False),
    "fdc68a23938c2397caba4a260bc2445f": ("lsun-church", True),
}
RENAMED = (
    (r"^temb\.dense\.0\.", "time_embedding.linear_1."),
    (r"^temb\.dense\.1\.", "time_embedding.linear_2."),
    (r"^norm_out\.", "conv_norm_out."),
    (r"^mid\.block_1\.", "mid_block.resnets.0."),
    (r"^mid\.block_2\.", "mid_block.resnets.1."),
    (r"^mid\.attn_1\.", "mid_block.attentions.0."),
    (r"^(down|up)\.(\d+)\.block\.", r"\1_blocks.\2.resnets."),
    (r"^(down|up)\.(\d+)\.attn\.", r"\1_blocks.\2.attentions."),
    (r"^(down|up)\.(\d+)\.(down|up)sample\.conv\.", r"\1_blocks.\2.\3samplers.0.conv."),
    (r"\.temb_proj\.", ".time_emb_proj."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
    (r"(\.attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
)


THEIRS = (  # the same backwards
    (r"^time_embedding\.linear_1\.", "temb.dense.0."),
    (r"^time_embedding\.linear_2\.", "temb.dense.1."),
    (r"^conv_norm_out\.", "norm_out."),
    (r"\.group_norm\.", ".norm."),
    (r"\.to_out\.0\.", ".proj_out."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.time_emb_proj\.", ".temb_proj."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"^(down|up)_blocks\.(\d+)\.(down|up)samplers\.0\.conv\.", r"\1.\2.\3sample.conv."),
    (r"^(down|up)_blocks\.(\d+)\.resnets\.", r"\1.\2.block."),
    (r"^(down|up)_blocks\.(\d+)\.attentions\.", r"\1.\2.attn."),
    (r"^mid_block\.resnets\.0\.", "mid.block_1."),
    (r"^mid_block\.resnets\.1\.", "mid.block_2."),
    (r"^mid_block\.attentions\.0\.", "mid.attn_1."),
)


class DDPMCheckpoint(ModelFormat):
    """A `.ckpt` or `.pth`: a flat state dict, or ddim's list [model, optimizer, epoch, step, average of the weights],
    whose average is taken. The configuration is told by the shapes: CIFAR-10's, CelebA's (64) or LSUN's (256).
    """

    name = "ddpm-ckpt"
    about = "checkpoints of pesser/pytorch_diffusion and ermongroup/ddim (.ckpt, .pth): the DDPM paper's networks"

    def recognises(self, spec: str) -> bool:
        return Path(spec).suffix in (".ckpt", ".pth")

    def load(self, spec: str) -> Checkpoint:
        path, what = Path(spec), f"model '{spec}'"
        held = read_pickle(path, what)
        names = (path.stem, path.absolute().parent.name)
        if isinstance(held, list | tuple):
            state, averaged = _of_list(held, what)
            dataset = dataset_of(*names)
        else:
            state = flat_state(held, f"{what}: a checkpoint of this format")
            dataset, averaged = _published(path, names)
        config = _config(state, what)
        told = "its name or hash"
        if dataset is None and config["block_out_channels"][0] == 128:
            dataset, told = {32: "cifar10", 64: "celeba"}.get(config["sample_size"]), "its network's shapes"
        levels = len(config["block_out_channels"])

        def filled(state: dict[str, Tensor]) -> UNet2D:
            where = f"{what}: {path.name}"
            named = renamed(((name, _renamed(name, levels), value) for name, value in state.items()), where)
            return unet2d(config, named, where, "the U-Net of its shapes", partial(_theirs, levels))

        def raw() -> tuple[str, nn.Module]:
            return "raw", filled(flat_state(held[0], f"{what}: its first entry"))

        network = filled(state)
        variance = "fixed-large" if config["sample_size"] != 256 else "fixed-small"
        return Checkpoint(
            network=network,
            preconditioning=Preconditioning("epsilon", label=Label("index")),
            schedule={
                "kind": "linear", "steps": 1000, "beta_first": 1e-4, "beta_last": 0.02, "zero_terminal_snr": False,
            },
            sample_shape=network.sample_shape,
            architecture={"kind": "unet2d", **config},
            dataset=dataset,
            files=(path,),
            notes=(
                averaged,
                f"data set: {dataset}, by {told}" if dataset else "data set: neither name nor shapes tell it",
                "β goes from 0.0001 to 0.02 in 1000 steps, as in its authors' configurations; the file does not say so",
                f"its authors sample by ddpm, clipping x_0 to [-1, 1]: --samplers ddpm:variance={variance}",
            ),
            other_weights=raw if isinstance(held, list | tuple) and len(held) == 5 else None,
        )  # fmt: skip


def _of_list(held: list[Any] | tuple[Any, ...], what: str) -> tuple[dict[str, Tensor], str]:
    if len(held) not in (4, 5):
        raise UserError(
            f"{what}: a list in this format is [model, optimizer, epoch, step] or that and the average of the weights; "
            f"this one has {len(held)} entries"
        )
    if len(held) == 5:
        return flat_state(held[4], f"{what}: its last entry, the average of the weights,"), (
            "weights: their moving average (EMA), the last of its five entries"
        )
    return flat_state(held[0], f"{what}: its first entry"), (
        "weights: those of the last step; there is no moving average (EMA) in the file, which samples far better"
    )


def _published(path: Path, names: tuple[str, ...]) -> tuple[str | None, str]:
    """The data set and what is known of averaging: by the file's hash where it is one of those published, else by its
    name.
    """
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if digest in PUBLISHED:
        dataset, ema = PUBLISHED[digest]
        which = "their moving average (EMA)" if ema else "those of the last step, not their moving average (EMA)"
        return dataset, f"weights: {which}; the file is pytorch_diffusion's, by its MD5"
    if any(re.search(r"(?<![a-z])ema(?![a-z])", name.lower()) for name in names):
        return dataset_of(*names), "weights: their moving average (EMA), by the file's name"
    return dataset_of(*names), "weights: the file does not say whether they are a moving average (EMA)"


def _config(state: dict[str, Tensor], what: str) -> dict[str, Any]:
    """The U-Net that has these shapes."""
    from ..networks.unet2d import ddpm_config

    for name in ("conv_in.weight", "temb.dense.0.weight", "conv_out.weight", "down.0.block.0.conv1.weight"):
        if name not in state or state[name].ndim < 2:
            raise UserError(f"{what} is no checkpoint of pytorch_diffusion or ddim: it lacks {name}")
    width, in_channels = state["conv_in.weight"].shape[:2]
    widths, level = [], 0
    while (first := state.get(f"down.{level}.block.0.conv1.weight")) is not None:
        widths.append(first.shape[0])
        level += 1
    attention = [i for i in range(level) if f"down.{i}.attn.0.q.weight" in state]
    layers = sum(f"down.0.block.{j}.conv1.weight" in state for j in range(len(state)))
    key = (tuple(w / width for w in widths), attention[0] if len(attention) == 1 else None)
    size = next((side for (multipliers, at), side in SIZES.items() if key == (multipliers, at)), None)
    if size is None:
        known = "; ".join(f"{list(m)} with attention at level {at} ({side} pixels)" for (m, at), side in SIZES.items())
        got = [int(m) if m == int(m) else m for m in key[0]]
        raise UserError(
            f"{what}: the size of the images cannot be told: channels grow as {got}, attention is at levels "
            f"{attention}; known: {known}"
        )
    outputs = state["conv_out.weight"].shape[0]
    return ddpm_config(size, in_channels, outputs, widths, layers, attention)


def _theirs(levels: int, name: str) -> str:
    """A tensor of diffusers' U-Net by the name that it has in a checkpoint."""
    name = re.sub(r"^up_blocks\.(\d+)", lambda found: f"up_blocks.{levels - 1 - int(found[1])}", name)
    for pattern, old in THEIRS:
        name = re.sub(pattern, old, name)
    return name


def _renamed(name: str, levels: int) -> str:
    """The name in diffusers; its up blocks are counted from the coarsest."""
    for pattern, new in RENAMED:
        name = re.sub(pattern, new, name)
    return re.sub(r"^up_blocks\.(\d+)", lambda found: f"up_blocks.{levels - 1 - int(found[1])}", name)
