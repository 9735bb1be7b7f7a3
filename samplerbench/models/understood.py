"""What was understood of a model, as plain values."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from ..errors import PluginError, contained, one_line
from .model import Model
from .networks.experts import networks_of

if TYPE_CHECKING:
    from torch import nn

    from .condition import Conditioner

__all__ = ["evaluation_flops", "understood"]


def understood(model: Model, refusal: str = "") -> dict[str, Any]:
    """All that a sampler goes by, in plain values that JSON takes.

    `path` has α and σ at its two ends in variance-preserving coordinates, and the native scale there; `label` what the
    network is told there. `flops` are those of one evaluation of one sample, a multiplication and an addition counted
    as two. `dataset_by` is what tells the data set where the files do not say it; then it is a guess. refusal: why the
    extractor that it names cannot be used. Raises PluginError where a network that is somebody's code fails.
    """
    schedule, said, convention = model.schedule, model.checkpoint, model.predictor.preconditioning
    ends = [float(schedule.t_min), float(schedule.t_max)]
    networks = networks_of(model.predictor.network)
    sizes = [sum(p.numel() for p in network.parameters()) for network in networks]
    guess = f"data set: {said.dataset}, by "
    told = next((note for note in said.notes if note.startswith(guess)), None)
    return {
        "model": model.name,
        "format": model.format,
        "sha256": model.sha256,
        "image_shape": list(model.image_shape),
        "image_range": [-1, 1],
        "sample_shape": list(model.sample_shape),
        "path": {
            "config": schedule.config(),
            "discrete": schedule.discrete,
            "times": ends,
            "alpha": schedule.alpha(ends).tolist(),
            "sigma": schedule.sigma(ends).tolist(),
            "scale": schedule.scale(ends).tolist(),
        },
        "decoder": None if said.decoder is None else _size(said.decoder.module),
        "asked": None if model.conditioner is None else _asked(model.conditioner),
        "prediction": convention.prediction,
        "sigma_data": convention.sigma_data if "edm" in (convention.prediction, convention.input) else None,
        "learned_range": said.learned_range,
        "input": convention.input,
        "label": convention.config()["label"] | {"at_ends": convention.label(schedule, ends).tolist()},
        "network": {
            "kind": said.architecture.get("kind") if said.architecture else None,
            "parameters": sum(sizes),
            "experts": len(networks),
            "flops": evaluation_flops(model),
        },
        "dataset": said.dataset,
        "dataset_by": told and told.removeprefix(guess),
        "extractor": said.extractor,
        "extractor_refused": refusal or None,
        "reference": None if said.reference is None else str(said.reference),
        "mean_squares": len(said.mean_squares["times"]) if said.mean_squares else 0,
        "files": [str(file) for file in said.files],
        "notes": [note for note in said.notes if note != told],
    }


def _size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _asked(conditioner: Conditioner) -> dict[str, Any]:
    """What it can be asked for."""
    networks = conditioner.networks().values()
    return {
        "kind": conditioner.kind,
        "default": list(conditioner.default[:3]),
        "lines": len(conditioner.default),
        "guidance": conditioner.nothing is not None,
        "parameters": sum(map(_size, networks)),
    }


def evaluation_flops(model: Model) -> int:
    """FLOPs of one evaluation of one sample in matrix products, convolutions and attention, as torch counts them."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    x = torch.zeros(1, *model.sample_shape)
    try:
        with contained(f"model '{model.name}'"), FlopCounterMode(display=False) as counter, torch.no_grad():
            asked = (model.conditioner.example,) if model.conditioner else ()
            model.epsilon(asked=asked)(x, float(model.schedule.first_time(pure_noise=False)))
    except Exception as error:
        line = f"model '{model.name}': its network fails on one sample: {one_line(error)}"
        raise PluginError(line, traceback.format_exc()) from None
    return int(counter.get_total_flops())
