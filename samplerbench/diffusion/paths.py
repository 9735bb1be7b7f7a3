"""Paths by name, as a model's config.json has them."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from ..errors import PLUGINS, UserError, check_arguments, one_line, unknown
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
        raise unknown("schedule", kind, PATHS, PLUGINS)
    check_arguments(f"schedule '{kind}'", PATHS[kind], options)
    try:
        return PATHS[kind](**options)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"schedule '{kind}': {one_line(error)}") from None


def check_path(path: NoiseSchedule) -> None:
    """Raises UserError where a path is none: λ does not decrease from +inf at time 0, `time` is not its inverse, scale
    or prior are no factors, or its config does not make it again where its kind is known.
    """
    name = type(path).__name__
    ends = (path.t_min, path.t_max)
    if not (0 < ends[0] <= ends[1] < inf and (path.discrete or ends[0] < ends[1])):
        raise UserError(f"{name}: times go from t_min > 0 up to t_max, got {ends[0]} and {ends[1]}")
    if path.discrete and not all(float(end).is_integer() for end in ends):
        raise UserError(f"{name} is discrete: its times are whole numbers from t_min to t_max, got {ends}")
    times = np.unique(np.linspace(*ends, 201))
    with np.errstate(all="ignore"):  # a logarithm of 0 is what is wanted
        lam, scale = np.asarray(path.half_log_snr(times)), np.asarray(path.scale(times))
        at_data = float(path.half_log_snr(0.0))
    if lam.shape != times.shape or lam.dtype != np.float64 or np.isnan(lam).any():
        raise UserError(f"{name}.half_log_snr gives a float64 for each time, without NaN")
    if not np.all(lam[1:] < lam[:-1]) or at_data != inf:
        raise UserError(f"{name}.half_log_snr is +inf at time 0 and decreases")
    finite = lam > -inf
    if not np.allclose(path.time(lam[finite]), times[finite], rtol=1e-6, atol=1e-6 * path.t_min):
        raise UserError(f"{name}.time is not the inverse of half_log_snr")
    if scale.shape != times.shape or not (np.isfinite(scale) & (scale > 0)).all() or float(path.scale(0.0)) != 1:
        raise UserError(f"{name}.scale is a finite number above 0 for each time, and 1 at time 0")
    if not 0 < path.prior(path.t_max) < inf:
        raise UserError(f"{name}.prior is a finite number above 0, got {path.prior(path.t_max)}")
    registered = isinstance(PATHS.get(path.name), type)
    if registered and not np.array_equal(schedule_from_config(path.config()).half_log_snr(times), lam):
        raise UserError(f"{name}.config does not make the same path again")
