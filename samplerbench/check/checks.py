"""The checks of `samplerbench check`. Each takes a sampler and returns what it found; one that raises has failed."""

from __future__ import annotations

import math
import random
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..diffusion.denoiser import Epsilon, Meter, Time
from ..diffusion.grid import TimeGrid
from ..diffusion.noise import NoiseSource
from ..diffusion.schedule import NoiseSchedule, VPSchedule, linear_schedule
from ..diffusion.spacing import SPACINGS, explicit_times
from ..drawing import BadSample, Drawing, draw
from ..errors import BudgetExceeded, TooFewEvaluations, UserError, one_line
from ..sampler import Sampler
from ..sampling import plan_grid
from .mixture import GaussianMixture

__all__ = ["CHECKS", "Finding", "check_sampler"]

DISCRETE, CONTINUOUS = linear_schedule(), VPSchedule()


class Failed(Exception):
    """A check's own verdict: what was found, and what was expected."""


class Inapplicable(Exception):
    """The check says nothing of this sampler, for this reason."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check. verdict: passed, failed or skipped. details: a traceback where the sampler raised."""

    check: str
    verdict: str
    text: str
    details: str = ""


def check_sampler(sampler: Sampler) -> list[Finding]:
    """Every check of one sampler, in seconds on a CPU."""
    findings = []
    for name, check in CHECKS.items():
        try:
            findings.append(Finding(name, "passed", check(sampler)))
        except Inapplicable as reason:
            findings.append(Finding(name, "skipped", str(reason)))
        except Failed as reason:
            findings.append(Finding(name, "failed", str(reason)))
        except Exception as error:
            findings.append(Finding(name, "failed", one_line(error), traceback.format_exc()))
    return findings


def _noise(count: int, shape: tuple[int, ...] = (4,), dtype: torch.dtype = torch.float64) -> NoiseSource:
    return NoiseSource(1, range(count), shape, dtype=dtype)


def _run(
    sampler: Sampler,
    eps: Epsilon,
    grid: TimeGrid,
    noise: NoiseSource,
    x: Tensor | None = None,
    budget: int | None = None,
) -> Drawing:
    x = noise.x_T() if x is None else x
    return draw(sampler, eps, grid, x, noise, budget)


def _some_grid(sampler: Sampler, schedule: NoiseSchedule = DISCRETE, steps: int = 12) -> TimeGrid:
    listed = explicit_times(sampler.spacing)
    return plan_grid(sampler, schedule, steps=steps if listed is None else len(listed) - 1)


def _quadratic_grid(steps: int, end: tuple[float, ...] = ()) -> TimeGrid:
    """Times even in √t on the continuous schedule; nothing is snapped, so twice the steps halves every one of them."""
    times = np.linspace(math.sqrt(CONTINUOUS.t_max), math.sqrt(CONTINUOUS.t_min), steps + 1) ** 2
    times[0], times[-1] = CONTINUOUS.t_max, CONTINUOUS.t_min
    return TimeGrid(CONTINUOUS, (*times.tolist(), *end))


def _evaluations(sampler: Sampler) -> str:
    """Counted evaluations equal the declared ones, for every number of steps up to 20."""
    if sampler.adaptive or explicit_times(sampler.spacing):
        raise Inapplicable("its steps are not ours to choose")
    truth, extra = GaussianMixture(DISCRETE), 1 if sampler.final == "denoise" else 0
    counts = range(sampler.fewest_steps, 21)
    for steps in counts:
        got = _run(sampler, truth, _some_grid(sampler, steps=steps), _noise(2)).nfe
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
            got = _run(sampler, truth, grid, _noise(2), budget=budget).nfe
        except BudgetExceeded as error:
            raise Failed(f"on a budget of {budget}: {error}") from None
        if got > budget:
            raise Failed(f"took {got:g} evaluations on a budget of {budget}")
    if smallest is None:
        raise Failed("no budget up to 60 was enough")
    return f"{smallest} to 60 evaluations"


def _order(sampler: Sampler) -> str:
    """The order of convergence against a tight solution of the probability-flow ODE, between 80 and 160 steps."""
    if sampler.stochastic:
        raise Inapplicable("stochastic: no single solution to converge to")
    if sampler.adaptive:
        raise Inapplicable("adaptive: no number of steps to double")
    truth, noise = GaussianMixture(CONTINUOUS), _noise(1, (200,))
    x = noise.x_T()
    exact = truth.solution(x, CONTINUOUS.t_max, CONTINUOUS.t_min)
    errors = []
    for steps in (80, 160):
        got = sampler.sample(Meter(truth, 1).denoiser(), _quadratic_grid(steps), x, noise)
        errors.append(float((got - exact).square().mean().sqrt()))
    measured = math.log2(errors[0] / errors[1])
    text = f"measured {measured:.2f}, declared {sampler.global_order:g}; error {errors[1]:.1e} at 160 steps"
    if not abs(measured - sampler.global_order) <= 0.3:
        raise Failed(text)
    return text


