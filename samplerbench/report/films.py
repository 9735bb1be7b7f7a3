"""Films: how the first samples of cells came to be, from the pictures of trajectories that runs keep."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from .pictures import name_of, pictures_in
from .shown import Shown, plain_column
from .view import Strip

__all__ = ["ENTRY", "films", "first_samples"]

ENTRY = "samplerbench film"  # what `bench.trajectory` calls what a picture says of itself
SAMPLES = 2  # of a film that is shown
MOST = 450_000  # bytes of all of them
FORMATS = ((SAMPLES, "png"), (SAMPLES, "webp"), (1, "webp"))  # what is tried until all fit


def films(rows: Shown) -> tuple[tuple[Strip, ...], tuple[str, ...]]:
    """A film a sampler, at the middle one of the table's columns that have some; and what is to be told."""
    listed = [pictures_in(one.folder / "trajectories") for one in rows.files]
    names = ("label", rows.axis, "file", "key", "samples")
    found: dict[float, list[tuple[str, Path]]] = {}
    for label, column, file, key, samples in zip(*(plain_column(rows.known, name) for name in names), strict=True):
        if picture := listed[file].get(name_of(key, samples)):
            found.setdefault(float(column), []).append((label, picture))
    if not found:
        return (), ()
    column = sorted(found)[(len(found) - 1) // 2]
    for samples, kind in FORMATS:
        made, troubles = [], []
        for label, path in found[column]:
            try:
                made.append(_film(label, column, path, samples, kind))
            except (OSError, ValueError, KeyError, TypeError) as error:
                troubles.append(f"{path} is no picture of a trajectory ({error})")
        if sum(len(one.image) for one in made) <= MOST:
            break
    return tuple(made), tuple(troubles)


def first_samples(picture: Image.Image, samples: int = SAMPLES) -> tuple[Image.Image, dict[str, Any], str]:
    """The first samples of a picture of trajectories, what it says of itself, and the same as text. Raises ValueError,
    KeyError or TypeError where it is none.
    """
    text = str(getattr(picture, "text", {})[ENTRY])
    said = json.loads(text)
    tall, wide = said["height"] + said["gap"], said["width"] + said["gap"]
    if (picture.width + said["gap"]) % wide or (picture.width + said["gap"]) // wide != len(said["evaluations"]) + 2:
        raise ValueError(f"{picture.width} pixels are not {len(said['evaluations']) + 2} images of {said['width']}")
    height = min(samples * tall - said["gap"], picture.height)
    return picture.crop((0, 0, picture.width, height)), said, text


def _film(label: str, column: float, path: Path, samples: int, kind: str) -> Strip:
    with Image.open(path) as picture:
        part, said, _ = first_samples(picture, samples)
    buffer = io.BytesIO()
    part.save(buffer, kind, **({"optimize": True} if kind == "png" else {"quality": 80}))
    count = (part.height + said["gap"]) // (said["height"] + said["gap"])
    return Strip(label, column, buffer.getvalue(), f"image/{kind}", count, *part.size, tuple(said["evaluations"]))
