"""What a sampler claims, measured: evaluations, budget, order, and the moments of one that draws noise."""

from __future__ import annotations

import math
from functools import cache

from torch import Tensor

from ..diffusion.schedule import NoiseSchedule
from ..diffusion.spacing import explicit_times
from ..errors import BudgetExceeded, TooFewEvaluations
from ..sampler import Sampler
from ..sampling import plan_grid
from .finding import Failed, Inapplicable
from .mixture import GaussianMixture
from .reads import reads
from .rig import CONTINUOUS, noise_of, quadratic_grid, run, some_grid

__all__ = ["budget", "evaluations", "moments", "order"]

ORDER, ERRORS = 0.3, 4
"""Tolerances: of an order; of moments, in standard errors."""


def evaluations(sampler: Sampler, path: NoiseSchedule) -> str:
    """Counted evaluations equal the declared ones, for every number of steps up to 20."""
    if sampler.adaptive or explicit_times(sampler.spacing):
        raise Inapplicable("its steps are not ours to choose")
    truth, extra = GaussianMixture(path), 1 if sampler.final == "denoise" else 0
    counts = range(sampler.fewest_steps, 21)
    for steps in counts:
        got = run(sampler, truth, some_grid(sampler, path, steps), noise_of(2)).nfe
        if got != sampler.evaluations(steps) + extra:
            raise Failed(f"{steps} steps took {got:g} evaluations, declared {sampler.evaluations(steps) + extra}")
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
    truth, noise = GaussianMixture(path), noise_of(1, (200,))
    x, exact = _solved(path)
    errors = []
    for steps in (80, 160):
        got = run(sampler, truth, quadratic_grid(path, steps), noise, x.clone(), denoise=False).x0
        errors.append(float((got - exact).square().mean().sqrt()))
    measured = math.log2(errors[0] / errors[1])
    text = f"measured {measured:.2f}, declared {declared:g} or more, within {ORDER}; error {errors[1]:.1e} at 160 steps"
    if not measured >= declared - ORDER:
        raise Failed(text)
    return text


@cache
def _solved(path: NoiseSchedule) -> tuple[Tensor, Tensor]:
    """x_T of 200 numbers, and the solution of the probability-flow ODE from there, in the path's own coordinates."""
    x, ends = noise_of(1, (200,)).x_T(), quadratic_grid(path, 1)
    start = x * path.prior(ends.times[0])
    return x, ends.scale[-1] * GaussianMixture(path).solution(start, ends.times[0], ends.times[-1])


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
