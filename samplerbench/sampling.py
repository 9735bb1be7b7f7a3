"""Running one sampler once: on a trained model inside a benchmark, or on any ε(x, t) from a notebook or a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .diffusion.denoiser import Epsilon, Meter
from .diffusion.grid import TimeGrid
from .diffusion.noise import NoiseSource
from .diffusion.schedule import NoiseSchedule
from .diffusion.spacing import explicit_times
from .errors import Miscounted, TooFewEvaluations, UserError, contained
from .sampler import Sampler

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BadSample", "Drawing", "Samples", "draw", "plan_grid", "sample"]


class BadSample(RuntimeError):
    """What a sampler returned is not a batch of finite samples."""


class Samples(NamedTuple):
    """x0: [B, ...], of the shape and dtype of x_T. nfe: the counted network evaluations a sample."""

    x0: Tensor
    nfe: float


@dataclass(frozen=True)
class Drawing:
    """x0: [B, ...], of the shape and dtype of x_T. evaluations: those of each sample, [B], counted."""

    x0: Tensor
    evaluations: np.ndarray

    @property
    def nfe(self) -> float:
        """Evaluations a sample."""
        return float(self.evaluations.mean())


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
        grid = plan_grid(sampler, schedule, nfe=nfe, steps=steps)
    noise = NoiseSource(seed, range(len(x)), x.shape[1:], x.device, x.dtype)
    drawing = draw(sampler, eps, grid, x, noise, budget=nfe)
    return Samples(drawing.x0, drawing.nfe)


def plan_grid(sampler: Sampler, schedule: NoiseSchedule, nfe: int | None = None, steps: int | None = None) -> TimeGrid:
    """The grid of a sampler for a budget of evaluations, or for a number of steps.

    Raises TooFewEvaluations where the budget is too small for the sampler, UserError where the grid is impossible.
    """
    listed = explicit_times(sampler.spacing)
    extra = 1 if sampler.final == "denoise" else 0
    if nfe is not None:
        if nfe < 1:
            raise UserError(f"nfe is at least 1, got {nfe}")
        if nfe <= extra:
            raise TooFewEvaluations(f"{sampler.name} with final=denoise needs more than {nfe} evaluations")
        steps = sampler.steps(nfe - extra)
        if listed is not None:
            if len(listed) - 1 > steps:
                raise TooFewEvaluations(f"{len(listed) - 1} steps of listed times need more than {nfe} evaluations")
            steps = len(listed) - 1
    assert steps is not None
    if sampler.adaptive:
        if listed is None:
            return TimeGrid(schedule, (schedule.t_max, schedule.t_min))
        return TimeGrid(schedule, (listed[0], listed[-1]))
    if steps < sampler.fewest_steps:
        raise UserError(
            f"{sampler.name} takes at least {sampler.fewest_steps} steps "
            f"({sampler.evaluations(sampler.fewest_steps)} evaluations), got {steps}"
        )
    return TimeGrid.make(schedule, steps, sampler.spacing, sampler.final, sampler.rho)


def draw(
    sampler: Sampler,
    epsilon: Epsilon,
    grid: TimeGrid,
    x: Tensor,
    noise: NoiseSource,
    budget: int | None = None,
    passes: Callable[[], int] | None = None,
) -> Drawing:
    """One batch through one sampler, `final=denoise` included, with what it returns checked.

    budget: the most evaluations a sample may cost. passes: how many rows the networks behind `epsilon` have been run on
    so far, counted where they run, one an evaluation; it is compared with what the sampler asked for, and Miscounted
    raised where the two differ.
    """
    import torch

    meter, before = Meter(epsilon, len(x), budget), passes() if passes else 0
    eps = meter.denoiser()
    denoise = sampler.final == "denoise" and grid.times[-1] > 0
    with torch.no_grad():
        with meter.reserve(1 if denoise else 0), contained(sampler.name):
            x0 = sampler.sample(eps, grid, x, noise)
        _check(sampler, x0, x)
        if denoise:
            x0 = (x0 - grid.sigma[-1] * eps(x0, grid.times[-1])) / grid.alpha[-1]
            _check(sampler, x0, x)
    evaluations = meter.evaluations
    if passes:
        run, asked = passes() - before, round(float(evaluations.sum()))
        if run != asked:
            raise Miscounted(f"{sampler.name} had the network run on {run} rows, and was counted {asked}")
    return Drawing(x0, evaluations)


def _check(sampler: Sampler, x0: object, x: Tensor) -> None:
    import torch

    if not isinstance(x0, torch.Tensor):
        raise BadSample(f"{sampler.name} returned {type(x0).__name__}, expected a tensor")
    if x0.shape != x.shape:
        raise BadSample(f"{sampler.name} returned shape {list(x0.shape)}, expected {list(x.shape)}")
    if x0.device != x.device:
        raise BadSample(f"{sampler.name} returned a tensor on {x0.device}, expected {x.device}")
    if x0.dtype != x.dtype:
        raise BadSample(f"{sampler.name} returned {x0.dtype}, expected {x.dtype}")
    if x0.requires_grad:
        raise BadSample(f"{sampler.name} returned a tensor that requires a gradient; detach it")
    if not torch.isfinite(x0).all():
        bad = int((~torch.isfinite(x0.flatten(1)).all(dim=1)).sum())
        raise BadSample(f"{sampler.name} returned NaN or infinite values in {bad} of {len(x0)} samples")
