"""Rectified flow: x_t = (1 - t) x_0 + t ε (Liu et al. 2023; Lipman et al. 2023), noise at t = 1 as in SD3 and Flux."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import UserError
from .schedule import Array, NoiseSchedule, check_numbers

__all__ = ["FlowSchedule"]


@dataclass(frozen=True)
class FlowSchedule(NoiseSchedule):
    """λ = ln((1 - t)/t) - ln(shift). Nothing of the data is left at t = 1; a network that was not trained there has a
    smaller t_max.

    shift: what evenly spaced times are shifted by towards the noisy end: the network's own time is
    shift·t/(1 + (shift - 1)·t) (Esser et al. 2024, §5.3.2). It depends on the resolution in some models.
    """

    name = "flow"

    shift: float = 1.0
    t_max: float = 1.0
    t_min: float = 1e-3

    def __post_init__(self) -> None:
        check_numbers("a schedule", shift=self.shift, t_max=self.t_max, t_min=self.t_min)
        if not (self.shift > 0 and 0 < self.t_min < self.t_max <= 1):
            raise UserError(
                f"a flow needs shift > 0 and 0 < t_min < t_max <= 1, got {self.shift}, {self.t_min} and {self.t_max}"
            )

    def half_log_snr(self, t: ArrayLike) -> Array:
        t = np.asarray(t, dtype=np.float64)
        with np.errstate(divide="ignore"):
            return np.log1p(-t) - np.log(t) - np.log(self.shift)

    def time(self, half_log_snr: ArrayLike) -> Array:
        with np.errstate(over="ignore"):
            return 1 / (1 + self.shift * np.exp(np.asarray(half_log_snr, dtype=np.float64)))

    def scale(self, t: ArrayLike) -> Array:
        t = np.asarray(t, dtype=np.float64)
        own = self.shift * t / (1 + (self.shift - 1) * t)
        return np.hypot(1 - own, own)
