"""What a sampler claims, measured: evaluations, budget, order, and the moments of one that draws noise."""

from __future__ import annotations

import math
from functools import cache

from torch import Tensor

from ..diffusion.grid import TimeGrid
from ..diffusion.schedule import NoiseSchedule
from ..errors import BudgetExceeded, TooFewEvaluations, UserError
from ..sampler import OWN_GRID, Sampler
from ..sampling import fixed_steps, plan_grid
from .finding import Failed, Inapplicable
from .mixture import GaussianMixture
from .reads import reads
from .rig import CONTINUOUS, noise_of, quadratic_grid, run, some_grid

__all__ = ["budget", "evaluations", "moments", "order"]

LADDER = (80, 160)
ORDER, ERRORS = 0.3, 4
"""Tolerances: of an order; of moments, in standard errors."""


def evaluations(sampler: Sampler, path: NoiseSchedule) -> str:
    """Counted evaluations equal the declared ones, for every number of steps up to 20."""
    if sampler.adaptive or fixed_steps(sampler):
        raise Inapplicable("its steps are not ours to choose")
    truth, extra = GaussianMixture(path), 1 if sampler.final == "denoise" else 0
    counts = range(sampler.fewest_steps, 21)
    for steps in counts:
        got = run(sampler, truth, some_grid(sampler, path, steps), noise_of(2)).nfe
        if got != (declared := sampler.evaluations(steps) + extra):
            raise Failed(f"{steps} step{'' if steps == 1 else 's'} took {got:g} evaluations, declared {declared}")
    return f"{counts[0]} to {counts[-1]} steps take {got:g} at {counts[-1]}, as declared"


def budget(sampler: Sampler, path: NoiseSchedule) -> str:
    """No budget up to 60 is exceeded; what is too small is said to be."""
    truth, smallest = GaussianMixture(path), None
    for budget in range(1, 61):
        try:
            grid = plan_grid(sampler, path, nfe=budget)
        except TooFewEvaluations:
            continue
        smallest = smallest or budget
        try:
            got = run(sampler, truth, grid, noise_of(2), budget=budget).nfe
        except BudgetExceeded as error:
            raise Failed(f"on a budget of {budget}: {error}") from None
        if got > budget:
            raise Failed(f"took {got:g} evaluations on a budget of {budget}")
    if smallest is None:
        raise Failed("no budget up to 60 was enough")
    return f"{smallest} to 60 evaluations"


def order(sampler: Sampler, path: NoiseSchedule) -> str:
    """The order of convergence against a tight solution of the probability-flow ODE, between 80 and 160 steps, is at
    least the claimed one.

    Of a sampler that reads the time itself the claim is of the continuous VP path. Elsewhere a claim between two whole
    numbers, which is what was seen there, is the lower of them. On a discrete path, where λ has a kink at each label,
    polynomials in time are of order 2 at most.
    """
    if sampler.stochastic:
        raise Inapplicable("stochastic: no single solution to converge to")
    if sampler.adaptive:
        raise Inapplicable("adaptive: no number of steps to double")
    declared = sampler.global_order
    if declared is None:
        raise Inapplicable("it claims no order")
    if path != CONTINUOUS and reads(sampler):
        declared = min(math.floor(declared), 2) if path.discrete else math.floor(declared)
    truth, noise, errors = GaussianMixture(path), noise_of(1, (200,)), []
    grids, own = _ladder(sampler, path), sampler.spacing == OWN_GRID
    for grid in grids:
        x, exact = _solved(path, grid.times[0], grid.times[-1])
        got = run(sampler, truth, grid, noise, x.clone(), denoise=False).x0
        errors.append(float((got - exact).square().mean().sqrt()))
    measured = math.log(errors[0] / errors[1]) / math.log(grids[1].steps / grids[0].steps)
    text = f"measured {measured:.2f}{' on its own grid' if own else ''}, declared {declared:g} or more, within {ORDER}"
    text += f"; error {errors[1]:.1e} at {grids[1].steps} steps"
    if not measured >= declared - ORDER:
        raise Failed(text)
    return text


def _ladder(sampler: Sampler, path: NoiseSchedule) -> list[TimeGrid]:
    """Two grids, the second of twice the steps: the sampler's own where it has one, without a last step to the data."""
    if sampler.spacing != OWN_GRID:
        return [quadratic_grid(path, steps) for steps in LADDER]
    try:
        grids = [plan_grid(sampler, path, steps=steps) for steps in LADDER]
    except UserError as reason:
        raise Inapplicable(f"its own grid has no such steps: {reason}") from None
    return [TimeGrid(path, grid.times[:-1]) if grid.times[-1] == 0 else grid for grid in grids]


@cache
def _solved(path: NoiseSchedule, first: float, last: float) -> tuple[Tensor, Tensor]:
    """x_T of 200 numbers, and the solution of the probability-flow ODE from there, in the path's own coordinates."""
    x, ends = noise_of(1, (200,)).x_T(), TimeGrid(path, (first, last))
    start = x * path.prior(first)
    return x, ends.scale[-1] * GaussianMixture(path).solution(start, first, last)


def moments(sampler: Sampler, path: NoiseSchedule) -> str:
    """Mean and variance of x_0 in 1,000 steps where the data is Gaussian, within four Monte-Carlo standard errors."""
    if not sampler.stochastic:
        raise Inapplicable("deterministic: see order")
    mean, deviation = 0.1, 0.2  # narrow, so that samplers that clip x_0 to [-1, 1] do not change it
    truth = GaussianMixture(path, means=(mean,), deviations=(deviation,), weights=(1.0,))
    grid = quadratic_grid(path, 1000, (0.0,) if sampler.final == "zero" else ())
    noise = noise_of(20, (500,))
    x0 = run(sampler, truth, grid, noise, denoise=False).x0
    scale = grid.scale[-1]
    expected = scale * grid.alpha[-1] * mean, scale**2 * ((grid.alpha[-1] * deviation) ** 2 + grid.sigma[-1] ** 2)
    n, got = x0.numel(), (float(x0.mean()), float(x0.var()))
    allowed = ERRORS * math.sqrt(expected[1] / n), ERRORS * expected[1] * math.sqrt(2 / n)
    pairs = zip(("mean", "variance"), got, expected, allowed, strict=True)
    text = ", ".join(f"{name} {g:.4f} for {e:.4f} ± {a:.4f}" for name, g, e, a in pairs)
    if not all(abs(g - e) <= a for g, e, a in zip(got, expected, allowed, strict=True)):
        raise Failed(text)
    return text
