"""The kinds of path that samplers are checked on."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..diffusion.flow import FlowSchedule
from ..diffusion.paths import PATHS
from ..diffusion.schedule import NoiseSchedule
from ..diffusion.ve import VESchedule
from ..diffusion.vp import CosineSchedule, VPSchedule, linear_schedule
from ..errors import UserError, one_line, unknown

__all__ = ["FAMILIES", "chosen_kinds", "kinds"]

FAMILIES: dict[str, NoiseSchedule] = {"VP": VPSchedule(), "VE": VESchedule(), "flow": FlowSchedule()}
"""What `check` tries without being asked: one path of each family."""

LISTS: dict[str, dict[str, Any]] = {
    "betas": {"betas": np.linspace(2e-4, 0.01, 1000)},
    "sigmas": {"sigmas": np.geomspace(0.01, 50, 1000)},
}


def kinds() -> dict[str, NoiseSchedule]:
    """A path of every registered kind, with its defaults, and two that reach α = 0 where the kind need not.

    Raises UserError for a kind that cannot be made without arguments.
    """
    found: dict[str, NoiseSchedule] = {}
    for name, make in PATHS.items():
        try:
            found[name] = make(**LISTS.get(name, {}))
        except Exception as error:
            raise UserError(
                f"path '{name}' cannot be made without arguments, so check cannot try it: {one_line(error)}"
            ) from None
    found["linear-zero-snr"] = linear_schedule(zero_terminal_snr=True)
    found["cosine-continuous-to-1"] = CosineSchedule(t_max=1.0)
    return found


def chosen_kinds(text: str) -> dict[str, NoiseSchedule]:
    """The kinds that a list of names, 'vp,flow', asks for; `all` of them."""
    known = kinds()
    if text == "all":
        return known
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise unknown("path", name, [*known, "all"])
    return {name: known[name] for name in names}
