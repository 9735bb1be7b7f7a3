"""The checks of `samplerbench check`. Each takes a sampler and paths, and returns what it found; one that raises has
failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from ..diffusion.schedule import NoiseSchedule
from ..errors import UserError
from ..sampler import Sampler
from ..settings import SETTINGS, changed, states
from . import claims, manners
from .finding import Finding, Inapplicable, found
from .kinds import FAMILIES, kinds
from .paths import paths, spacings, starts
from .reads import unsuitable
from .rig import CONTINUOUS, DISCRETE

__all__ = ["CHECKS", "MATRIX", "Check", "check_on_paths", "check_sampler"]


@dataclass(frozen=True)
class Check:
    """run: takes a sampler and the paths `on`. everywhere: whether its outcome may depend on the path."""

    run: Callable[..., str]
    on: tuple[NoiseSchedule, ...] = (DISCRETE,)
    everywhere: bool = False


CHECKS: dict[str, Check] = {
    "evaluations": Check(claims.evaluations, everywhere=True),
    "budget": Check(claims.budget, everywhere=True),
    "order": Check(claims.order, (CONTINUOUS,), everywhere=True),
    "moments": Check(claims.moments, (CONTINUOUS,), everywhere=True),
    "noise": Check(manners.noise),
    "images": Check(manners.images),
    "gradients": Check(manners.gradients),
    "batch": Check(manners.batch, everywhere=True),
    "repeatable": Check(manners.repeatable),
    "precision": Check(manners.precision, everywhere=True),
    "nan": Check(manners.nan, everywhere=True),
    "spacings": Check(spacings, (DISCRETE, CONTINUOUS), everywhere=True),
    "paths": Check(paths, tuple(FAMILIES.values())),
}
MATRIX: dict[str, Check] = {name: c for name, c in CHECKS.items() if c.everywhere} | {"starts": Check(starts)}
"""What `check_on_paths` runs on each path."""


def check_sampler(sampler: Sampler) -> list[Finding]:
    """Every check of one sampler, in seconds on a CPU. Where it calls itself unsuitable for a check's own path, the
    check is made on another.
    """
    return [_watched(name, partial(_run_suited, sampler, check)) for name, check in CHECKS.items()]


def _watched(name: str, check: Callable[[], str], path: str = "") -> Finding:
    """The outcome of a check, which has failed where a setting of torch is another after it."""
    before = states(SETTINGS)
    finding = found(name, check, path)
    if names := changed(SETTINGS, before):
        return replace(finding, verdict="failed", text=f"it changed {' and '.join(names)}")
    return finding


def _run_suited(sampler: Sampler, check: Check) -> str:
    return check.run(sampler, *_suited(sampler, check))


def _suited(sampler: Sampler, check: Check) -> tuple[NoiseSchedule, ...]:
    """The paths of a check that a sampler is suitable for, or else the first kind that it is."""
    if check.run is paths:  # which says of each path why not
        return check.on
    suited = tuple(path for path in check.on if not unsuitable(sampler, path))
    if suited:
        return suited
    for path in kinds().values():
        if not unsuitable(sampler, path):
            return (path,)
    raise UserError(f"it calls itself unsuitable for every path: {unsuitable(sampler, check.on[0])}")


def check_on_paths(sampler: Sampler, on: Mapping[str, NoiseSchedule]) -> list[Finding]:
    """Every check whose outcome may depend on the path, on each of the paths; in tens of seconds for all kinds."""
    return [
        _watched(name, partial(_run_if_suitable, sampler, check, path), kind)
        for kind, path in on.items()
        for name, check in MATRIX.items()
    ]


def _run_if_suitable(sampler: Sampler, check: Check, path: NoiseSchedule) -> str:
    if why := unsuitable(sampler, path):
        raise Inapplicable(why)
    return check.run(sampler, path)
