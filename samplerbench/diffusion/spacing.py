"""Spacings: where a grid's times lie between the noisy end and the data.

Each is a function (schedule, count, start) -> `count` decreasing times from `start`, t_max where a sampler can start
there, to the schedule's `t_min` unless its docstring says otherwise. On a discrete schedule the spacings of `SNAPPED`
visit integer times, which the network was trained at; the others use times between the integers as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import UserError
from .schedule import Array, NoiseSchedule

__all__ = ["SNAPPED", "SPACINGS", "explicit_times", "spaced"]


def _uniform(schedule: NoiseSchedule, count: int, start: float) -> Array:
    """Evenly spaced labels from 0 up, as in DDPM's and DDIM's sub-sequences ("leading"): label ⌊i·T/n⌋, so that T
    itself is not visited. On a continuous schedule the same as linspace.
    """
    if not schedule.discrete:
        return _linspace(schedule, count, start)
    return np.floor(np.arange(count) * (start / count))[::-1] + 1


def _trailing(schedule: NoiseSchedule, count: int, start: float) -> Array:
    """Evenly spaced times from t_max down, t_max·(n-i)/n (Lin et al. 2024, table 2): the last is t_max/n, not t_min."""
    times = start * np.arange(count, 0, -1) / count
    return np.round(times) if schedule.discrete else times


def _linspace(schedule: NoiseSchedule, count: int, start: float) -> Array:
    """Evenly spaced times from t_max to t_min, both visited."""
    times = np.linspace(start, schedule.t_min, count)
    return np.round(times) if schedule.discrete else times


def _quadratic(schedule: NoiseSchedule, count: int, start: float) -> Array:
    """Squares of evenly spaced numbers (Song et al. 2021, DDIM, appendix D.2): dense near the data; starts at label
    0.8·T. On a continuous schedule the same as time-quadratic.
    """
    if schedule.discrete:
        return np.floor(np.linspace(0, np.sqrt(0.8 * start), count) ** 2 + 1e-9)[::-1] + 1
    return _time_quadratic(schedule, count, start)


def _time_quadratic(schedule: NoiseSchedule, count: int, start: float) -> Array:
    """Evenly spaced √t from t_max to t_min: the quadratic grid of DEIS (Zhang & Chen 2023) and DPM-Solver's
    `time_quadratic`. Unlike DDIM's it starts at t_max, and its times may lie between the integers.
    """
    return np.linspace(np.sqrt(start), np.sqrt(schedule.t_min), count) ** 2


def _logsnr(schedule: NoiseSchedule, count: int, start: float) -> Array:
    """Evenly spaced λ from t_max to t_min (Lu et al. 2022, DPM-Solver, §3.3); see `_finite`."""
    first, last = schedule.half_log_snr([_finite(schedule, start), schedule.t_min])
    return schedule.time(np.linspace(first, last, count))


def _karras(schedule: NoiseSchedule, count: int, start: float, rho: float = 7.0) -> Array:
    """Evenly spaced (σ/α)^(1/ρ) from t_max to t_min (Karras et al. 2022, eq. 5); see `_finite`."""
    ends = np.exp(-schedule.half_log_snr([_finite(schedule, start), schedule.t_min]) / rho)
    return schedule.time(-rho * np.log(np.linspace(ends[0], ends[1], count)))


def _finite(schedule: NoiseSchedule, start: float) -> float:
    """Where λ is -∞ at the start, it is spaced as if it began where a sampler begins that cannot start so; the first
    time is the start itself all the same.
    """
    return min(start, schedule.first_time(pure_noise=False))


SPACINGS: dict[str, Callable[..., Array]] = {
    "uniform": _uniform,
    "trailing": _trailing,
    "linspace": _linspace,
    "quadratic": _quadratic,
    "time-quadratic": _time_quadratic,
    "logsnr": _logsnr,
    "karras": _karras,
}
SNAPPED = ("uniform", "trailing", "linspace", "quadratic")


def spaced(
    schedule: NoiseSchedule,
    spacing: str,
    count: int,
    rho: float | None = None,
    above: float = 0.0,
    start: float | None = None,
) -> Array:
    """`count` distinct decreasing times from `start` (t_max where it is not given) to t_min, all above time `above`.
    Raises UserError where a discrete schedule has not as many.
    """
    start = schedule.t_max if start is None else start
    snapped = schedule.discrete and spacing in SNAPPED
    if snapped:
        room = int(0.8 * start) + 1 if spacing == "quadratic" else int(start)
        if count > room:
            raise UserError(f"{count} distinct times were asked for; {spacing} spacing has {room} on this schedule")
    times = SPACINGS[spacing](schedule, count, start, **({} if rho is None else {"rho": rho}))
    if not snapped and spacing != "trailing":  # the ends themselves, not what rounding left of them
        times[-1] = schedule.t_min
        times[0] = start
    lowest = schedule.t_min + 1 if snapped and above >= schedule.t_min else schedule.t_min
    times = np.clip(times, lowest, start)
    return _distinct(times) if snapped else times


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
    if "/" not in spacing:
        return None
    try:
        return tuple(float(part) for part in spacing.split("/"))
    except ValueError:
        raise UserError(f"spacing is a name, or decreasing times like 801/401/1/0, got '{spacing}'") from None
