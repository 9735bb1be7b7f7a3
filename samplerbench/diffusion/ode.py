"""The probability-flow ODE of a model, solved as closely as is asked for: what every deterministic sampler approaches.

With x̄ = x/α and ρ = σ/α it reads dx̄/dρ = ε_θ(x, t) (Song et al. 2021a, eq. 14), whose right side is bounded and slow,
so the classical Runge-Kutta method in ρ does well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .denoiser import Epsilon
from .schedule import NoiseSchedule

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FlowSolution", "evaluations", "integrate_flow", "solve_flow"]

FEWEST, MOST = 20, 640  # steps


@dataclass(frozen=True)
class FlowSolution:
    """x_min: [B, ...] at the schedule's smallest time; x0: the data predicted there, where samplers of `final=zero`
    end. error: estimated root mean square error of x_min a pixel; evaluations: of the finest solution.
    """

    x_min: Tensor
    x0: Tensor
    error: float
    evaluations: int


def solve_flow(
    epsilon: Epsilon,
    schedule: NoiseSchedule,
    x: Tensor,
    tolerance: float = 1e-3,
    most_steps: int = MOST,
    start: float | None = None,
    told: Callable[[int, int], None] = lambda step, steps: None,
) -> FlowSolution:
    """From x, [B, ...] at time `start` (where a sampler starts that cannot start at α = 0, without one), to `t_min`; in
    variance-preserving coordinates, as x, which is what sampling starts from. Steps are doubled until two
    solutions differ by no more than three times the tolerance (a method of the fourth order is then nearer than that;
    of the second, as near). told: of each step, and of how many it is one.
    """
    steps, begin = FEWEST, schedule.first_time(pure_noise=False) if start is None else start
    coarse = integrate_flow(epsilon, schedule, x, steps, begin, schedule.t_min, told)
    while True:
        steps *= 2
        fine = integrate_flow(epsilon, schedule, x, steps, begin, schedule.t_min, told)
        error = float((fine - coarse).square().mean().sqrt()) / 3
        if error <= tolerance or steps >= most_steps:
            break
        coarse = fine
    alpha, sigma = float(schedule.alpha(schedule.t_min)), float(schedule.sigma(schedule.t_min))
    x0 = (fine - sigma * epsilon(fine.to(x.dtype), schedule.t_min).double()) / alpha
    return FlowSolution(fine, x0, error, 4 * steps + 1)


def evaluations() -> tuple[int, int]:
    """The fewest and the most evaluations a sample that `solve_flow` takes in all."""
    most = 2 * MOST - FEWEST  # 20 + 40 + … + 640 steps
    return 4 * 3 * FEWEST + 1, 4 * most + 1


def integrate_flow(
    epsilon: Epsilon,
    schedule: NoiseSchedule,
    x: Tensor,
    steps: int,
    begin: float,
    end: float,
    told: Callable[[int, int], None] = lambda step, steps: None,
) -> Tensor:
    """x, [B, ...] at time `begin`, taken to time `end` in `steps` Runge-Kutta steps of the fourth order, finer towards
    the data as in Karras et al. 2022, eq. 5. float64, in variance-preserving coordinates, as x. told: see `solve_flow`.
    """
    ends = np.exp(-schedule.half_log_snr([begin, end])) ** (1 / 7)
    rho = np.linspace(ends[0], ends[1], steps + 1) ** 7

    def slope(scaled: Tensor, at: float) -> Tensor:
        t = float(np.clip(schedule.time(-np.log(at)), end, begin))
        return epsilon((scaled * float(schedule.alpha(t))).to(x.dtype), t).double()

    scaled = x.double() / float(schedule.alpha(begin))
    for step, (here, there) in enumerate(pairwise(map(float, rho)), 1):
        h, middle = there - here, (here + there) / 2
        one = slope(scaled, here)
        two = slope(scaled + h / 2 * one, middle)
        three = slope(scaled + h / 2 * two, middle)
        four = slope(scaled + h * three, there)
        scaled = scaled + h / 6 * (one + 2 * two + 2 * three + four)
        told(step, steps)
    return scaled * float(schedule.alpha(end))
