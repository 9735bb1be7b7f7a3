"""What `export-results` puts into a bundle."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..bench.influences import influence_path
from ..bench.record import ENDINGS
from ..errors import UserError
from .bundle import packed
from .edited import edited_line
from .films import ENTRY, first_samples
from .output import write_output
from .pictures import first_row
from .reading import read_sheet
from .runs import FLOORS, floors_path, image_shape
from .said import read_run
from .words import plural

__all__ = ["write_bundle"]

NEEDED = ("sampler", "nfe")


def write_bundle(run: Path, out: Path) -> list[str]:
    """Writes the bundle of a run's folder; what could not be put into it is returned, a line each.

    Raises UserError for what is no run's folder, and for a file that cannot be written.
    """
    if not (run / "results.csv").is_file():
        raise UserError(f"{run} is no run's folder: it has no results.csv")
    files: dict[str, bytes] = {}
    notes: list[str] = []
    try:
        for name in ("results.csv", "run.json"):
            if (run / name).is_file():
                files[name] = (run / name).read_bytes()
        rows = read_sheet(run / "results.csv", NEEDED).rows
        if edited := edited_line(str(run / "results.csv"), rows):
            notes.append(edited)
        if floors := floors_path(run, rows):
            files[FLOORS] = floors.read_bytes()
        missing = 0
        for path in _influences(run, rows.to_dict("records")):
            if path.is_file():
                files[f"influences/{path.name}"] = path.read_bytes()
            else:
                missing += 1
        files |= {**dict(_pictures(run)), **dict(_trajectories(run))}
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror or error}") from None
    if missing:
        notes.append(f"{run / 'influences'} has no file of {plural(missing, 'figure')}: compared unpaired")
    if "run.json" not in files:
        notes.append(f"{run} has no run.json: the bundle says no command and has no pictures")
    write_output(out, packed(files), [run])
    return notes


def _influences(run: Path, rows: Sequence[Mapping[Any, Any]]) -> Iterator[Path]:
    """The files that pair the rows, of every metric that they have."""
    columns = set(rows[0]) if rows else set()
    metrics = [name for name in columns if columns >= {name + ending for ending in ENDINGS}]
    for row in rows:
        for name in metrics:
            needed = (name, f"{name}_sha256", "key", "reference_sha256", "samples")
            if all(row.get(key) is not None for key in needed):
                yield influence_path(run, row, name)


def _pictures(run: Path) -> Iterator[tuple[str, bytes]]:
    """The first row of each picture, which is a grid as well."""
    shape = image_shape(read_run(run), None)
    for path in sorted((run / "samples").glob("*.png")) if shape else ():
        assert shape is not None
        buffer = io.BytesIO()
        try:
            with Image.open(path) as picture:
                first_row(picture, shape[1], shape[2]).save(buffer, "png", optimize=True)
        except (OSError, ValueError):  # no picture of samples: the bundle is whole without it
            continue
        yield f"samples/{path.name}", buffer.getvalue()


def _trajectories(run: Path) -> Iterator[tuple[str, bytes]]:
    """The first samples of each picture of trajectories."""
    for path in sorted((run / "trajectories").glob("*.png")):
        buffer, about = io.BytesIO(), PngInfo()
        try:
            with Image.open(path) as picture:
                part, _, text = first_samples(picture)
        except (OSError, ValueError, KeyError, TypeError):  # none: the bundle is whole without it
            continue
        about.add_text(ENTRY, text)
        part.save(buffer, "png", optimize=True, pnginfo=about)
        yield f"trajectories/{path.name}", buffer.getvalue()
