"""Folders that diffusers' `save_pretrained` wrote, and the same on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...files import read_json
from ..preconditioning import Label, Preconditioning
from .diffusers_scheduler import Scheduler, read_scheduler
from .format import Checkpoint, ModelFormat
from .hub import HUB, snapshot
from .weights import dataset_of, flat_state, read_pickle, renamed, unet2d

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Diffusers"]

WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # before diffusers 0.12
PARTS = ("unet", "scheduler")
AVERAGING = ("decay", "min_decay", "optimization_step", "update_after_step", "use_ema_warmup", "inv_gamma", "power")


class Diffusers(ModelFormat):
    """A folder with model_index.json, unet/ and scheduler/, or all of their files in the folder itself; or
    `hf:OWNER/NAME`, also `hf:OWNER/NAME@REVISION`. The network is an unconditional `UNet2DModel` of images.
    """

    name = "diffusers"
    about = "diffusers' folders (model_index.json, unet/, scheduler/) and hf:OWNER/NAME: unconditional UNet2DModel"

    def recognises(self, spec: str) -> bool:
        folder = Path(spec)
        if (folder / "config.json").is_file() and b'"_class_name"' in (folder / "config.json").read_bytes():
            return True
        return spec.startswith(HUB) or any(
            (folder / name).is_file()
            for name in (
                "model_index.json",
                "unet/config.json",
                "unet_ema/config.json",
                "scheduler_config.json",
                *WEIGHTS,
            )
        )

    def load(self, spec: str) -> Checkpoint:
        what = f"model '{spec}'"
        root = snapshot(spec, what) if spec.startswith(HUB) else Path(spec)
        if not root.is_dir():
            raise UserError(f"{what}: there is no folder {root}")
        parts = _find(root, what)
        scheduler = read_scheduler(_scheduler_config(parts, what), f"{what}: {parts.scheduler.name}")
        config = read_json(parts.unet / "config.json", what)
        if (kind := config.get("_class_name", "UNet2DModel")) != "UNet2DModel":
            raise UserError(f"{what}: its network is a {kind}; only an unconditional UNet2DModel is read")
        config = {k: v for k, v in config.items() if not k.startswith("_") and not (parts.averaged and k in AVERAGING)}
        weights, state = _weights(parts.unet, what)
        half = sorted({str(v.dtype).removeprefix("torch.") for v in state.values() if v.itemsize < 4})
        state = renamed(((n, _renamed(n), value) for n, value in state.items()), f"{what}: {weights.name}")
        try:
            network = unet2d(config, state, f"{what}: {weights.name}", "config.json")
        except UserError as error:
            raise error if str(error).startswith(what) else UserError(f"{what}: {error}") from None
        scheduler = _agreed(config, scheduler, what)
        hub_name = re.split("[:/@]", spec)[2] if spec.startswith(HUB) else root.absolute().name
        dataset = dataset_of(hub_name)
        averaged = "their moving average (EMA), of unet_ema" if parts.averaged else (
            "their moving average (EMA), by its name" if "ema" in re.split("[-_.]", hub_name.lower())
            else "the files do not say whether they are a moving average (EMA)"
        )  # fmt: skip
        return Checkpoint(
            network=network,
            preconditioning=Preconditioning(
                scheduler.prediction, "edm" if scheduler.prediction == "edm" else "native", Label(**scheduler.label)
            ),
            schedule=scheduler.schedule,
            sample_shape=network.sample_shape,
            architecture={"kind": "unet2d", **config},
            dataset=dataset,
            files=(parts.unet / "config.json", parts.scheduler, weights),
            notes=(
                f"weights: {averaged}",
                *([f"weights in {', '.join(half)} are widened to float32"] if half else []),
                *([f"data set: {dataset}, by its name"] if dataset else []),
                *scheduler.notes,
            ),
            learned_range=scheduler.learned_range,
        )


@dataclass(frozen=True)
class _Parts:
    """Where things are. averaged: whether the weights are those of unet_ema; named: the scheduler that model_index.json
    names, where there is one.
    """

    unet: Path
    scheduler: Path
    averaged: bool
    named: str | None


def _find(root: Path, what: str) -> _Parts:
    index = read_json(root / "model_index.json", what) if (root / "model_index.json").is_file() else {}
    for name in PARTS:
        entry = index.get(name, ["", ""])
        if not (isinstance(entry, list) and len(entry) == 2 and all(isinstance(word, str) for word in entry)):
            raise UserError(f"{what}: model_index.json names library and class of its {name}, got {entry!r}")
    for name, entry in index.items():
        if name.startswith("_") or not isinstance(entry, list) or entry[-1:] == [None]:
            continue
        if name == "unet" and entry != ["diffusers", "UNet2DModel"]:
            raise UserError(f"{what}: its network is {'.'.join(entry)}; only an unconditional UNet2DModel is read")
        if name not in PARTS:
            raise UserError(
                f"{what}: its pipeline {index.get('_class_name', '')} has a part '{name}'; only a unet of images and a "
                "scheduler are read"
            )
    averaged = not index and (root / "unet_ema" / "config.json").is_file()
    folder = root / ("unet_ema" if averaged else "unet")
    unet = folder if folder.is_dir() else root
    if not (unet / "config.json").is_file():
        raise UserError(f"{what} is no model that is known: {unet} has no config.json of a UNet2DModel")
    places = [root / "scheduler" / "scheduler_config.json", root / "scheduler_config.json"]
    scheduler = next((place for place in places if place.is_file()), None)
    if scheduler is None:
        raise UserError(f"{what}: {root} has no scheduler/scheduler_config.json, which says how noise was added")
    named = index.get("scheduler")
    return _Parts(unet, scheduler, averaged, named[1] if named else None)


def _scheduler_config(parts: _Parts, what: str) -> dict[str, Any]:
    config = read_json(parts.scheduler, what)
    if parts.named is not None and (kind := config.setdefault("_class_name", parts.named)) != parts.named:
        raise UserError(f"{what}: model_index.json names {parts.named}, {parts.scheduler.name} is of {kind}")
    return config


def _agreed(config: Mapping[str, Any], scheduler: Scheduler, what: str) -> Scheduler:
    """The scheduler where it fits the network: channels of the output, times that were learned."""
    inputs, outputs = config.get("in_channels", 3), config.get("out_channels", 3)
    if outputs != (expected := 2 * inputs if scheduler.learned_range else inputs):
        raise UserError(
            f"{what}: out_channels {outputs} contradicts in_channels {inputs} with variance_type "
            f"{'learned_range' if scheduler.learned_range else 'fixed'}: expected {expected}"
        )
    embedding = config.get("time_embedding_type", "positional")
    if embedding == "fourier":
        raise UserError(
            f"{what}: time_embedding_type 'fourier' is of networks of σ, whose output is divided by it; they are not "
            "read yet"
        )
    if embedding != "learned":
        return scheduler
    schedule = scheduler.schedule
    steps = schedule.get("steps", len(schedule.get("betas", ())))
    if (table := config.get("num_train_timesteps")) != steps or scheduler.label["kind"] != "index":
        raise UserError(f"{what}: a table of {table} learned times contradicts the scheduler's {steps} steps")
    note = "its times are a table, so that labels are rounded to whole ones"
    label = scheduler.label | {"between": "round"}
    return Scheduler(scheduler.prediction, schedule, label, (*scheduler.notes, note), scheduler.learned_range)


def _weights(folder: Path, what: str) -> tuple[Path, dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        found = sorted(p.name for p in folder.iterdir() if p.suffix in (".safetensors", ".bin", ".msgpack"))
        held = f"; it has {', '.join(found)}" if found else ""
        raise UserError(f"{what}: {folder} has neither {' nor '.join(WEIGHTS)}{held}")
    if path.suffix == ".bin":
        return path, flat_state(read_pickle(path, what), f"{what}: {path.name}")
    try:
        return path, load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{what}: {path.name} is truncated or not safetensors ({error})") from None


def _renamed(name: str) -> str:
    """Today's names of the layers of attention."""
    return re.sub(
        r"(\.attentions\.\d+)\.(query|key|value|proj_attn)\.", lambda m: f"{m[1]}.{OLD_ATTENTION[m[2]]}.", name
    )
