"""The checks of `samplerbench check`. Each takes a sampler and returns what it found; one that raises has failed."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ..diffusion.denoiser import Time
from ..diffusion.grid import TimeGrid
from ..diffusion.noise import NoiseSource
from ..diffusion.spacing import SPACINGS, explicit_times
from ..drawing import BadSample
from ..errors import BudgetExceeded, TooFewEvaluations, UserError, one_line
from ..sampler import Sampler
from ..sampling import plan_grid
from ..settings import GENERATORS, SETTINGS, changed, states
from .mixture import GaussianMixture
from .rig import CONTINUOUS, DISCRETE, Failed, Inapplicable, noise_of, quadratic_grid, run, some_grid

__all__ = ["CHECKS", "Finding", "check_sampler"]

ORDER, ERRORS, ROUNDING, EQUAL = 0.3, 4, 1e-5, 1e-6
"""Tolerances: of an order; of moments, in standard errors; of float32; of two ways to compute the same."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check. verdict: passed, failed or skipped. details: a traceback where the sampler raised."""

    check: str
    verdict: str
    text: str
    details: str = ""


def check_sampler(sampler: Sampler) -> list[Finding]:
    """Every check of one sampler, in seconds on a CPU."""
    findings, before = [], states(SETTINGS)
    for name, check in CHECKS.items():
        finding = _finding(name, check, sampler)
        if names := changed(SETTINGS, before):
            finding = Finding(name, "failed", f"it changed {' and '.join(names)}", finding.details)
        findings.append(finding)
    return findings


def _finding(name: str, check: Callable[[Sampler], str], sampler: Sampler) -> Finding:
    try:
        return Finding(name, "passed", check(sampler))
    except Inapplicable as reason:
        return Finding(name, "skipped", str(reason))
    except Failed as reason:
        return Finding(name, "failed", str(reason))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: it is this check's, not the program's, end
        return Finding(name, "failed", one_line(error), traceback.format_exc())


def _evaluations(sampler: Sampler) -> str:
    """Counted evaluations equal the declared ones, for every number of steps up to 20."""
    if sampler.adaptive or explicit_times(sampler.spacing):
        raise Inapplicable("its steps are not ours to choose")
    truth, extra = GaussianMixture(DISCRETE), 1 if sampler.final == "denoise" else 0
    counts = range(sampler.fewest_steps, 21)
    for steps in counts:
        got = run(sampler, truth, some_grid(sampler, steps=steps), noise_of(2)).nfe
        if got != sampler.evaluations(steps) + extra:
            raise Failed(f"{steps} steps took {got:g} evaluations, declared {sampler.evaluations(steps) + extra}")
    return f"{counts[0]} to {counts[-1]} steps take {got:g} at {counts[-1]}, as declared"


def _budget(sampler: Sampler) -> str:
    """No budget up to 60 is exceeded; what is too small is said to be."""
    truth, smallest = GaussianMixture(DISCRETE), None
    for budget in range(1, 61):
        try:
            grid = plan_grid(sampler, DISCRETE, nfe=budget)
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


def _order(sampler: Sampler) -> str:
    """The order of convergence against a tight solution of the probability-flow ODE, between 80 and 160 steps, is at
    least the claimed one.
    """
    if sampler.stochastic:
        raise Inapplicable("stochastic: no single solution to converge to")
    if sampler.adaptive:
        raise Inapplicable("adaptive: no number of steps to double")
    declared = sampler.global_order
    if declared is None:
        raise Inapplicable("it claims no order")
    truth, noise = GaussianMixture(CONTINUOUS), noise_of(1, (200,))
    x, exact = _solved()
    errors = []
    for steps in (80, 160):
        got = run(sampler, truth, quadratic_grid(steps), noise, x.clone(), denoise=False).x0
        errors.append(float((got - exact).square().mean().sqrt()))
    measured = math.log2(errors[0] / errors[1])
    text = f"measured {measured:.2f}, declared {declared:g} or more, within {ORDER}; error {errors[1]:.1e} at 160 steps"
    if not measured >= declared - ORDER:
        raise Failed(text)
    return text


