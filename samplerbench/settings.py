"""What is of the whole process and a plugin must leave as it found it: settings of torch, global random generators."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

__all__ = ["GENERATORS", "SETTINGS", "casts_kept", "changed", "products", "states"]

State = tuple[Callable[[], Any], Callable[[Any], object]]  # how it is read, how it is put back
AUTOCAST = ("cpu", "cuda")
CUDNN = ("enabled", "benchmark", "deterministic")


def _set_cudnn(before: list[bool]) -> None:
    for name, value in zip(CUDNN, before, strict=True):
        setattr(torch.backends.cudnn, name, value)


_backends: Any = torch.backends
PRODUCTS: tuple[Any, ...] = (
    _backends,
    _backends.cuda.matmul,
    _backends.cudnn,
    _backends.cudnn.conv,
    _backends.cudnn.rnn,
    _backends.mkldnn,
    _backends.mkldnn.matmul,
    _backends.mkldnn.conv,
    _backends.mkldnn.rnn,
)
"""Where torch holds the precision of float32 products, those that others follow first."""


def _legacy() -> tuple[str, bool] | None:
    """The same by torch's older interface; None where it is of two minds, and raises."""
    try:
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return None


def _set_legacy(matmul: str, cudnn: bool) -> None:
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = cudnn


def _set_products(before: tuple[tuple[str, bool] | None, list[str]]) -> None:
    if before[0] is not None:
        _set_legacy(*before[0])
    for place, value in zip(PRODUCTS, before[1], strict=True):
        place.fp32_precision = value


def _tensor(state: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(state), dtype=torch.uint8)


def _nesting() -> int:
    """How many autocasts are open."""
    torch.autocast_increment_nesting()
    return int(torch.autocast_decrement_nesting())


def _set_autocast(nesting: int, enabled: Sequence[bool]) -> None:
    """One that was left open would keep what it has cast of weights for good, whatever becomes of them."""
    for kind, one in zip(AUTOCAST, enabled, strict=True):
        torch.set_autocast_enabled(kind, one)
    while _nesting() > nesting:
        torch.autocast_decrement_nesting()
    torch.clear_autocast_cache()


SETTINGS: dict[str, State] = {
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's deterministic mode": (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    "torch's default device": (torch.get_default_device, torch.set_default_device),
    "torch's precision of float32 products": (
        lambda: (_legacy(), [place.fp32_precision for place in PRODUCTS]),
        _set_products,
    ),
    "torch's autocast": (
        lambda: (_nesting(), [torch.is_autocast_enabled(kind) for kind in AUTOCAST]),
        lambda before: _set_autocast(*before),
    ),
    "torch's use of MKL-DNN": (
        lambda: torch.backends.mkldnn.enabled,
        partial(setattr, torch.backends.mkldnn, "enabled"),
    ),
    "torch's use of cuDNN": (
        lambda: [getattr(torch.backends.cudnn, name) for name in CUDNN],
        _set_cudnn,
    ),
    "torch's rounding of small numbers": (
        lambda: not (torch.ones(1, dtype=torch.float32, device="cpu") * 1e-40).any(),
        torch.set_flush_denormal,
    ),
}

GENERATORS: dict[str, State] = {
    "torch": (
        lambda: torch.random.get_rng_state().numpy().tobytes(),
        lambda before: torch.random.set_rng_state(_tensor(before)),
    ),
    "torch on CUDA": (
        lambda: [state.numpy().tobytes() for state in _cuda_states()],
        lambda before: torch.cuda.set_rng_state_all(list(map(_tensor, before))),
    ),
    "numpy": (lambda: _plain(np.random.get_state()), np.random.set_state),
    "random": (random.getstate, random.setstate),
}


def _cuda_states() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def _plain(state: Any) -> tuple[Any, ...]:
    """numpy's state, comparable by ==."""
    return tuple(part.tolist() if isinstance(part, np.ndarray) else part for part in state)


def states(table: Mapping[str, State]) -> dict[str, Any]:
    """How things are now."""
    return {name: read() for name, (read, _) in table.items()}


def changed(table: Mapping[str, State], before: Mapping[str, Any]) -> list[str]:
    """What is no longer as it was, by name; it is put back."""
    names = [name for name, now in states(table).items() if now != before[name]]
    for name in names:
        table[name][1](before[name])
    return names


@contextmanager
def products(precision: str = "ieee") -> Iterator[None]:
    """Products of float32 numbers in `ieee` precision, or in `tf32`, which changes FIDs in the third digit, whatever
    the process has set. It costs nothing inside another of the same precision.
    """
    global _inside
    if _inside == precision:
        yield
        return
    before, outer = (_legacy(), [place.fp32_precision for place in PRODUCTS]), _inside
    _set_legacy(*(("highest", False) if precision == "ieee" else ("high", True)))  # torch wants both ways to agree
    for place in PRODUCTS:
        place.fp32_precision = precision
    _inside = precision
    try:
        yield
    finally:
        _inside = outer
        _set_products(before)


_inside: str | None = None


@contextmanager
def casts_kept() -> Iterator[None]:
    """An autocast inside keeps what it has cast of weights until this ends, not until it ends itself. It does so of
    weights that take gradients alone.
    """
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        torch.autocast_decrement_nesting()
        torch.clear_autocast_cache()
