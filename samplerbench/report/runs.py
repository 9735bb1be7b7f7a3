"""What is known of the runs that rows are from: their command and conditions, their pictures' shape, their floors."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from ..errors import UserError
from .results import NEVER_NEGATIVE, Results
from .said import Run, asked_of, part_of, read_run
from .shown import Shown
from .view import Floor, RunFacts

__all__ = ["FLOORS", "facts_of", "floors_of", "floors_path", "image_shape"]

SHORT = 12  # characters of a hash
FLOORS = "floors.json"


def image_shape(run: Run, model_sha256: str | None) -> tuple[int, int, int] | None:
    """(C, H, W) of the images of a run; None where it does not say it, or a row is of another model."""
    model = part_of(run, "model")
    shape = model.get("image_shape") or model.get("sample_shape")
    if model_sha256 not in (None, model.get("sha256")) or not isinstance(shape, list) or len(shape) != 3:
        return None
    if not all(type(side) is int and 1 <= side <= 2**16 for side in shape):
        return None
    return shape[0], shape[1], shape[2]


def facts_of(results: Results, rows: pd.DataFrame, run: Run) -> RunFacts:
    """The conditions of a file's rows, and the command that made them."""

    def of(column: str, short: bool = False) -> str:
        known = rows[column].dropna().unique().tolist() if column in rows.columns else []
        return " and ".join(str(value)[:SHORT] if short else _plain(value) for value in known)

    def named(name: str, sha256: str) -> str:
        return f"{of(name)} ({of(sha256, short=True)})" if of(sha256) else of(name)

    reference, environment = part_of(run, "reference"), part_of(run, "environment")
    count = f"{of('reference_count')} real images" if of("reference_count") else ""
    data = str(reference.get("data", ""))
    git = part_of(environment, "git")
    commit = str(git.get("commit", ""))[:SHORT] + (" with changes" if git.get("dirty") else "")
    facts = [
        ("model", named("model", "model_sha256")),
        ("data set", str(part_of(run, "model").get("dataset") or "")),
        ("samples", of("samples")),
        ("seed", of("seed")),
        ("feature extractor", named("extractor", "extractor_sha256")),
        ("reference", ", ".join(filter(None, [count, data, of("reference_sha256", short=True)]))),
        ("rounding", of("quantise")),
        ("precision", of("dtype")),
        ("compiled", "" if of("compiled") == "no" else of("compiled")),
        ("device", ", ".join(filter(None, [of("device"), of("hardware")]))),
        ("versions", ", ".join(f"{name} {of(name)}" for name in ("samplerbench", "torch") if of(name))),
        ("python", str(environment.get("python", ""))),
        ("commit", commit.strip()),
        ("drawn", _between(rows)),
        ("status", "" if run is None or run.get("status") == "finished" else str(run.get("status"))),
    ]
    command, others = _command(run), cells_of_others(rows, run)
    if command and others:
        command = "" if len(others) == len(rows) else command
        where = "of another command than run.json says" if not command else "of other commands into the same folder"
        facts.append((where, f"all {len(rows)} rows" if not command else "; ".join(others)))
    return RunFacts(results.name, command, tuple((name, value) for name, value in facts if value))


def cells_of_others(rows: pd.DataFrame, run: Run) -> list[str]:
    """The rows that the last command, which run.json keeps, did not ask for: 'ddim at 10'. None where it does not say
    what it asked for.
    """
    asked, config = asked_of(run), part_of(run, "config")
    if not asked:
        return []
    column = "steps" if config.get("axis") == "steps" else "budget"
    wanted = {(one["sampler"], str(one.get("guidance", "")), str(value)) for one in asked for value in one["values"]}
    conditions = {
        "samples": config.get("samples"),
        "seed": config.get("seed"),
        "dtype": config.get("dtype"),
        "model_sha256": part_of(run, "model").get("sha256"),
        "reference_sha256": part_of(run, "reference").get("sha256"),
        "extractor_sha256": part_of(run, "extractor").get("sha256"),
    }
    said = {name: str(value) for name, value in conditions.items() if value is not None}
    names = ("sampler", "guidance", column, *said)
    found = []
    known = rows.reindex(columns=names).astype(object)
    for sampler, guided, value, *others in known.itertuples(index=False, name=None):
        guidance = _plain(guided) if pd.notna(guided) else ""
        differs = any(pd.notna(a) and _plain(a) != b for a, b in zip(others, said.values(), strict=True))
        if differs or (sampler, guidance, _plain(value)) not in wanted:
            where = f" at {_plain(value)}" if pd.notna(value) else ""
            found.append(f"{sampler}{where}{f' with guidance {guidance}' if guidance else ''}")
    return found


