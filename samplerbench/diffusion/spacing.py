"""Spacings: where a grid's times lie between the noisy end and the data.

Each is a function (schedule, count) -> `count` decreasing times, the last of which is the schedule's `t_min` unless its
docstring says otherwise. On a discrete schedule the spacings of `SNAPPED` visit integer times, which the network was
trained at; the others use times between the integers as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import UserError
from .schedule import Array, NoiseSchedule

__all__ = ["SNAPPED", "SPACINGS", "explicit_times", "spaced"]


def _uniform(schedule: NoiseSchedule, count: int) -> Array:
    """Evenly spaced labels from 0 up, as in DDPM's and DDIM's sub-sequences ("leading"): label ⌊i·T/n⌋, so that T
    itself is not visited. On a continuous schedule the same as linspace.
    """
    if not schedule.discrete:
        return _linspace(schedule, count)
    return np.floor(np.arange(count) * (schedule.t_max / count))[::-1] + 1


def _trailing(schedule: NoiseSchedule, count: int) -> Array:
    """Evenly spaced times from t_max down, t_max·(n-i)/n (Lin et al. 2024, table 2): the last is t_max/n, not t_min."""
    times = schedule.t_max * np.arange(count, 0, -1) / count
    return np.round(times) if schedule.discrete else times


def _linspace(schedule: NoiseSchedule, count: int) -> Array:
    """Evenly spaced times from t_max to t_min, both visited."""
    times = np.linspace(schedule.t_max, schedule.t_min, count)
    return np.round(times) if schedule.discrete else times


def _quadratic(schedule: NoiseSchedule, count: int) -> Array:
    """Squares of evenly spaced numbers (Song et al. 2021, DDIM, appendix D.2): dense near the data; starts at label
    0.8·T. On a continuous schedule the same as time-quadratic.
    """
    if schedule.discrete:
        return np.floor(np.linspace(0, np.sqrt(0.8 * schedule.t_max), count) ** 2 + 1e-9)[::-1] + 1
    return _time_quadratic(schedule, count)


def _time_quadratic(schedule: NoiseSchedule, count: int) -> Array:
    """Evenly spaced √t from t_max to t_min: the quadratic grid of DEIS (Zhang & Chen 2023) and DPM-Solver's
    `time_quadratic`. Unlike DDIM's it starts at t_max, and its times may lie between the integers.
    """
    return np.linspace(np.sqrt(schedule.t_max), np.sqrt(schedule.t_min), count) ** 2


def _logsnr(schedule: NoiseSchedule, count: int) -> Array:
    """Evenly spaced λ from t_max to t_min (Lu et al. 2022, DPM-Solver, §3.3)."""
    start, end = schedule.half_log_snr(schedule.t_max), schedule.half_log_snr(schedule.t_min)
    return schedule.time(np.linspace(start, end, count))


def _karras(schedule: NoiseSchedule, count: int, rho: float = 7.0) -> Array:
    """Evenly spaced (σ/α)^(1/ρ) from t_max to t_min (Karras et al. 2022, eq. 5)."""
    ends = np.exp(-schedule.half_log_snr([schedule.t_max, schedule.t_min]) / rho)
    return schedule.time(-rho * np.log(np.linspace(ends[0], ends[1], count)))


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


def spaced(schedule: NoiseSchedule, spacing: str, count: int, rho: float | None = None, above: float = 0.0) -> Array:
    """`count` distinct decreasing times in [t_min, t_max], all above time `above`. Raises UserError where a discrete
    schedule has not as many.
    """
    snapped = schedule.discrete and spacing in SNAPPED
    if snapped:
        room = int(0.8 * schedule.t_max) + 1 if spacing == "quadratic" else int(schedule.t_max)
        if count > room:
            raise UserError(f"{count} distinct times were asked for; {spacing} spacing has {room} on this schedule")
    times = SPACINGS[spacing](schedule, count, **({} if rho is None else {"rho": rho}))
    if spacing in ("time-quadratic", "logsnr", "karras"):  # the ends themselves, not what rounding left of them
        times[-1] = schedule.t_min
        times[0] = schedule.t_max
    lowest = schedule.t_min + 1 if snapped and above >= schedule.t_min else schedule.t_min
    times = np.clip(times, lowest, schedule.t_max)
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