def _moments(sampler: Sampler) -> str:
    """Mean and variance of x_0 in 1,000 steps where the data is Gaussian, within four Monte-Carlo standard errors."""
    if not sampler.stochastic:
        raise Inapplicable("deterministic: see order")
    mean, deviation = 0.1, 0.2  # narrow, so that samplers that clip x_0 to [-1, 1] do not change it
    truth = GaussianMixture(CONTINUOUS, means=(mean,), deviations=(deviation,), weights=(1.0,))
    grid = _quadratic_grid(1000, (0.0,) if sampler.final == "zero" else ())
    noise = _noise(20, (500,))
    x0 = sampler.sample(Meter(truth, 20).denoiser(), grid, noise.x_T(), noise)
    expected = grid.alpha[-1] * mean, (grid.alpha[-1] * deviation) ** 2 + grid.sigma[-1] ** 2
    n, got = x0.numel(), (float(x0.mean()), float(x0.var()))
    errors = math.sqrt(expected[1] / n), expected[1] * math.sqrt(2 / n)
    text = f"mean {got[0]:.4f} for {expected[0]:.4f}, variance {got[1]:.4f} for {expected[1]:.4f}"
    if not all(abs(g - e) <= 4 * error for g, e, error in zip(got, expected, errors, strict=True)):
        raise Failed(text)
    return text


def _batch(sampler: Sampler) -> str:
    """A sample alone is the same sample in a batch, bit for bit."""
    truth, grid = GaussianMixture(DISCRETE), _some_grid(sampler)
    whole = _run(sampler, truth, grid, _noise(6)).x0
    alone = _run(sampler, truth, grid, NoiseSource(1, [4], (4,), dtype=torch.float64)).x0
    difference = float((alone - whole[4:5]).abs().max())
    if difference > 0:
        raise Failed(f"sample 4 of 6 differs by {difference:.1e} from itself alone")
    return "a sample of six is itself alone"


def _repeatable(sampler: Sampler) -> str:
    """Two runs are identical, no global random state is touched, and x_T is not modified."""
    truth, grid, noise = GaussianMixture(DISCRETE), _some_grid(sampler), _noise(6)
    x = noise.x_T()
    before, states = x.clone(), _global_states()
    first = _run(sampler, truth, grid, noise, x).x0
    if not torch.equal(x, before):
        raise Failed("it changed x_T in place")
    for library, now in _global_states().items():
        if now != states[library]:
            raise Failed(f"it drew from the global generator of {library}; noise(i) is what it is given")
    if not torch.equal(_run(sampler, truth, grid, noise, x).x0, first):
        raise Failed("two runs differ")
    return "two runs agree; x_T and global random states are as they were"


def _global_states() -> dict[str, object]:
    return {
        "torch": torch.random.get_rng_state().numpy().tobytes(),
        "numpy": repr(np.random.get_state()),
        "random": random.getstate(),
    }


def _precision(sampler: Sampler) -> str:
    """In float32 it is what it is in float64, but for rounding."""
    truth, grid = GaussianMixture(DISCRETE), _some_grid(sampler)
    double = _run(sampler, truth, grid, _noise(50)).x0
    single = _run(sampler, truth, grid, _noise(50, dtype=torch.float32)).x0
    difference = float((single - double).abs().median())
    if not difference < 1e-5:
        raise Failed(f"median difference {difference:.1e} between float32 and float64, expected below 1e-5")
    return f"float32 differs from float64 by {difference:.1e} (median)"


def _nan(sampler: Sampler) -> str:
    """A NaN from the network ends the run and is not hidden."""
    calls = 0

    class Failing(GaussianMixture):
        def __call__(self, x: Tensor, t: Time) -> Tensor:
            nonlocal calls
            calls += 1
            return x * float("nan") if calls > 1 else x * 0.5

    try:
        _run(sampler, Failing(DISCRETE), _some_grid(sampler), _noise(2), budget=3000)
    except BadSample:
        return f"reported after {calls} evaluations"
    except BudgetExceeded:
        raise Failed(f"still going after {calls} evaluations") from None
    raise Failed("the network gave NaN, and the samples do not show it")


def _spacings(sampler: Sampler) -> str:
    """It runs on every spacing, on a discrete and a continuous schedule."""
    if explicit_times(sampler.spacing):
        raise Inapplicable("its times are listed")
    for schedule in (DISCRETE, CONTINUOUS):
        truth = GaussianMixture(schedule)
        for spacing in SPACINGS:
            try:
                steps = 1 if sampler.adaptive else 12
                grid = plan_grid(sampler, schedule, steps=steps)
                if not sampler.adaptive:
                    grid = TimeGrid.make(schedule, steps, spacing, sampler.final)
                _run(sampler, truth, grid, _noise(2))
            except (UserError, RuntimeError) as error:
                raise Failed(f"{spacing} on {schedule.config()['kind']}: {one_line(error)}") from error
    return f"{', '.join(SPACINGS)}, discrete and continuous"


CHECKS: dict[str, Callable[[Sampler], str]] = {
    "evaluations": _evaluations,
    "budget": _budget,
    "order": _order,
    "moments": _moments,
    "batch": _batch,
    "repeatable": _repeatable,
    "precision": _precision,
    "nan": _nan,
    "spacings": _spacings,
}
