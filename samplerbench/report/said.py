"""What run.json says of a run: whether it is finished, which samplers it was asked for, and what these claim."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from .results import Results

__all__ = ["Claims", "Run", "claims_of", "part_of", "planned_without_rows", "read_run", "unfinished"]

Run = Mapping[str, Any] | None
FINISHED = "finished"
STATES = {
    "planned": "was planned and has not begun",
    "running": "is still running, or was ended from outside",
    "interrupted": "was interrupted",
    "aborted": "was stopped by an error",
}


@dataclass(frozen=True)
class Claims:
    """Of a sampler: its order of convergence, None where it claims none, and whether it is stochastic."""

    order: float | None
    stochastic: bool


def read_run(folder: Path) -> Run:
    """What run.json in a run's folder says; None where there is none. Raises UserError where it cannot be read."""
    path = folder / "run.json"
    if not path.is_file():
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}; move it away to go on without it") from None
    if not isinstance(said, dict):
        raise UserError(f"{path} holds no JSON object; move it away to go on without it")
    return said


def part_of(said: Run, name: str) -> Mapping[str, Any]:
    """An object inside another; an empty one where it is missing."""
    part = said.get(name) if said else None
    return part if isinstance(part, Mapping) else {}


def claims_of(run: Run, sampler: str) -> Claims | None:
    """What a sampler claimed when it was run; None where that is not said."""
    for one in _asked(run):
        order, stochastic = one.get("order"), one.get("stochastic")
        if one.get("sampler") == sampler and isinstance(stochastic, bool) and "order" in one:
            return Claims(float(order) if isinstance(order, int | float) else None, stochastic)
    return None


def planned_without_rows(results: Results, run: Run) -> list[str]:
    """The samplers that a run was asked for and that have no row yet."""
    there = set(results.every["sampler"])
    return list(dict.fromkeys(str(one["sampler"]) for one in _asked(run) if one["sampler"] not in there))


def unfinished(results: Results) -> tuple[str, ...]:
    """A line where a run is not finished: how many of its cells have ended, and which samplers have none that has."""
    run = read_run(results.folder)
    status = run.get("status") if run else FINISHED
    if status == FINISHED or status not in STATES or not run:
        return ()
    rows, asked = results.every, _asked(run)
    column = "steps" if part_of(run, "config").get("axis") == "steps" else "budget"
    done, count = len(rows), run.get("cells")
    if asked and column in rows.columns:  # rows of an earlier plan in the same folder are no cells of this one
        guidance = rows["guidance"] if "guidance" in rows.columns else [""] * len(rows)
        ended = set(zip(rows["sampler"], guidance, rows[column], strict=True))
        wanted = {(one["sampler"], one.get("guidance", ""), float(value)) for one in asked for value in one["values"]}
        done, count = len(wanted & ended), len(wanted)
    told = f"{results.name} {STATES[str(status)]}: {done} of {count} cells are done"
    missing = planned_without_rows(results, run)
    return (f"{told}; no row yet of {', '.join(missing)}" if missing else told,)


def _asked(run: Run) -> list[Mapping[str, Any]]:
    """The entries of `asked` (see `bench.asked`); none of a run of an older version."""
    entries = run.get("asked") if run else None
    return [
        one
        for one in (entries if isinstance(entries, list) else [])
        if isinstance(one, Mapping) and isinstance(one.get("sampler"), str) and isinstance(one.get("values"), list)
    ]
