"""What a sampler reads of a grid besides α, σ and λ: the time itself (a polynomial in t), or the path's own scale.

Then its steps differ between paths, as they must. Two paths tell, each of which is VP but for one of the two: the clock
runs otherwise on one, the scale is another on the other.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from ..diffusion.grid import TimeGrid
from ..diffusion.schedule import Array, NoiseSchedule
from ..diffusion.vp import VPSchedule
from ..sampler import Sampler
from .mixture import GaussianMixture
from .rig import noise_of, run

__all__ = ["SAME", "gap", "on_one_grid", "reads", "unsuitable"]

SAME = 1e-10
FIRST, LAST = -3.8, 4.5  # λ that VP, VE and flow all reach


class _OtherClock(VPSchedule):
    """VP at the square of the time."""

    def half_log_snr(self, t: ArrayLike) -> Array:
        return super().half_log_snr(np.square(np.asarray(t, dtype=np.float64)))

    def time(self, half_log_snr: ArrayLike) -> Array:
        return np.sqrt(super().time(half_log_snr))


class _OtherScale(VPSchedule):
    """VP in coordinates that grow with the time."""

    def scale(self, t: ArrayLike) -> Array:
        return 1.0 + np.asarray(t, dtype=np.float64)


@cache
def reads(sampler: Sampler) -> tuple[str, float] | None:
    """What it reads, and by how much that changes its x_0; None where it is neither."""
    plain = VPSchedule()
    if unsuitable(sampler, plain):
        return None
    x0 = on_one_grid(sampler, plain)
    for what, path in (("the time itself", _OtherClock()), ("the path's own scale", _OtherScale())):
        change = gap(x0, on_one_grid(sampler, path))
        if change > SAME:
            return what, change
    return None


def unsuitable(sampler: Sampler, path: NoiseSchedule) -> str:
    """Why it cannot run on this path; empty where it can."""
    return sampler.unsuitable(path, GaussianMixture(path))


def on_one_grid(sampler: Sampler, path: NoiseSchedule) -> Tensor:
    """x_0 of five samples, from λ's that do not depend on the path, in variance-preserving coordinates."""
    steps = 1 if sampler.adaptive else max(12, sampler.fewest_steps)
    times = [float(t) for t in path.time(np.linspace(FIRST, LAST, steps + 1))]
    grid = TimeGrid(path, (*times, 0.0) if sampler.final == "zero" and not sampler.adaptive else tuple(times))
    noise = noise_of(5, (6,), seed=3)
    x = noise.x_T() / path.prior(grid.times[0])
    return run(sampler, GaussianMixture(path), grid, noise, x).x0 / grid.scale[-1]


def gap(one: Tensor, other: Tensor) -> float:
    """The largest difference of two results."""
    return float((one - other).abs().max())
