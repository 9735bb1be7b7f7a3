"""Checkpoints of Ho et al. 2020 in PyTorch: of pesser/pytorch_diffusion and of ermongroup/ddim."""

from __future__ import annotations

import hashlib
import re
from functools import cache, partial
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
NAMES = (  # in a checkpoint and in diffusers; they are renamed from the first to the last, backwards from the last
    ("temb.dense.0.", "time_embedding.linear_1."),
    ("temb.dense.1.", "time_embedding.linear_2."),
    ("norm_out.", "conv_norm_out."),
    ("mid.block_1.", "mid_block.resnets.0."),
    ("mid.block_2.", "mid_block.resnets.1."),
    ("mid.attn_1.", "mid_block.attentions.0."),
    ("{way}.{i}.block.", "{way}_blocks.{i}.resnets."),
    ("{way}.{i}.attn.", "{way}_blocks.{i}.attentions."),
    ("{way}.{i}.{way}sample.conv.", "{way}_blocks.{i}.{way}samplers.0.conv."),
    (".temb_proj.", ".time_emb_proj."),
    (".nin_shortcut.", ".conv_shortcut."),
    (".attentions.{i}.norm.", ".attentions.{i}.group_norm."),
    (".attentions.{i}.{part}.", ".attentions.{i}.to_{part}."),
    (".attentions.{i}.proj_out.", ".attentions.{i}.to_out.0."),
)
FIELDS = {"way": "down|up", "i": r"\d+", "part": "[qkv]"}  # in braces above


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
    name = _turned(name, levels)
    for old, new in reversed(NAMES):
        name = _pattern(new).sub(_replacement(old), name)
    return name


def _renamed(name: str, levels: int) -> str:
    """The name in diffusers."""
    for old, new in NAMES:
        name = _pattern(old).sub(_replacement(new), name)
    return _turned(name, levels)


def _turned(name: str, levels: int) -> str:
    """With the up blocks counted from the other end: diffusers counts them from the coarsest."""
    return re.sub(r"^up_blocks\.(\d+)", lambda found: f"up_blocks.{levels - 1 - int(found[1])}", name)


@cache
def _pattern(part: str) -> re.Pattern[str]:
    """What a part of a name matches; one that has no dot before it stands at the beginning."""
    known: set[str] = set()

    def field(found: re.Match[str]) -> str:
        again = found[1] in known
        known.add(found[1])
        return f"(?P={found[1]})" if again else f"(?P<{found[1]}>{FIELDS[found[1]]})"

    pattern = re.sub(r"\\\{(\w+)\\\}", field, re.escape(part))
    return re.compile(pattern if part.startswith(".") else f"^{pattern}")


def _replacement(part: str) -> str:
    return re.sub(r"\{(\w+)\}", r"\\g<\1>", part)