@cache
def _solved() -> tuple[Tensor, Tensor]:
    """x_T of 200 numbers, and the solution of the probability-flow ODE from there."""
    x = noise_of(1, (200,)).x_T()
    return x, GaussianMixture(CONTINUOUS).solution(x, CONTINUOUS.t_max, CONTINUOUS.t_min)


def _moments(sampler: Sampler) -> str:
    """Mean and variance of x_0 in 1,000 steps where the data is Gaussian, within four Monte-Carlo standard errors."""
    if not sampler.stochastic:
        raise Inapplicable("deterministic: see order")
    mean, deviation = 0.1, 0.2  # narrow, so that samplers that clip x_0 to [-1, 1] do not change it
    truth = GaussianMixture(CONTINUOUS, means=(mean,), deviations=(deviation,), weights=(1.0,))
    grid = quadratic_grid(1000, (0.0,) if sampler.final == "zero" else ())
    noise = noise_of(20, (500,))
    x0 = run(sampler, truth, grid, noise, denoise=False).x0
    expected = grid.alpha[-1] * mean, (grid.alpha[-1] * deviation) ** 2 + grid.sigma[-1] ** 2
    n, got = x0.numel(), (float(x0.mean()), float(x0.var()))
    allowed = ERRORS * math.sqrt(expected[1] / n), ERRORS * expected[1] * math.sqrt(2 / n)
    pairs = zip(("mean", "variance"), got, expected, allowed, strict=True)
    text = ", ".join(f"{name} {g:.4f} for {e:.4f} ± {a:.4f}" for name, g, e, a in pairs)
    if not all(abs(g - e) <= a for g, e, a in zip(got, expected, allowed, strict=True)):
        raise Failed(text)
    return text


def _noise(sampler: Sampler) -> str:
    """Where it claims to be stochastic other noise gives another result; where it does not, the same."""
    truth, grid, x = GaussianMixture(DISCRETE), some_grid(sampler), noise_of(6).x_T()
    one, other = (run(sampler, truth, grid, noise_of(6, seed=seed), x).x0 for seed in (1, 2))
    change = float((one - other).abs().max())
    if sampler.stochastic and not change > EQUAL:
        raise Failed(f"it claims to be stochastic; other noise changes its result by {change:.1e}, not above {EQUAL:g}")
    if not sampler.stochastic and change > 0:
        raise Failed(
            f"it claims to be deterministic, and other noise changes its result by {change:.1e}; the property "
            "`stochastic` of a sampler that draws noise returns True"
        )
    return f"other noise changes its result by {change:.1e}" if change else "other noise changes nothing"


def _images(sampler: Sampler) -> str:
    """Images of one to three channels, square and not: each number becomes what it becomes in a row of numbers."""
    truth, grid, shapes = GaussianMixture(DISCRETE), some_grid(sampler), ((1, 6, 10), (3, 8, 4), (2, 5, 5))
    for shape in shapes:
        images = run(sampler, truth, grid, noise_of(2, shape)).x0
        row = run(sampler, truth, grid, noise_of(2, (math.prod(shape),))).x0
        difference = float((images.flatten(1) - row).abs().max())
        if not difference <= EQUAL:
            raise Failed(f"images {list(shape)} differ by {difference:.1e} from the same numbers in a row ({EQUAL:g})")
    return f"{' and '.join(str([2, *shape]) for shape in shapes)} are the same numbers as in a row, within {EQUAL:g}"


def _gradients(sampler: Sampler) -> str:
    """It runs where gradients are switched off, and what it returns has none."""
    calls: list[bool] = []

    class Watched(GaussianMixture):
        def exact(self, x: Tensor, t: Time) -> Tensor:
            calls.append(torch.is_grad_enabled() and x.requires_grad)
            return super().exact(x, t)

    noise = noise_of(2)
    x = noise.x_T()
    run(sampler, Watched(DISCRETE), some_grid(sampler), noise, x)
    if x.requires_grad or x.grad is not None:
        raise Failed("it had gradients taken of the x_T it was given; x.detach().requires_grad_() is its own")
    return f"it takes gradients of ε, in {sum(calls)} of {len(calls)} evaluations" if any(calls) else "it needs none"


