"""Folders that diffusers' `save_pretrained` wrote, and the same on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files import read_json
from ..condition import Classes
from ..preconditioning import Label, Preconditioning
from .diffusers_index import pipeline_of
from .diffusers_parts import STEM, read_weights
from .diffusers_pipeline import add_decoder, read_pipeline
from .diffusers_scheduler import Scheduler, read_scheduler
from .format import Checkpoint, ModelFormat
from .hub import HUB, snapshot
from .weights import dataset_of, of_today, renamed, unet2d

__all__ = ["Diffusers"]

WEIGHTS = tuple(f"{STEM}.{end}" for end in ("safetensors", "bin", "safetensors.index.json"))
PARTS = ("unet", "scheduler")
AVERAGING = ("decay", "min_decay", "optimization_step", "update_after_step", "use_ema_warmup", "inv_gamma", "power")


class Diffusers(ModelFormat):
    """A folder with model_index.json, unet/ and scheduler/, or all of their files in the folder itself; or
    `hf:OWNER/NAME`, also `hf:OWNER/NAME@REVISION`. The network is an unconditional `UNet2DModel` of images, or that of
    one of `PIPELINES`, with its decoder and text encoders.
    """

    name = "diffusers"
    about = (
        "diffusers' folders (model_index.json, …) and hf:OWNER/NAME: UNet2DModel, latent diffusion, DiT, Stable "
        "Diffusion 1, 2, XL and 3"
    )

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
        name = re.split("[:/@]", spec)[2] if spec.startswith(HUB) else root.absolute().name
        index = read_json(root / "model_index.json", what) if (root / "model_index.json").is_file() else {}
        pipeline = pipeline_of(index, what)
        if pipeline is None:
            _check_index(index, what)
        parts = _find(root, index, what)
        if pipeline is None:
            return _unconditional(parts, name, what)
        if pipeline.kind == "latent":
            return add_decoder(_unconditional(parts, name, what), pipeline, index, root, what)
        scheduler = _scheduler_config(parts, what)
        return read_pipeline(pipeline, index, root, (parts.scheduler, scheduler), name, what)


def _unconditional(parts: _Parts, name: str, what: str) -> Checkpoint:
    """The network that is a `UNet2DModel`, of images or of latents."""
    if not (parts.unet / "config.json").is_file():
        raise UserError(f"{what} is no model that is known: {parts.unet} has no config.json of a UNet2DModel")
    scheduler = read_scheduler(_scheduler_config(parts, what), f"{what}: {parts.scheduler.name}")
    config = read_json(parts.unet / "config.json", what)
    if (kind := config.get("_class_name", "UNet2DModel")) != "UNet2DModel":
        raise UserError(
            f"{what}: its network is a {kind}; without the model_index.json of a pipeline only an unconditional "
            "UNet2DModel is read"
        )
    config = {k: v for k, v in config.items() if not k.startswith("_") and not (parts.averaged and k in AVERAGING)}
    files, state = read_weights(parts.unet, what)
    half = sorted({str(v.dtype).removeprefix("torch.") for v in state.values() if v.itemsize < 4})
    where = f"{what}: {files[-1].name}"
    state = renamed(((n, of_today(n), value) for n, value in state.items()), where)
    try:
        network = unet2d(config, state, where, "config.json")
    except UserError as error:
        raise error if str(error).startswith(what) else UserError(f"{what}: {error}") from None
    scheduler = _agreed(config, scheduler, what)
    dataset = dataset_of(name)
    averaged = "their moving average (EMA), of unet_ema" if parts.averaged else (
        "their moving average (EMA), by its name" if "ema" in re.split("[-_.]", name.lower())
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
        files=(parts.unet / "config.json", parts.scheduler, *files),
        notes=(
            f"weights: {averaged}",
            *([f"weights in {', '.join(half)} are widened to float32"] if half else []),
            *([f"data set: {dataset}, by its name"] if dataset else []),
            *([f"asked for one of {network.classes} classes; whether one of them stands for none is not said"]
              if network.classes else []),
            *scheduler.notes,
        ),
        learned_range=scheduler.learned_range,
        conditioner=Classes(network.classes) if network.classes else None,
    )  # fmt: skip


@dataclass(frozen=True)
class _Parts:
    """Where things are. averaged: whether the weights are those of unet_ema; named: the scheduler that model_index.json
    names, where there is one.
    """

    unet: Path
    scheduler: Path
    averaged: bool
    named: str | None


def _check_index(index: Mapping[str, Any], what: str) -> None:
    """Raises UserError where a model_index.json is that of something else than an unconditional pipeline of images."""
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


def _find(root: Path, index: Mapping[str, Any], what: str) -> _Parts:
    averaged = not index and (root / "unet_ema" / "config.json").is_file()
    folder = root / ("unet_ema" if averaged else "unet")
    unet = folder if folder.is_dir() else root
    places = [root / "scheduler" / "scheduler_config.json", root / "scheduler_config.json"]
    scheduler = next((place for place in places if place.is_file()), None)
    if scheduler is None:
        raise UserError(f"{what}: {root} has no scheduler/scheduler_config.json, which says how noise was added")
    named = index.get("scheduler")
    if named is not None and not (isinstance(named, list) and len(named) == 2 and isinstance(named[1], str)):
        raise UserError(f"{what}: model_index.json names library and class of its scheduler, got {named!r}")
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
