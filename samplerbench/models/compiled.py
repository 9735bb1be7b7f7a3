"""Networks that torch compiles: the bare network, without the numbers of Python that change at every evaluation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import UserError, unknown
from .networks.experts import Experts

__all__ = ["COMPILED", "Compiled", "check_compiled", "compiled", "is_kernel"]

COMPILED = ("no", "inductor", "graphs")
MODES = {"inductor": "default", "graphs": "reduce-overhead"}
BACKEND = "inductor"
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def check_compiled(how: str, device: str) -> None:
    """Raises UserError for an unknown way, and where nothing can be compiled that way for the device."""
    if how not in COMPILED:
        raise unknown("compile", how, COMPILED)
    if how == "graphs" and not device.startswith("cuda"):
        raise UserError(f"--compile=graphs records what a GPU is told, and the device is {device}; use --compile alone")
    if how == "no":
        return
    if device.startswith("cuda"):
        from torch.utils._triton import has_triton

        if not has_triton():
            raise UserError("--compile needs Triton for this GPU; leave it out, or install triton")
    else:
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except (InvalidCxxCompiler, RuntimeError):
            raise UserError(
                "--compile needs a C++ compiler on a CPU, such as g++; leave it out, or install one"
            ) from None


def is_kernel(module: str) -> bool:
    """Whether a loaded module is what the compiler has made, and keeps as files of its own."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and Path(file).is_relative_to(cache_dir())


def compiled(network: nn.Module, how: str, lowered: torch.dtype | None = None) -> nn.Module:
    """The network, or each of several experts, compiled. lowered: of the autocast that it runs in; the weights that it
    would cast at every call are cast here, once.
    """
    if isinstance(network, Experts):
        return Experts([Compiled(one, how, lowered) for one in network.networks], network.last)
    return Compiled(network, how, lowered)


class Compiled(nn.Module):
    """A network (x [B, …], label [B]) -> output. Compiled at its first call of a shape, and once more for any batch."""

    def __init__(self, network: nn.Module, how: str, lowered: torch.dtype | None) -> None:
        super().__init__()
        self.network, self.how = network, how
        for module in network.modules() if lowered else ():
            if isinstance(module, WEIGHTED):
                module.to(lowered)
        call = torch.compile(network, mode=MODES[how], backend=BACKEND)
        self._call: Callable[[Tensor, Tensor], Tensor] = lambda x, label: call(x, label)  # not a module of its own

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        if self.how != "graphs":
            return self._call(x, label)
        torch.compiler.cudagraph_mark_step_begin()
        return self._call(x, label).clone()  # the graph writes into the same memory again, and histories keep ε
