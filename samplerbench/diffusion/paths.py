"""Paths by name, as a model's config.json has them."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from ..errors import UserError, one_line, unknown
from .flow import FlowSchedule
from .schedule import NoiseSchedule
from .ve import EDMSchedule, SigmasSchedule, VESchedule
from .vp import (
    CosineSchedule,
    DiscreteSchedule,
    SubVPSchedule,
    VPSchedule,
    cosine_schedule,
    linear_schedule,
    scaled_linear_schedule,
    sigmoid_schedule,
)

__all__ = ["PATHS", "check_path", "schedule_from_config"]

PATHS: dict[str, Callable[..., NoiseSchedule]] = {
    "linear": linear_schedule,
    "scaled-linear": scaled_linear_schedule,
    "cosine": cosine_schedule,
    "sigmoid": sigmoid_schedule,
    "betas": DiscreteSchedule,
    "vp": VPSchedule,
    "sub-vp": SubVPSchedule,
    "cosine-continuous": CosineSchedule,
    "edm": EDMSchedule,
    "ve": VESchedule,
    "sigmas": SigmasSchedule,
    "flow": FlowSchedule,
}
"""What makes a path of each kind; those of plugins join when they are loaded."""


def schedule_from_config(config: dict[str, Any]) -> NoiseSchedule:
    """The path described by `config`, whose `kind` is one of `PATHS`; the other keys are its arguments."""
    options = dict(config)
    kind = options.pop("kind", None)
    if not isinstance(kind, str) or kind not in PATHS:
        raise unknown("schedule", kind, PATHS)
    try:
        return PATHS[kind](**options)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"schedule '{kind}': {one_line(error)}") from None


def check_path(path: NoiseSchedule) -> None:
    """Raises UserError where a path is none: λ does not decrease from +inf at time 0, `time` is not its inverse, or
    its config does not make it again.
    """
    name = type(path).__name__
    if not 0 < path.t_min < path.t_max < inf:
        raise UserError(f"{name}: times go from t_min > 0 up to t_max, got {path.t_min} and {path.t_max}")
    times = np.linspace(path.t_min, path.t_max, 201)
    lam = np.asarray(path.half_log_snr(times))
    if lam.shape != times.shape or lam.dtype != np.float64 or np.isnan(lam).any():
        raise UserError(f"{name}.half_log_snr gives a float64 for each time, without NaN")
    if not np.all(lam[1:] < lam[:-1]) or float(path.half_log_snr(0.0)) != inf:
        raise UserError(f"{name}.half_log_snr is +inf at time 0 and decreases")
    finite = lam > -inf
    if not np.allclose(path.time(lam[finite]), times[finite], rtol=1e-6, atol=1e-6 * path.t_min):
        raise UserError(f"{name}.time is not the inverse of half_log_snr")
    if not np.all(np.asarray(path.scale(times)) > 0):
        raise UserError(f"{name}.scale is above 0")
    if not np.array_equal(schedule_from_config(path.config()).half_log_snr(times), lam):
        raise UserError(f"{name}.config does not make the same path again")
