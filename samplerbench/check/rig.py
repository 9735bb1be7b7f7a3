"""What the checks run samplers with: grids, noise, and the core's own way to draw, with a second count below it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..diffusion.grid import TimeGrid
from ..diffusion.noise import NoiseSource
from ..diffusion.schedule import NoiseSchedule
from ..diffusion.vp import VPSchedule, linear_schedule
from ..drawing import Drawing, draw
from ..sampler import Sampler
from ..sampling import fixed_steps, plan_grid
from .mixture import GaussianMixture

__all__ = ["CONTINUOUS", "DISCRETE", "noise_of", "quadratic_grid", "run", "some_grid"]

DISCRETE, CONTINUOUS = linear_schedule(), VPSchedule()
MOST = 5_000  # evaluations a sample: 1,000 steps of a method of four stages, and an end to a loop that has none


def run(
    sampler: Sampler,
    truth: GaussianMixture,
    grid: TimeGrid,
    noise: NoiseSource,
    x: Tensor | None = None,
    budget: int = MOST,
    denoise: bool = True,
) -> Drawing:
    """Draws as a benchmark does. What the core counted is compared with what every ground truth was asked. denoise:
    whether `final=denoise` is heeded.
    """
    if sampler.final == "denoise" and not denoise:
        sampler = replace(sampler, final="none")
    x = noise.x_T() if x is None else x
    return draw(sampler, truth, grid, x, noise, budget, passes=lambda: GaussianMixture.rows)


def noise_of(
    count: int, shape: tuple[int, ...] = (4,), dtype: torch.dtype = torch.float64, seed: int = 1
) -> NoiseSource:
    """The noise of samples 0..count-1."""
    return NoiseSource(seed, range(count), shape, dtype=dtype)


def some_grid(sampler: Sampler, schedule: NoiseSchedule = DISCRETE, steps: int = 12) -> TimeGrid:
    """A grid of the sampler's own, of `steps` steps, or of as many as its fewest are, or as its times are."""
    fixed = fixed_steps(sampler)
    return plan_grid(sampler, schedule, steps=fixed[-1] if fixed else max(steps, sampler.fewest_steps))


def quadratic_grid(path: NoiseSchedule, steps: int, end: tuple[float, ...] = ()) -> TimeGrid:
    """Twice the steps halve every one of them: times even in √t on the continuous VP schedule, and the times of the
    same λ on another path, as far as it reaches. Nothing is snapped.
    """
    first, last = path.first_time(pure_noise=False), path.t_min
    if path == CONTINUOUS:
        ends = (first, last)
    else:
        least = float(CONTINUOUS.half_log_snr(CONTINUOUS.t_max))
        most = float(CONTINUOUS.half_log_snr(CONTINUOUS.t_min))
        first = first if float(path.half_log_snr(first)) >= least else float(path.time(least))
        last = last if float(path.half_log_snr(last)) <= most else float(path.time(most))
        ends = float(CONTINUOUS.time(path.half_log_snr(first))), float(CONTINUOUS.time(path.half_log_snr(last)))
    even = np.linspace(math.sqrt(ends[0]), math.sqrt(ends[1]), steps + 1) ** 2
    times = even if path == CONTINUOUS else path.time(CONTINUOUS.half_log_snr(even))
    times[0], times[-1] = first, last
    return TimeGrid(path, (*times.tolist(), *end))
