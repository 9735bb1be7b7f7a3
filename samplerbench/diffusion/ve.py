"""Variance-exploding paths, x_t = x_0 + σ_t ε: EDM's, the continuous geometric one, and a list of noise levels.

In variance-preserving coordinates they are λ = -ln σ, α = 1/√(1 + σ²). Their prior is N(0, σ_T² I), as their authors
draw it, not the standard normal distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import UserError
from .schedule import Array, NoiseSchedule, check_numbers

__all__ = ["EDMSchedule", "SigmasSchedule", "VESchedule"]


class _Exploding(NoiseSchedule):
    def scale(self, t: ArrayLike) -> Array:
        return np.hypot(1.0, np.exp(-self.half_log_snr(t)))

    def prior(self, t: float) -> float:
        return float(self.sigma(t))


@dataclass(frozen=True)
class EDMSchedule(_Exploding):
    """Time is the noise level itself, σ from sigma_max to sigma_min (Karras et al. 2022, table 1)."""

    name = "edm"

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        _check_ends(self.sigma_min, self.sigma_max)

    @property
    def t_min(self) -> float:  # type: ignore[override]
        return self.sigma_min

    @property
    def t_max(self) -> float:  # type: ignore[override]
        return self.sigma_max

    def half_log_snr(self, t: ArrayLike) -> Array:
        with np.errstate(divide="ignore"):
            return -np.log(np.asarray(t, dtype=np.float64))

    def time(self, half_log_snr: ArrayLike) -> Array:
        return np.exp(-np.asarray(half_log_snr, dtype=np.float64))


@dataclass(frozen=True)
class VESchedule(_Exploding):
    """σ_t = sigma_min (sigma_max/sigma_min)^t, t in [t_min, 1] (Song et al. 2021, eq. 30). Time 0 is the data: below
    t_min σ drops from sigma_min to 0.
    """

    name = "ve"
    t_max = 1.0

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    t_min: float = 1e-5

    def __post_init__(self) -> None:
        _check_ends(self.sigma_min, self.sigma_max)
        check_numbers("a schedule", t_min=self.t_min)
        if not 0 < self.t_min < 1:
            raise UserError(f"t_min of a VE schedule lies between 0 and 1, got {self.t_min}")

    def half_log_snr(self, t: ArrayLike) -> Array:
        t = np.asarray(t, dtype=np.float64)
        return np.where(t == 0, np.inf, -np.log(self.sigma_min) - t * np.log(self.sigma_max / self.sigma_min))

    def time(self, half_log_snr: ArrayLike) -> Array:
        lam = np.asarray(half_log_snr, dtype=np.float64)
        return np.where(lam == np.inf, 0.0, -(lam + np.log(self.sigma_min)) / np.log(self.sigma_max / self.sigma_min))


class SigmasSchedule(_Exploding):
    """A list of noise levels, as a network was trained at (Song & Ermon 2019). Times are 1..N, log σ is linear between
    them, and the network's label is t - 1.

    sigmas: [N], increasing, above 0.
    """

    name = "sigmas"
    discrete = True
    t_min = 1.0

    def __init__(self, sigmas: ArrayLike) -> None:
        self.sigmas = np.array(sigmas, dtype=np.float64)
        if self.sigmas.ndim != 1 or len(self.sigmas) < 2 or not np.all(np.isfinite(self.sigmas)):
            raise UserError("sigmas is a list of at least two finite numbers")
        if self.sigmas[0] <= 0 or not np.all(np.diff(self.sigmas) > 0):
            raise UserError("sigmas increase from above 0: the first is the least noise")
        self.t_max = float(len(self.sigmas))
        self._logs, self._times = np.log(self.sigmas), np.arange(1, len(self.sigmas) + 1, dtype=np.float64)
        for array in (self.sigmas, self._logs, self._times):
            array.setflags(write=False)

    def half_log_snr(self, t: ArrayLike) -> Array:
        t = np.asarray(t, dtype=np.float64)
        return np.where(t == 0, np.inf, -np.interp(t, self._times, self._logs))

    def time(self, half_log_snr: ArrayLike) -> Array:
        lam = np.asarray(half_log_snr, dtype=np.float64)
        return np.where(lam == np.inf, 0.0, np.interp(-lam, self._logs, self._times))

    def config(self) -> dict[str, Any]:
        return {"kind": self.name, "sigmas": self.sigmas.tolist()}


def _check_ends(sigma_min: float, sigma_max: float) -> None:
    check_numbers("a schedule", sigma_min=sigma_min, sigma_max=sigma_max)
    if not 0 < sigma_min < sigma_max:
        raise UserError(f"a schedule needs 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")
