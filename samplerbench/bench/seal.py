"""What a plugin must leave as it found it: weights, schedule, and the settings of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..diffusion.schedule import NoiseSchedule
from ..models.model import Model

__all__ = ["Seal", "Tampered", "sums"]


class Tampered(RuntimeError):
    """A plugin changed what others' cells depend on; its own cell fails for it."""


@dataclass(frozen=True)
class Seal:
    """A model and torch as they were: `broken` says what is no longer so."""

    weights: dict[str, tuple[Any, ...]]
    modules: tuple[tuple[Any, ...], ...]
    schedule: bytes
    settings: dict[str, Any]

    @classmethod
    def of(cls, model: Model) -> Seal:
        network = model.predictor
        state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        return cls(
            _all_sums(state),
            tuple(_module(name, module) for name, module in network.named_modules()),
            _curve(model.schedule),
            {name: read() for name, (read, _) in SETTINGS.items()},
        )

    def broken(self, model: Model) -> str:
        """What was changed since, in words; empty where nothing was. Settings are put back."""
        now = Seal.of(model)
        changed = []
        if now.weights != self.weights:
            names = sorted(
                k for k in self.weights.keys() | now.weights.keys() if now.weights.get(k) != self.weights.get(k)
            )
            changed.append(f"the weights of the network ({names[0]})")
        if now.modules != self.modules:
            changed.append("the modules of the network, or their mode or hooks")
        if now.schedule != self.schedule:
            changed.append("the noise schedule")
        for name, value in self.settings.items():
            if now.settings[name] != value:
                changed.append(f"torch's {name}")
                SETTINGS[name][1](value)
        return " and ".join(changed)


def sums(tensor: Tensor) -> tuple[int, ...]:
    """Two sums of a tensor's bits, exact and the same in any order: a changed value changes the first, an exchange of
    two the second.
    """
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    bits = tensor.detach().contiguous().view(whole).flatten()
    places = torch.arange(1, min(len(bits), BLOCK) + 1, device=bits.device)
    first = second = 0
    for start in range(0, len(bits), BLOCK):
        block = bits[start : start + BLOCK].long()
        first += int(block.sum())
        second += int((block * places[: len(block)]).sum()) + start * int(block.sum())
    return (*tensor.shape, first, second)


BLOCK = 2**20
SMALL = 2**15


def _all_sums(state: dict[str, Tensor]) -> dict[str, tuple[Any, ...]]:
    """The sums of each tensor; small ones of a kind together, which takes a tenth of the time."""
    found: dict[str, tuple[Any, ...]] = {}
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, tensor in state.items():
        if tensor.numel() < SMALL:
            groups.setdefault((tensor.dtype, tensor.device), []).append(name)
        else:
            found[name] = sums(tensor)
    for names in groups.values():
        together = sums(torch.cat([state[name].detach().flatten() for name in names]))
        found[f"{names[0]} to {names[-1]}"] = (*(state[name].shape for name in names), *together)
    return found


def _module(name: str, module: nn.Module) -> tuple[Any, ...]:
    hooks = len(module._forward_hooks), len(module._forward_pre_hooks)
    return name, type(module), module.training, hooks, "forward" in vars(module)


def _curve(schedule: NoiseSchedule) -> bytes:
    times = np.linspace(schedule.t_min, schedule.t_max, 97)
    curves = (schedule.log_alpha(times), schedule.half_log_snr(times), schedule.label(times), times)
    return b"".join(np.asarray(curve).tobytes() for curve in curves)


SETTINGS: dict[str, tuple[Any, Any]] = {
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "deterministic mode": (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    "rounding of small numbers": (lambda: not (torch.ones(1).float() * 1e-40).any(), torch.set_flush_denormal),
}
