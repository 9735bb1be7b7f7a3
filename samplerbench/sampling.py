"""Running one sampler once: on a trained model inside a benchmark, or on any ε(x, t) from a notebook or a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .diffusion.denoiser import Denoiser, Epsilon
from .diffusion.grid import TimeGrid
from .diffusion.noise import NoiseSource
from .diffusion.schedule import NoiseSchedule
from .errors import UserError
from .sampler import Sampler

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BadSample", "Samples", "draw", "sample"]


class BadSample(RuntimeError):
    """What a sampler returned is not a batch of finite samples."""


class Samples(NamedTuple):
    """x0: [B, ...], of the shape and dtype of x_T. nfe: the counted network evaluations a sample."""

    x0: Tensor
    nfe: float


def sample(
    sampler: str | Sampler,
    eps: Epsilon,
    schedule: NoiseSchedule,
    x: Tensor,
    *,
    nfe: int | None = None,
    steps: int | None = None,
    times: Sequence[float] | None = None,
    seed: int = 0,
) -> Samples:
    """Runs a sampler on any function ε(x, t).

    Args:
        sampler: a `Sampler`, or its name with options as on the command line: 'ddim:eta=0.5'.
        eps: `eps(x, t)`, x [B, ...] and t a time of `schedule` (a float) -> the predicted noise, of x's shape.
        schedule: the noise schedule that `eps` belongs to.
        x: x_T, [B, ...]: any shape, device and float dtype.
        nfe: a budget of evaluations, enforced; or
        steps: the number of steps of the sampler's own grid; or
        times: the decreasing times themselves, the last of which may be 0.
        seed: of the noise that stochastic samplers add.

    Raises:
        UserError: unknown sampler or option, budget too small, impossible grid.
        BudgetExceeded, BadNoise, BadSample: the sampler or ε misbehaved.
    """
    if sum(given is not None for given in (nfe, steps, times)) != 1:
        raise UserError("give exactly one of nfe, steps and times")
    if isinstance(sampler, str):
        from .plugins import load_plugins

        sampler = load_plugins().sampler(sampler)
    if times is not None:
        grid = TimeGrid(schedule, tuple(float(t) for t in times))
    else:
        if nfe is not None:
            steps = sampler.steps(_positive("nfe", nfe))
        assert steps is not None
        grid = TimeGrid.make(schedule, steps, sampler.spacing, sampler.final)
    noise = NoiseSource(seed, range(len(x)), x.shape[1:], x.device, x.dtype)
    return draw(sampler, Denoiser(eps, len(x), budget=nfe), grid, x, noise)


def draw(sampler: Sampler, denoiser: Denoiser, grid: TimeGrid, x: Tensor, noise: NoiseSource) -> Samples:
    """One batch through one sampler, with what it returns checked."""
    import torch

    with torch.no_grad():
        x0 = sampler.sample(denoiser, grid, x, noise)
    if not isinstance(x0, torch.Tensor):
        raise BadSample(f"{sampler.name} returned {type(x0).__name__}, expected a tensor")
    if x0.shape != x.shape:
        raise BadSample(f"{sampler.name} returned shape {list(x0.shape)}, expected {list(x.shape)}")
    if x0.device != x.device:
        raise BadSample(f"{sampler.name} returned a tensor on {x0.device}, expected {x.device}")
    if x0.dtype != x.dtype:
        raise BadSample(f"{sampler.name} returned {x0.dtype}, expected {x.dtype}")
    if not torch.isfinite(x0).all():
        bad = int((~torch.isfinite(x0.flatten(1)).all(dim=1)).sum())
        raise BadSample(f"{sampler.name} returned NaN or infinite values in {bad} of {len(x0)} samples")
    return Samples(x0, denoiser.nfe)


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise UserError(f"{name} is at least 1, got {value}")
    return value
