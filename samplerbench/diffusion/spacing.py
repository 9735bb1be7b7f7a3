"""Spacings: where a grid's times lie between the noisy end and the data.

On a discrete schedule a spacing with `snapped` visits integer times, which the network was trained at; the others use
times between the integers as they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import UserError
from .schedule import Array, NoiseSchedule
from .vp import VPSchedule, linear_schedule

__all__ = ["SPACINGS", "Spacing", "check_spacing", "explicit_times", "spaced"]

ROUNDED_ALPHA = 1e-5  # below it the rounding of a float32 x, divided by α, is about a grey level of x_0


class Spacing(ABC):
    """One way to space times. Register a class of your own by the hook `samplerbench_spacings`.

    Attributes:
        name: what it is called in a sampler's options.
        snapped: whether its times on a discrete schedule are whole numbers; duplicates are moved to the next free one.
        ends_at_zero: whether a grid goes on from its last time to time 0 whatever `final` says.
        leading: whether on a discrete schedule it takes a share of all labels from the first up, and so visits T in a
            full chain alone. Then a faint α at T is no reason to start elsewhere: as its authors have it.
    """

    name: ClassVar[str]
    snapped: ClassVar[bool] = False
    ends_at_zero: ClassVar[bool] = False
    leading: ClassVar[bool] = False

    @abstractmethod
    def times(self, schedule: NoiseSchedule, count: int, start: float) -> Array:
        """`count` decreasing times, float64 [count], from `start`, which is t_max where a sampler can start there."""

    def room(self, schedule: NoiseSchedule, start: float) -> int:
        """How many distinct times it has on a discrete schedule, where it is snapped."""
        return int(start)


class Uniform(Spacing):
    """Evenly spaced labels from 0 up, as in DDPM's and DDIM's sub-sequences ("leading"): label ⌊i·T/n⌋, so that T
    itself is not visited. On a continuous schedule the same as linspace.
    """

    name, snapped, leading = "uniform", True, True

    def times(self, schedule: NoiseSchedule, count: int, start: float) -> Array:
        if not schedule.discrete:
            return np.linspace(start, schedule.t_min, count)
        return np.floor(np.arange(count) * (start / count))[::-1] + 1


class Trailing(Spacing):
    """Evenly spaced times from t_max down, t_max·(n-i)/n (Lin et al. 2024, table 2). The last is t_max/n, and the last
    step goes from there to time 0: to end at t_min would be a last step as long as any, in time, and longer in λ.
    """

    name, snapped, ends_at_zero = "trailing", True, True

    def times(self, schedule: NoiseSchedule, count: int, start: float) -> Array:
        times = start * np.arange(count, 0, -1) / count
        return np.round(times) if schedule.discrete else times


class Linspace(Spacing):
    """Evenly spaced times from t_max to t_min, both visited."""

    name, snapped = "linspace", True

    def times(self, schedule: NoiseSchedule, count: int, start: float) -> Array:
        times = np.linspace(start, schedule.t_min, count)
        return np.round(times) if schedule.discrete else times


class Quadratic(Spacing):
    """Squares of evenly spaced numbers (Song et al. 2021, DDIM, appendix D.2): dense near the data; starts at label
    0.8·T. On a continuous schedule the same as time-quadratic.
    """

    name, snapped, leading = "quadratic", True, True

    def times(self, schedule: NoiseSchedule, count: int, start: float) -> Array:
        if not schedule.discrete:
            return TimeQuadratic().times(schedule, count, start)
        return np.floor(np.linspace(0, np.sqrt(0.8 * start), count) ** 2 + 1e-9)[::-1] + 1

    def room(self, schedule: NoiseSchedule, start: float) -> int:
        return int(0.8 * start) + 1


class TimeQuadratic(Spacing):
    """Evenly spaced √t from t_max to t_min, DPM-Solver's `time_quadratic`. Unlike DDIM's quadratic it starts at t_max,
    and its times may lie between the integers.

    DEIS's own quadratic grid (Zhang & Chen 2023) is even in the root of the label, t - 1 on a discrete schedule. With
    T = 1,000 the two are up to 16 labels apart, in the middle; their errors are alike.
    """

    name = "time-quadratic"

    def times(self, schedule: NoiseSchedule, count: int, start: float) -> Array:
        return np.linspace(np.sqrt(start), np.sqrt(schedule.t_min), count) ** 2


class LogSNR(Spacing):
    """Evenly spaced λ from t_max to t_min (Lu et al. 2022, DPM-Solver, §3.3).

    See `_finite`.
    """

    name = "logsnr"

    def times(self, schedule: NoiseSchedule, count: int, start: float) -> Array:
        first, last = schedule.half_log_snr([_finite(schedule, start), schedule.t_min])
        times = schedule.time(np.linspace(first, last, count))
        times[0] = start
        return times


@dataclass(frozen=True)
class Karras(Spacing):
    """Evenly spaced (σ/α)^(1/ρ) from t_max to t_min (Karras et al. 2022, eq. 5).

    See `_finite`.
    """

    name = "karras"
    rho: float = 7.0

    def times(self, schedule: NoiseSchedule, count: int, start: float) -> Array:
        ends = np.exp(-schedule.half_log_snr([_finite(schedule, start), schedule.t_min]) / self.rho)
        times = schedule.time(-self.rho * np.log(np.linspace(ends[0], ends[1], count)))
        times[0] = start
        return times


def _finite(schedule: NoiseSchedule, start: float) -> float:
    """Where λ is -∞ at the start, it is spaced as if it began where a sampler begins that cannot start so; the first
    time is the start itself all the same.
    """
    return min(start, schedule.first_time(pure_noise=False))


SPACINGS: dict[str, Spacing] = {
    spacing.name: spacing
    for spacing in (Uniform(), Trailing(), Linspace(), Quadratic(), TimeQuadratic(), LogSNR(), Karras())
}
"""Every spacing by its name; those of plugins join when they are loaded."""


def spaced(
    schedule: NoiseSchedule,
    spacing: str,
    count: int,
    rho: float | None = None,
    start: float | None = None,
) -> Array:
    """`count` distinct decreasing times from `start` (t_max where it is not given) to t_min. Raises UserError where a
    discrete schedule has not as many.
    """
    chosen = SPACINGS[spacing] if rho is None else Karras(rho)
    start = schedule.t_max if start is None else start
    if chosen.leading and schedule.discrete and float(schedule.alpha(schedule.t_max)) >= ROUNDED_ALPHA:
        start = schedule.t_max
    snapped = schedule.discrete and chosen.snapped
    if snapped and count > (room := chosen.room(schedule, start)):
        raise UserError(f"{count} distinct times were asked for; {spacing} spacing has {room} on this schedule")
    times = np.array(chosen.times(schedule, count, start), dtype=np.float64)
    if times.shape != (count,):
        raise UserError(f"spacing '{spacing}' gives {list(times.shape)} times where {count} are asked for")
    for i, end in ((0, start), (-1, schedule.t_min)):  # the ends themselves, not what rounding left of them
        if np.isclose(times[i], end, rtol=1e-6, atol=0):
            times[i] = end
    times = np.clip(times, schedule.t_min, start)
    return _distinct(times) if snapped else times


def check_spacing(spacing: Spacing) -> None:
    """Raises UserError where a spacing does not give the times asked for, discrete or continuous."""
    name, count = type(spacing).__name__, 7
    for schedule in (linear_schedule(), VPSchedule()):
        times = np.asarray(spacing.times(schedule, count, schedule.t_max))
        if times.shape != (count,) or times.dtype != np.float64:
            got = f"{times.dtype} {list(times.shape)}"
            raise UserError(f"{name}.times gives float64 [{count}] where {count} are asked for, got {got}")
        if not (np.all(np.diff(times) < 0) and times[0] <= schedule.t_max and times[-1] > 0):
            raise UserError(f"{name}.times gives decreasing times from t_max down to above 0, got {times.tolist()}")


def _distinct(times: Array) -> Array:
    """Integer times with duplicates moved up to the next free one, so that none is lost (DDIM's quadratic list has them
    from 50 steps on).
    """
    ascending = times[::-1].copy()
    for i in range(1, len(ascending)):
        ascending[i] = max(ascending[i], ascending[i - 1] + 1)
    return ascending[::-1]


def explicit_times(spacing: str) -> tuple[float, ...] | None:
    """The times of a spacing that is a list, '801/401/1/0'; None where it is a name."""
    if "/" not in spacing or spacing.startswith("file:"):  # whose path may have one
        return None
    try:
        return tuple(float(part) for part in spacing.split("/"))
    except ValueError:
        raise UserError(f"spacing is a name, or decreasing times like 801/401/1/0, got '{spacing}'") from None
