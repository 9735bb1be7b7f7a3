"""The decreasing times that a sampler visits: a spacing between the noisy end and the data, and a rule for the last
step.

A grid of n steps has n + 1 times. With `final = "zero"` the last of them is time 0, the data (ᾱ = 1), so the last step
removes all noise, as in DDPM and DDIM; with `final = "none"` it is the schedule's `t_min`, where a little noise is left
(σ = 0.01 on DDPM's schedule), as in DPM-Solver and DEIS. `denoise` has the grid of `none`; one more evaluation at its
end then gives the predicted x_0. With `trailing` spacing every grid ends at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from ..errors import UserError, unknown
from .schedule import NoiseSchedule
from .spacing import SPACINGS, explicit_times, spaced

__all__ = ["FINALS", "MOST_STEPS", "TimeGrid"]

FINALS = ("zero", "none", "denoise")
MOST_STEPS = 100_000  # a hundred times the longest chain in use; a grid holds four numbers for each


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
    def make(
        cls,
        schedule: NoiseSchedule,
        steps: int,
        spacing: str = "uniform",
        final: str = "zero",
        rho: float | None = None,
        start: float | None = None,
    ) -> TimeGrid:
        """The grid of `steps` steps; exactly that many, with distinct times, or an error.

        spacing: a name among `SPACINGS`, or the times themselves, '801/401/1/0'. rho: of karras spacing. start: where
        the spacing starts; t_max where it is not given.
        """
        if final not in FINALS:
            raise unknown("final", final, FINALS)
        if not 1 <= steps <= MOST_STEPS:
            raise UserError(f"steps must be from 1 to {MOST_STEPS}, got {steps}")
        listed = explicit_times(spacing)
        if listed is not None:
            if len(listed) != steps + 1:
                raise UserError(f"spacing={spacing} lists {len(listed) - 1} steps, not {steps}")
            return cls(schedule, listed)
        if spacing not in SPACINGS:
            raise unknown("spacing", spacing, SPACINGS)
        if final == "zero" or SPACINGS[spacing].ends_at_zero:
            return cls(schedule, (*map(float, spaced(schedule, spacing, steps, rho, start=start)), 0.0))
        return cls(schedule, tuple(map(float, spaced(schedule, spacing, steps + 1, rho, start=start))))

    @property
    def steps(self) -> int:
        return len(self.times) - 1

    @cached_property
    def alpha(self) -> tuple[float, ...]:
        """α at each time, in variance-preserving coordinates."""
        return tuple(self.schedule.alpha(self.times).tolist())

    @cached_property
    def sigma(self) -> tuple[float, ...]:
        """σ at each time; 0 at time 0."""
        return tuple(self.schedule.sigma(self.times).tolist())

    @cached_property
    def half_log_snr(self) -> tuple[float, ...]:
        """λ at each time; inf at time 0, -inf where nothing is left of the data."""
        return tuple(self.schedule.half_log_snr(self.times).tolist())

    @cached_property
    def scale(self) -> tuple[float, ...]:
        """The path's own √(α² + σ²) at each time: what variance-preserving coordinates are multiplied by to have the
        path's own. 1 on a path that preserves variance.
        """
        return tuple(self.schedule.scale(self.times).tolist())


def _short(times: Sequence[float]) -> str:
    shown = [f"{t:g}" for t in times]
    return ", ".join(shown if len(shown) <= 6 else [*shown[:3], "…", *shown[-2:]])
