"""Running one sampler once: on a trained model inside a benchmark, or on any ε(x, t) from a notebook or a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .diffusion.denoiser import Epsilon
from .diffusion.grid import MOST_STEPS, TimeGrid
from .diffusion.noise import NoiseSource
from .diffusion.schedule import NoiseSchedule
from .diffusion.spacing import explicit_times
from .drawing import draw
from .errors import TooFewEvaluations, UserError
from .options import whole_number
from .sampler import Sampler

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Samples", "plan_grid", "sample"]


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
        eps: `eps(x, t)`, x [B, ...] and t a time of `schedule` (a float) -> the predicted noise, of x's shape. x is in
            variance-preserving coordinates: a network that wants the path's own is asked at `schedule.scale(t) * x`.
        schedule: the path that `eps` belongs to.
        x: standard normal noise, [B, ...]: any shape, device and float dtype.
        nfe: a budget of evaluations, enforced; or
        steps: the number of steps of the sampler's own grid; or
        times: the decreasing times themselves, the last of which may be 0. Given with `nfe`, that is their budget, by
            which `dpm-solver:mode=fast` chooses the orders of its last steps.
        seed: of the noise that stochastic samplers add.

    Raises:
        UserError: unknown sampler or option, budget too small, impossible grid.
        BudgetExceeded, BadNoise, BadSample: the sampler or ε misbehaved.
    """
    if (nfe is None) == (steps is None) and (times is None or steps is not None):
        raise UserError("give nfe, steps or times, and no two but times with nfe")
    if steps is not None and times is not None:
        raise UserError("give steps or times, not both")
    if isinstance(sampler, str):
        from .plugins import load_plugins

        sampler = load_plugins().sampler(sampler)
    if times is not None:
        grid = _listed(sampler, schedule, tuple(float(t) for t in times))
    else:
        grid = plan_grid(sampler, schedule, nfe=nfe, steps=steps)
    noise = NoiseSource(seed, range(len(x)), x.shape[1:], x.device, x.dtype)
    drawing = draw(sampler, eps, grid, x, noise, budget=nfe)
    return Samples(drawing.x0, drawing.nfe)


def plan_grid(sampler: Sampler, schedule: NoiseSchedule, nfe: int | None = None, steps: int | None = None) -> TimeGrid:
    """The grid of a sampler for a budget of evaluations, or for a number of steps.

    Raises TooFewEvaluations where the budget is too small for the sampler, UserError where the grid is impossible, and
    ValueError where what the sampler claims is.
    """
    listed = explicit_times(sampler.spacing)
    extra = 1 if sampler.final == "denoise" else 0
    if nfe is not None:
        if nfe < 1:
            raise UserError(f"nfe is at least 1, got {nfe}")
        if nfe <= extra:
            raise TooFewEvaluations(f"{sampler.name} with final=denoise needs more than {nfe} evaluations")
        steps = whole_number(f"{sampler.name}.steps({nfe - extra})", sampler.steps(nfe - extra), 1)
        if steps > MOST_STEPS:
            raise ValueError(f"{sampler.name}.steps({nfe - extra}) is {steps}, more than a grid can have, {MOST_STEPS}")
        if listed is not None:
            if len(listed) - 1 > steps:
                raise TooFewEvaluations(f"{len(listed) - 1} steps of listed times need more than {nfe} evaluations")
            steps = len(listed) - 1
    assert steps is not None
    start = schedule.first_time(sampler.starts_at_pure_noise)
    if listed is not None:
        _listed(sampler, schedule, listed)
    if sampler.adaptive:
        return TimeGrid(schedule, listed or (start, schedule.t_min))
    _check_enough(sampler, steps)
    return TimeGrid.make(schedule, steps, sampler.spacing, sampler.final, sampler.rho, start)


def _listed(sampler: Sampler, schedule: NoiseSchedule, times: tuple[float, ...]) -> TimeGrid:
    """The grid of listed times. Raises UserError where they are none, or none for this sampler."""
    grid, start = TimeGrid(schedule, times), schedule.first_time(sampler.starts_at_pure_noise)
    if times[0] > start:
        alpha = f"α is {float(schedule.alpha(times[0])):.2g}"
        raise UserError(f"{sampler.name} cannot start at time {times[0]:g}, where {alpha}; start at {start:g} or below")
    if sampler.adaptive and grid.steps > 1:
        raise UserError(f"{sampler.name} chooses its own times between the first and the last; list those two")
    if not sampler.adaptive:
        _check_enough(sampler, grid.steps)
    return grid


def _check_enough(sampler: Sampler, steps: int) -> None:
    if steps < sampler.fewest_steps:
        raise UserError(
            f"{sampler.name} takes at least {sampler.fewest_steps} steps "
            f"({sampler.evaluations(sampler.fewest_steps)} evaluations), got {steps}"
        )
