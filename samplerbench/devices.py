"""The devices that a network runs on."""

from __future__ import annotations

import torch

from .errors import UserError

__all__ = ["resolve_device"]

EXPECTED = "expected auto, cpu, cuda or cuda:N"


def resolve_device(name: str) -> str:
    """'auto' -> the GPU where there is one, else the CPU. Raises UserError for a device that is not there, and for one
    that is neither the CPU nor CUDA's (which AMD's GPUs are as well, in torch's build for them).
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device '{name}': {EXPECTED}") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name}: samplerbench runs on no {device.type} device; use --device cpu, or auto")
    if device.type == "cpu" and device.index is not None:
        raise UserError(f"--device {name}: the CPU has no number; use --device cpu")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        count = torch.cuda.device_count()
        raise UserError(f"--device {name}: this machine has {count} usable CUDA devices; use --device cpu, or auto")
    return name
