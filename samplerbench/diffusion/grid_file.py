"""Grids from a file, one for each number of evaluations: what a search or a paper has found. `spacing=file:PATH`.

The file is JSON:

    {"schema": "samplerbench-grids", "version": 1,
     "coordinate": "time",
     "grids": {"5": [1000, 731, 402, 148, 30, 0], "10": [...]}}

`coordinate` says what the numbers are: `time`, of the path, or `sigma`, σ/α, which is the same on every path. They
decrease; the last may be 0, the data. A key of `grids` is the number of evaluations that its grid was made for. `path`,
the path's config as `samplerbench models show --json` prints it, is optional; on any other path the file is then
refused. So are `about` and `source`, text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TooFewEvaluations, UserError, unknown
from .schedule import NoiseSchedule

__all__ = ["FILE", "GridFile", "grid_file"]

FILE = "file:"
SCHEMA, VERSION = "samplerbench-grids", 1
COORDINATES = ("time", "sigma")
KEYS = ("schema", "version", "coordinate", "grids", "path", "about", "source")
NEAR = 1e-6  # relative: what rounding in a file may leave of the ends of a path


@dataclass(frozen=True)
class GridFile:
    """What a file of grids says.

    Attributes:
        spacing: as it is written in a sampler's options, for messages.
        coordinate: time or sigma.
        grids: of each number of evaluations the numbers, decreasing.
        path: the config of the path that they belong to; None where the file does not say.
    """

    spacing: str
    coordinate: str
    grids: Mapping[int, tuple[float, ...]]
    path: Mapping[str, Any] | None

    @property
    def ends_at_zero(self) -> bool:
        """Whether its grids end at the data; they all do, or none does."""
        return next(iter(self.grids.values()))[-1] == 0

    @property
    def steps(self) -> list[int]:
        """The numbers of steps of its grids, increasing."""
        return sorted({len(grid) - 1 for grid in self.grids.values()})

    def times(self, schedule: NoiseSchedule, nfe: int | None = None, steps: int | None = None) -> tuple[float, ...]:
        """The times of its grid for a budget, or of its one grid of so many steps.

        Raises TooFewEvaluations where it has none, and UserError where the numbers are no times of the path.
        """
        if self.path is not None and self.path != json.loads(json.dumps(schedule.config())):
            raise UserError(f"{self.spacing} has grids of another path: {json.dumps(self.path)}")
        return tuple(self._time(schedule, value) for value in self._grid(nfe, steps))

    def _grid(self, nfe: int | None, steps: int | None) -> tuple[float, ...]:
        if nfe is not None:
            if nfe in self.grids:
                return self.grids[nfe]
            raise TooFewEvaluations(f"{self.spacing} has no grid for {nfe} evaluations, {_those(self.grids)}")
        fitting = [grid for grid in self.grids.values() if len(grid) - 1 == steps]
        if not fitting:
            raise TooFewEvaluations(f"{self.spacing} has no grid of {steps} steps, {_those(self.steps)}")
        if len(fitting) > 1:
            raise UserError(f"{self.spacing} has {len(fitting)} grids of {steps} steps; ask for evaluations, --nfe")
        return fitting[0]

    def _time(self, schedule: NoiseSchedule, value: float) -> float:
        if value == 0:
            return 0.0
        ends = schedule.t_max, schedule.t_min
        if self.coordinate == "time":
            return next((end for end in ends if np.isclose(value, end, rtol=NEAR, atol=0)), value)
        most, least = (float(np.exp(-schedule.half_log_snr(end))) for end in ends)
        for end, limit in zip(ends, (most, least), strict=True):
            if np.isclose(value, limit, rtol=NEAR, atol=0):
                return end
        if not least < value < most:
            raise UserError(f"{self.spacing}: σ/α is from {least:.4g} to {most:.4g} on this path, got {value:g}")
        return float(schedule.time(-np.log(value)))


def _those(has: Any) -> str:
    return f"only for {', '.join(map(str, sorted(has)))}"


def grid_file(spacing: str) -> GridFile | None:
    """The grids of a spacing that is a file, 'file:PATH'; None where it is none. Raises UserError where the file is not
    there, or is not what it must be.
    """
    if not spacing.startswith(FILE):
        return None
    path = Path(spacing.removeprefix(FILE))
    try:
        said = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except OSError as error:
        raise UserError(f"spacing={spacing} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"spacing={spacing} is no JSON file of grids: {error}") from None
    try:
        return _read(spacing, said)
    except ValueError as error:
        raise UserError(f"spacing={spacing}: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' is there twice")
    return found


def _read(spacing: str, said: Any) -> GridFile:
    """Raises ValueError."""
    if not isinstance(said, dict) or said.get("schema") != SCHEMA:
        raise ValueError(f'a file of grids says "schema": "{SCHEMA}"')
    if said.get("version") != VERSION:
        raise ValueError(f"it is of version {said.get('version')!r}, and this samplerbench reads {VERSION}")
    for key in said:
        if key not in KEYS:
            raise ValueError(str(unknown("key", key, KEYS)))
    coordinate, grids, path = said.get("coordinate"), said.get("grids"), said.get("path")
    if coordinate not in COORDINATES:
        raise ValueError(f"coordinate is {' or '.join(COORDINATES)}, got {coordinate!r}")
    if not isinstance(grids, dict) or not grids:
        raise ValueError('grids is an object of evaluations and grids, like {"5": [1000, …, 0]}')
    if path is not None and not isinstance(path, dict):
        raise ValueError("path is the config of a path, an object")
    found = {_evaluations(key): _numbers(key, values) for key, values in grids.items()}
    if len({values[-1] == 0 for values in found.values()}) > 1:
        raise ValueError("some grids end at 0, the data, and some above; make files of them")
    return GridFile(spacing, coordinate, found, path)


def _evaluations(key: str) -> int:
    if not key.isdecimal() or int(key) < 1 or str(int(key)) != key:
        raise ValueError(f"a key of grids is a number of evaluations, like 5, got '{key}'")
    return int(key)


def _numbers(key: str, values: Any) -> tuple[float, ...]:
    if not isinstance(values, list) or any(type(v) not in (int, float) or not isfinite(v) for v in values):
        raise ValueError(f"the grid for {key} evaluations is a list of numbers")
    if len(values) < 2 or values[-1] < 0 or any(not later < earlier for earlier, later in pairwise(values)):
        raise ValueError(f"the grid for {key} evaluations has two numbers or more, decreasing, the last at least 0")
    return tuple(map(float, values))
