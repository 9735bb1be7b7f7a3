"""The decreasing times that a sampler visits: a spacing between the noisy end and the data, and a rule for the last
step.

A grid of n steps has n + 1 times. With `final = "zero"` the last of them is time 0, the data (ᾱ = 1), so the last step
removes all noise, as in DDPM and DDIM; with `final = "none"` it is the schedule's `t_min`, where a little noise is left
(σ = 0.01 on DDPM's schedule), as in DPM-Solver and DEIS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from ..errors import UserError, unknown
from .schedule import Array, NoiseSchedule

__all__ = ["FINALS", "SPACINGS", "TimeGrid"]


def _uniform(schedule: NoiseSchedule, count: int) -> Array:
    """Evenly spaced labels from 0 up, as in DDPM's and DDIM's sub-sequences: label ⌊i·T/n⌋, so T itself is not visited.

    On a continuous schedule: evenly spaced from t_max to t_min.
    """
    if schedule.discrete:
        return np.floor(np.arange(count) * (schedule.t_max / count))[::-1] + 1
    return np.linspace(schedule.t_max, schedule.t_min, count)


def _quadratic(schedule: NoiseSchedule, count: int) -> Array:
    """Squares of evenly spaced numbers (Song et al. 2021, DDIM, appendix D.2): dense near the data; starts at label
    0.8·T.

    On a continuous schedule: from t_max, with √t evenly spaced (the quadratic grid of DEIS and DPM-Solver).
    """
    if schedule.discrete:
        return np.floor(np.linspace(0, np.sqrt(0.8 * schedule.t_max), count) ** 2 + 1e-9)[::-1] + 1
    return np.linspace(np.sqrt(schedule.t_max), np.sqrt(schedule.t_min), count) ** 2


def _logsnr(schedule: NoiseSchedule, count: int) -> Array:
    """Evenly spaced λ from t_max to t_min (Lu et al. 2022, DPM-Solver, §3.3); times between the integers are used as
    they are.
    """
    start, end = schedule.half_log_snr(schedule.t_max), schedule.half_log_snr(schedule.t_min)
    times = schedule.time(np.linspace(start, end, count))
    if count > 1:
        times[-1] = schedule.t_min
    times[0] = schedule.t_max
    return times


SPACINGS: dict[str, Callable[[NoiseSchedule, int], Array]] = {
    "uniform": _uniform,
    "quadratic": _quadratic,
    "logsnr": _logsnr,
}
SNAPPED = ("uniform", "quadratic")  # these visit integer times on a discrete schedule
FINALS = ("zero", "none")


@dataclass(frozen=True)
class TimeGrid:
    """n + 1 strictly decreasing times of a schedule, and α, σ, λ there as plain float64 numbers.

    Attributes:
        schedule: what the times are times of.
        times: n + 1 floats; the network may be asked at any but a final 0.
    """

    schedule: NoiseSchedule
    times: tuple[float, ...]

    def __post_init__(self) -> None:
        times = self.times
        if len(times) < 2:
            raise UserError("a grid needs at least two times: where a step starts and where it ends")
        if any(not later < earlier for earlier, later in pairwise(times)):
            raise UserError(f"times must be decreasing, got {_short(times)}")
        limit = self.schedule.t_max
        if times[0] > limit or times[-1] < 0:
            raise UserError(f"times must lie in [0, {limit:g}], got {_short(times)}")
        lowest = min(t for t in times if t > 0)
        if lowest < self.schedule.t_min:
            raise UserError(
                f"the network knows no times below t_min = {self.schedule.t_min:g}, got {lowest:g}; "
                "only a last time of 0 may be lower"
            )

    @classmethod
    def make(cls, schedule: NoiseSchedule, steps: int, spacing: str = "uniform", final: str = "zero") -> TimeGrid:
        """The grid of `steps` steps; exactly that many, with distinct times, or an error."""
        if spacing not in SPACINGS:
            raise unknown("spacing", spacing, SPACINGS)
        if final not in FINALS:
            raise unknown("final", final, FINALS)
        if steps < 1:
            raise UserError(f"steps must be at least 1, got {steps}")
        count = steps if final == "zero" else steps + 1
        if schedule.discrete and spacing in SNAPPED:
            room = int(schedule.t_max) if spacing == "uniform" else int(0.8 * schedule.t_max) + 1
            if count > room:
                raise UserError(
                    f"{steps} steps need {count} distinct times, but {spacing} spacing has {room} on this schedule"
                )
        # squares and logarithms may miss the ends by a rounding error
        times = np.clip(SPACINGS[spacing](schedule, count), schedule.t_min, schedule.t_max)
        if schedule.discrete and spacing in SNAPPED:
            times = _distinct(times)
        return cls(schedule, tuple(float(t) for t in times) + ((0.0,) if final == "zero" else ()))

    @property
    def steps(self) -> int:
        return len(self.times) - 1

    @cached_property
    def alpha(self) -> tuple[float, ...]:
        """α at each time."""
        return tuple(self.schedule.alpha(self.times).tolist())

    @cached_property
    def sigma(self) -> tuple[float, ...]:
        """σ at each time; 0 at time 0."""
        return tuple(self.schedule.sigma(self.times).tolist())

    @cached_property
    def half_log_snr(self) -> tuple[float, ...]:
        """λ at each time; inf at time 0."""
        return tuple(self.schedule.half_log_snr(self.times).tolist())


def _distinct(times: Array) -> Array:
    """Integer times with duplicates moved up to the next free one, so that none is lost (DDIM's quadratic list has them
    from 50 steps on).
    """
    ascending = times[::-1].copy()
    for i in range(1, len(ascending)):
        ascending[i] = max(ascending[i], ascending[i - 1] + 1)
    return ascending[::-1]


def _short(times: Sequence[float]) -> str:
    shown = [f"{t:g}" for t in times]
    return ", ".join(shown if len(shown) <= 6 else [*shown[:3], "…", *shown[-2:]])