def _batch(sampler: Sampler) -> str:
    """A sample alone is the same sample in a batch, bit for bit."""
    truth, grid = GaussianMixture(DISCRETE), some_grid(sampler)
    whole = run(sampler, truth, grid, noise_of(6)).x0
    alone = run(sampler, truth, grid, NoiseSource(1, [4], (4,), dtype=torch.float64)).x0
    difference = float((alone - whole[4:5]).abs().max())
    if difference > 0:
        raise Failed(f"sample 4 of 6 differs by {difference:.1e} from itself alone")
    return "a sample of six is itself alone"


def _repeatable(sampler: Sampler) -> str:
    """Two runs are identical, no global random state is touched, and x_T is not modified."""
    truth, grid, noise = GaussianMixture(DISCRETE), some_grid(sampler), noise_of(6)
    x = noise.x_T()
    before, generators = x.clone(), states(GENERATORS)
    first = run(sampler, truth, grid, noise, x).x0
    if not torch.equal(x, before):
        raise Failed("it changed x_T in place")
    for library in changed(GENERATORS, generators):
        raise Failed(f"it drew from the global generator of {library}; noise(i) is what it is given")
    if not torch.equal(run(sampler, truth, grid, noise, x).x0, first):
        raise Failed("two runs differ")
    return "two runs agree; x_T and global random states are as they were"


def _precision(sampler: Sampler) -> str:
    """In float32 it is what it is in float64, but for rounding."""
    truth, grid = GaussianMixture(DISCRETE), some_grid(sampler)
    double = run(sampler, truth, grid, noise_of(50)).x0
    single = run(sampler, truth, grid, noise_of(50, dtype=torch.float32)).x0
    difference = float((single - double).abs().median())
    if not difference < ROUNDING:
        raise Failed(f"median difference {difference:.1e} between float32 and float64, expected below {ROUNDING:g}")
    return f"float32 differs from float64 by {difference:.1e} (median), below {ROUNDING:g}"


def _nan(sampler: Sampler) -> str:
    """A NaN from the network ends the run and is not hidden."""
    calls = 0

    class Failing(GaussianMixture):
        def exact(self, x: Tensor, t: Time) -> Tensor:
            nonlocal calls
            calls += 1
            return x * float("nan") if calls > 1 else x * 0.5

    try:
        run(sampler, Failing(DISCRETE), some_grid(sampler), noise_of(2), budget=3000)
    except BadSample:
        return f"reported after {calls} evaluations"
    except BudgetExceeded:
        raise Failed(f"still going after {calls} evaluations") from None
    raise Failed("the network gave NaN, and the samples do not show it")


def _spacings(sampler: Sampler) -> str:
    """It runs on every spacing, on a discrete and a continuous schedule, at the times that the spacing gives."""
    if explicit_times(sampler.spacing):
        raise Inapplicable("its times are listed")
    visited: list[float] = []

    class Watched(GaussianMixture):
        def exact(self, x: Tensor, t: Time) -> Tensor:
            visited.append(float(torch.as_tensor(t).max()))
            return super().exact(x, t)

    seen: dict[tuple[float, ...], TimeGrid] = {}
    for schedule in (DISCRETE, CONTINUOUS):
        for spacing in SPACINGS:
            steps = max(12, sampler.fewest_steps)
            try:
                grid = plan_grid(sampler, schedule, steps=steps)
                if not sampler.adaptive:
                    grid = TimeGrid.make(schedule, steps, spacing, sampler.final)
                visited.clear()
                run(sampler, Watched(schedule), grid, noise_of(2))
            except (UserError, RuntimeError) as error:
                raise Failed(f"{spacing} on {schedule.config()['kind']}: {one_line(error)}") from error
            other = seen.setdefault(tuple(visited), grid)
            if other.times != grid.times:
                raise Inapplicable("its times are its own: two spacings gave the same")
            if sampler.adaptive:
                break
    if sampler.adaptive:
        return "its own times, discrete and continuous"
    return f"{', '.join(SPACINGS)}, discrete and continuous"


CHECKS: dict[str, Callable[[Sampler], str]] = {
    "evaluations": _evaluations,
    "budget": _budget,
    "order": _order,
    "moments": _moments,
    "noise": _noise,
    "images": _images,
    "gradients": _gradients,
    "batch": _batch,
    "repeatable": _repeatable,
    "precision": _precision,
    "nan": _nan,
    "spacings": _spacings,
}
