"""What a plugin must leave as it found it: weights, schedule, and the settings of torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..diffusion.schedule import NoiseSchedule
from ..models.model import Model
from ..settings import SETTINGS, changed, states

__all__ = ["Seal", "Tampered", "digest"]


class Tampered(RuntimeError):
    """A plugin changed what others' cells depend on; its own cell fails for it."""


@dataclass(frozen=True)
class Seal:
    """A model and torch as they were: `broken` says what is no longer so."""

    weights: dict[str, str]
    modules: tuple[tuple[Any, ...], ...]
    schedule: bytes
    config: str
    settings: dict[str, Any]

    @classmethod
    def of(cls, model: Model) -> Seal:
        state: dict[str, Tensor] = {}
        modules: list[tuple[str, nn.Module]] = []
        for part, network in model.networks().items():
            prefix = f"{part}." if part else ""
            state |= {prefix + name: one for name, one in (*network.named_parameters(), *network.named_buffers())}
            modules += [(prefix + name, module) for name, module in network.named_modules()]
        return cls(
            {name: digest(tensor) for name, tensor in state.items()},
            tuple(_module(name, module) for name, module in modules),
            _curve(model.schedule),
            json.dumps([model.conditions(), model.checkpoint.mean_squares], sort_keys=True, default=str),
            states(SETTINGS),
        )

    def broken(self, model: Model) -> str:
        """What was changed since, in words; empty where nothing was. Settings are put back."""
        now = Seal.of(model)
        found = []
        if now.weights != self.weights:
            names = sorted(
                k for k in self.weights.keys() | now.weights.keys() if now.weights.get(k) != self.weights.get(k)
            )
            found.append(f"the weights of the network ({names[0]})")
        if now.modules != self.modules:
            found.append("the modules of the network, or their mode, hooks or numbers")
        if now.schedule != self.schedule:
            found.append("the noise schedule")
        if now.config != self.config:
            found.append("what is known of the model, or the network's convention")
        return " and ".join([*found, *changed(SETTINGS, self.settings)])


def digest(*tensors: Tensor) -> str:
    """The hash of tensors, wherever they are."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _module(name: str, module: nn.Module) -> tuple[Any, ...]:
    hooks = tuple(id(hook) for table in (module._forward_hooks, module._forward_pre_hooks) for hook in table.values())
    numbers = tuple((key, value) for key, value in vars(module).items() if isinstance(value, PLAIN))
    return name, type(module), hooks, "forward" in vars(module), repr(numbers)


PLAIN = (bool, int, float, str, tuple, type(None))


def _curve(schedule: NoiseSchedule) -> bytes:
    times = np.linspace(schedule.t_min, schedule.t_max, 97)
    curves = (schedule.half_log_snr(times), schedule.scale(times), times)
    return b"".join(np.asarray(curve).tobytes() for curve in curves)