def floors_of(rows: Shown, runs: Sequence[Run]) -> tuple[tuple[Floor, ...], list[str]]:
    """The floors for the metric that fit the rows: those of the same number of samples, reference and extractor, and,
    where they are the model's own, of the same model. And a line a file that has floors for the metric and none that
    fits.

    They are kept in a run's folder or in that of its model, in `floors.json`: {"floors": [{"about", "metric",
    "samples", "value", "se", "reference_sha256", "extractor_sha256", "model_sha256", "asked_sha256"}]}, the last two
    for floors that are a model's, and of what it is asked for. Raises UserError for a file that is not like that.
    """
    found: dict[Floor, None] = {}
    notes: dict[str, None] = {}
    for number, (results, run) in enumerate(zip(rows.files, runs, strict=True)):
        mine = rows.known[rows.known["file"] == number]
        path = _first_of(results.folder, mine, run)
        known = [floor for floor in (_read_floors(path) if path else ()) if floor["metric"] == rows.metric.name]
        fitting = [floor for floor in known if all(_only(mine, name) == floor[name] for name in _said(floor))]
        for floor in fitting:
            found[Floor(float(floor["value"]), floor.get("se"), str(floor["about"]))] = None
        if known and len(mine) and not fitting:
            notes[f"no floor is drawn: {path} has none {_unlike(known, mine)}"] = None
    return tuple(sorted(found, key=lambda floor: floor.value)), list(notes)


def _said(floor: Mapping[str, Any]) -> list[str]:
    """The columns that a floor names a value of."""
    return [name for name in ("samples", *HASHES) if floor.get(name) is not None]


def _unlike(floors: Sequence[Mapping[str, Any]], rows: pd.DataFrame) -> str:
    """The first condition of rows that no floor has: 'of 2048 samples (it has 512 and 1024)'."""
    for name in _said(floors[0]):
        value = _only(rows, name)
        if value is None:
            return f"for rows of several values of {name}, or of none"
        if value not in [floor[name] for floor in floors if name in _said(floor)]:
            if name == "samples":
                there = " and ".join(str(count) for count in sorted({floor[name] for floor in floors}))
                return f"of {value:.0f} samples (it has those of {there})"
            return f"of this {name} ({str(value)[:SHORT]})"
    return "of just these conditions"


HASHES = ("reference_sha256", "extractor_sha256", "model_sha256", "asked_sha256")
NEEDED = ("about", "metric", "samples", "value", *HASHES[:2])
OPTIONAL = ("se", "model_sha256", "asked_sha256")


def _read_floors(path: Path) -> list[dict[str, Any]]:
    try:
        floors = json.loads(path.read_text(encoding="utf-8"))["floors"]
        for floor in floors:
            if unknown := set(floor) - {*NEEDED, *OPTIONAL}:
                raise ValueError(f"a floor has no {min(unknown)}")
            for name in (*NEEDED, *(name for name in OPTIONAL if floor.get(name) is not None)):
                if expected := _expected(name, floor.get(name), floor["metric"]):
                    raise ValueError(f"the {name} of a floor is {expected}, got {floor.get(name)!r}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is no file of floors: {error}") from None
    known: list[dict[str, Any]] = floors
    return known


def _expected(name: str, value: Any, metric: str) -> str:
    """What the value of a floor must be; '' where it is that."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    match name:
        case "samples":
            return "" if number and isinstance(value, int) and value >= 1 else "a whole number from 1 up"
        case "value" if metric not in NEVER_NEGATIVE:
            return "" if number else "a number"
        case "value" | "se":
            return "" if number and value >= 0 else "a number from 0 up"
        case _:
            return "" if isinstance(value, str) else "text"


def floors_path(folder: Path, rows: pd.DataFrame) -> Path | None:
    """The file of floors of the run in a folder, whose rows are given; None where there is none."""
    return _first_of(folder, rows, read_run(folder))


def _first_of(folder: Path, rows: pd.DataFrame, run: Run) -> Path | None:
    """Floors are in a run's folder, or that of its model, or of the shipped model that its rows name."""
    model = str(part_of(run, "config").get("model") or _only(rows, "model") or "")
    shipped = Path(str(resources.files("samplerbench.models").joinpath("shipped")))
    folders = [folder, *([shipped / model, Path(model)] if model else [])]
    return next((path for each in folders if (path := each / FLOORS).is_file()), None)


def _only(rows: pd.DataFrame, column: str) -> Any:
    """The one value of a column; None where there are several, or none."""
    known = rows[column].dropna().unique().tolist() if column in rows.columns else []
    return known[0] if len(known) == 1 else None


def _command(run: Run) -> str:
    """As it would be typed, without the folder that the program is in; '' for a run from Python."""
    words = run.get("command") if run else None
    if not isinstance(words, list) or not words or PurePath(str(words[0])).name not in ("samplerbench", "__main__.py"):
        return ""
    return shlex.join(["samplerbench", *map(str, words[1:])])


def _plain(value: Any) -> str:
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def _between(rows: pd.DataFrame) -> str:
    """The first and the last day on which rows were finished."""
    if "finished" not in rows.columns:
        return ""
    days = sorted({str(value)[:10] for value in rows["finished"].dropna()})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else ""
