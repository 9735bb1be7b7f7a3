"""What is known of the runs that rows are from: their command and conditions, their pictures' shape, their floors."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from importlib import resources
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from ..errors import UserError
from .results import Results
from .said import Run, part_of, read_run
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
    return int(shape[0]), int(shape[1]), int(shape[2])


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
    return RunFacts(results.name, _command(run), tuple((name, value) for name, value in facts if value))


def floors_of(rows: Shown, runs: Sequence[Run]) -> tuple[Floor, ...]:
    """The floors for the metric that fit the rows: those of the same number of samples, reference and extractor, and,
    where they are the model's own, of the same model.

    They are kept in a run's folder or in that of its model, in `floors.json`: {"floors": [{"about", "metric",
    "samples", "value", "se", "reference_sha256", "extractor_sha256", "model_sha256", "asked_sha256"}]}, the last two
    for floors that are a model's, and of what it is asked for. Raises UserError for a file that is not like that.
    """
    found: dict[Floor, None] = {}
    for number, (results, run) in enumerate(zip(rows.files, runs, strict=True)):
        mine = rows.known[rows.known["file"] == number]
        path = _first_of(results.folder, mine, run)
        for floor in _read_floors(path) if path else ():
            if floor["metric"] == rows.metric.name and all(
                _only(mine, name) == floor[name] for name in ("samples", *HASHES) if floor.get(name) is not None
            ):
                found[Floor(float(floor["value"]), floor.get("se"), str(floor["about"]))] = None
    return tuple(sorted(found, key=lambda floor: floor.value))


HASHES = ("reference_sha256", "extractor_sha256", "model_sha256", "asked_sha256")
FLOOR = {"about": str, "metric": str, "samples": int, "value": (int, float), **dict.fromkeys(HASHES[:2], str)}
OPTIONAL = {"se": (int, float, type(None)), **dict.fromkeys(("model_sha256", "asked_sha256"), (str, type(None)))}


def _read_floors(path: Path) -> list[dict[str, Any]]:
    try:
        floors = json.loads(path.read_text(encoding="utf-8"))["floors"]
        for floor in floors:
            kinds: dict[str, Any] = {**FLOOR, **{name: kind for name, kind in OPTIONAL.items() if name in floor}}
            if wrong := [name for name, kind in kinds.items() if not isinstance(floor.get(name), kind)]:
                raise ValueError(f"the {wrong[0]} of a floor is {floor.get(wrong[0])!r}")
            if unknown := set(floor) - set(kinds):
                raise ValueError(f"a floor has no {min(unknown)}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is no file of floors: {error}") from None
    known: list[dict[str, Any]] = floors
    return known


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
