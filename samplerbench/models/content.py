"""What a model in memory is made of, so that a change of it is seen: weights, modules, schedule, conventions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..diffusion.schedule import NoiseSchedule

if TYPE_CHECKING:
    from .model import Model

__all__ = ["Content", "digest", "fingerprint", "numbers_of"]


@dataclass(frozen=True)
class Content:
    """A model as it is in memory.

    weights: the hash of each parameter and buffer. modules: what runs, as Python objects of this process. numbers: what
    modules hold besides. schedule: the path's curves. conventions: the rest, as JSON.
    """

    weights: dict[str, str]
    modules: tuple[tuple[Any, ...], ...]
    numbers: str
    schedule: str
    conventions: str

    @classmethod
    def of(cls, model: Model, in_place: bool = False) -> Content:
        """What a model is made of now. in_place: weights on a GPU are not brought to the host; what is said of them is
        to be compared with another such content alone.
        """
        said = model.checkpoint
        known = [{**model.conditions(), "sha256": "", "name": ""}, said.mean_squares, said.learned_range]
        known += [numbers_of(said.decoder)] if said.decoder is not None else []
        conventions = json.dumps(known, sort_keys=True, default=str)
        return cls(*_of_networks(model.networks(), in_place), _curve(model.schedule), conventions)

    @classmethod
    def of_network(cls, network: nn.Module, in_place: bool = False) -> Content:
        """What a network is made of that has neither schedule nor conventions."""
        return cls(*_of_networks({"": network}, in_place), "", "")

    def changed(self, before: Content) -> list[str]:
        """What is not as it was, in words."""
        found = []
        if self.weights != before.weights:
            names = {**self.weights, **before.weights}
            first = min(name for name in names if self.weights.get(name) != before.weights.get(name))
            found.append(f"the weights of the network ({first})")
        if (self.modules, self.numbers) != (before.modules, before.numbers):
            found.append("the modules of the network, or their mode, hooks or numbers")
        if self.schedule != before.schedule:
            found.append("the noise schedule")
        if self.conventions != before.conventions:
            found.append("what is known of the model, or the network's convention")
        return found

    @property
    def key(self) -> str:
        """Its hash, the same in every process; of the code that runs it holds nothing."""
        values = [self.weights, self.numbers, self.schedule, self.conventions]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _of_networks(
    networks: Mapping[str, nn.Module], in_place: bool
) -> tuple[dict[str, str], tuple[tuple[Any, ...], ...], str]:
    """Weights, modules and numbers."""
    state: dict[str, Tensor] = {}
    modules: list[tuple[str, nn.Module]] = []
    for part, network in networks.items():
        prefix = f"{part}." if part else ""
        state |= {prefix + name: one for name, one in (*network.named_parameters(), *network.named_buffers())}
        modules += [(prefix + name, module) for name, module in network.named_modules()]
    return (
        _fingerprints(state) if in_place else {name: digest(tensor) for name, tensor in state.items()},
        tuple(_runs(name, module) for name, module in modules),
        repr([_numbers(module) for _, module in modules]),
    )


def digest(*tensors: Tensor) -> str:
    """The hash of tensors, wherever they are."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def numbers_of(decoder: object) -> dict[str, str]:
    """What a decoder holds besides its network, such as scale and shift of its latents."""
    held = getattr(decoder, "__dict__", {})
    return {
        name: digest(value) if isinstance(value, Tensor) else repr(value)
        for name, value in held.items()
        if isinstance(value, (Tensor, *PLAIN))
    }


def _fingerprints(state: dict[str, Tensor]) -> dict[str, str]:
    """The hashes of tensors on the host, and the fingerprints of others, which one copy brings there."""
    away = [name for name, tensor in state.items() if tensor.device.type != "cpu"]
    values = torch.stack([fingerprint(state[name]) for name in away]).tolist() if away else []
    found = {name: f"{state[name].dtype} {tuple(state[name].shape)} {n}" for name, n in zip(away, values, strict=True)}
    return {name: found[name] if name in found else digest(tensor) for name, tensor in state.items()}


def fingerprint(tensor: Tensor) -> Tensor:
    """A number, int64 [], where the tensor is, that another value or another order gives otherwise, as good as surely.

    It is Σ_i mix(bits of x_i, i) mod 2⁶⁴, mixed by multiplications with odd constants and shifts, as in SplitMix64
    (Steele, Lea & Flood 2014).
    """
    flat = tensor.detach().contiguous().flatten()
    bits = flat.view(WORDS[flat.element_size()]).to(torch.int64)
    mixed = (bits ^ (torch.arange(len(bits), device=bits.device) * -0x61C8864680B583EB)) * -0x40A7B892E31B1A47
    mixed = (mixed ^ (mixed >> 31)) * -0x6B2FB644ECCEEE15
    return (mixed ^ (mixed >> 29)).sum()


WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _runs(name: str, module: nn.Module) -> tuple[Any, ...]:
    hooks = tuple(id(hook) for table in (module._forward_hooks, module._forward_pre_hooks) for hook in table.values())
    return name, type(module), hooks, "forward" in vars(module)


def _numbers(module: nn.Module) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in vars(module).items() if isinstance(value, PLAIN)]


PLAIN = (bool, int, float, str, tuple, type(None))


def _curve(schedule: NoiseSchedule) -> str:
    times = np.linspace(schedule.t_min, schedule.t_max, 97)
    curves = (schedule.half_log_snr(times), schedule.scale(times), times)
    return hashlib.sha256(b"".join(np.asarray(curve).tobytes() for curve in curves)).hexdigest()
