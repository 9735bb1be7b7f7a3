"""Strips of samples: the first of each cell, side by side, from the pictures that runs keep."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .runs import image_shape
from .shown import Shown, plain_column
from .view import Strip

__all__ = ["cut_grid", "first_row", "name_of", "pictures_in", "strips"]

Pixels = NDArray[np.uint8]  # [N, H, W, C]

GRID_GAP, GRID_SIDE = 2, 64  # of `images.sample_grid`, whose pictures are cut up here
SIDE = 64  # pixels; larger images are made smaller
MOST = 1_600_000  # bytes of all strips together
FEW_COLUMNS = 4  # up to so many, a strip has eight samples, else four
GAP, GREY = 1, 128  # between two samples of a strip
# what is tried until all strips fit, the best first: the largest share of the samples, and the kind of file
FORMATS = ((1, "png"), (1, "webp"), (2, "webp"), (4, "webp"), (8, "webp"))


@dataclass(frozen=True)
class _Found:
    label: str
    column: float
    images: Pixels


def strips(rows: Shown, runs: Sequence[Mapping[str, Any] | None]) -> tuple[tuple[Strip, ...], tuple[str, ...]]:
    """The strips of the cells whose run kept a picture, in the order of the table; and what is to be told.

    runs: what run.json says of each file's run; None where there is none.
    """
    found: list[_Found] = []
    troubles: list[str] = []
    count = 8 if len(rows.columns) <= FEW_COLUMNS else 4
    listed = [pictures_in(one.folder / "samples") for one in rows.files]
    names = ("label", rows.axis, "file", "key", "samples", "model_sha256")
    for label, column, file, key, samples, model in zip(
        *(plain_column(rows.known, name) for name in names), strict=True
    ):
        shape = image_shape(runs[file], model)
        picture = listed[file].get(name_of(key, samples))
        if shape is None or picture is None:
            continue
        try:
            found.append(
                _Found(label, float(column), cut_grid(picture, shape[1], shape[2])[: min(count, int(samples))])
            )
        except (OSError, ValueError) as error:
            troubles.append(f"{picture} is no picture of samples ({error})")
    smaller = max((max(one.images.shape[1:3]) for one in found), default=0) > SIDE
    encoded = _encoded([_reduced(one.images) for one in found])
    made = tuple(
        Strip(one.label, one.column, data, f"image/{kind}", number, width, height)
        for one, (data, kind, number, width, height) in zip(found, encoded, strict=True)
    )
    notes = [f"The pictures are shown smaller, {SIDE} pixels wide."] if smaller else []
    if made and made[0].media != "image/png":
        notes.append("They are compressed with loss, so that the page stays small.")
    return made, (*notes, *troubles)


def name_of(key: str | None, samples: float | None) -> str:
    """How the name of a cell's picture ends; '' where the row does not say it."""
    return f"{key[:8]}-{samples:.0f}" if key and samples else ""


def cut_grid(path: Path, height: int, width: int) -> Pixels:
    """The images in a picture that `images.sample_grid` made, [N, H, W, C]; empty places at its end count too.

    Raises OSError or ValueError where it is no such picture of images of this height and width.
    """
    with Image.open(path) as file:
        pixels = np.asarray(file.convert("RGB" if file.mode not in ("L", "RGB") else file.mode))
    factor = max(1, GRID_SIDE // width)
    small = pixels[::factor, ::factor]
    rows, columns = (
        (size - GRID_GAP) / (one + GRID_GAP) for size, one in zip(small.shape, (height, width), strict=False)
    )
    if rows % 1 or columns % 1 or rows < 1 or columns < 1:
        raise ValueError(f"{pixels.shape[1]} × {pixels.shape[0]} pixels are no grid of images of {width} × {height}")
    small = small.reshape(*small.shape[:2], -1)[GRID_GAP:, GRID_GAP:]
    tall, wide = height + GRID_GAP, width + GRID_GAP
    cells = small.reshape(int(rows), tall, int(columns), wide, -1).swapaxes(1, 2)[:, :, :height, :width]
    return cells.reshape(-1, height, width, small.shape[-1])


def first_row(picture: Image.Image, height: int, width: int) -> Image.Image:
    """The first row of a picture that `images.sample_grid` made. Raises ValueError where it is too low for one."""
    tall = (height + 2 * GRID_GAP) * max(1, GRID_SIDE // width)
    if picture.height < tall:
        raise ValueError(f"{picture.height} pixels have no room for images of {height}")
    return picture.crop((0, 0, picture.width, tall))


def joined(images: Pixels) -> Image.Image:
    """Images side by side."""
    count, height, width, channels = images.shape
    canvas = np.full((height, count * (width + GAP) - GAP, channels), GREY, dtype=np.uint8)
    for i, one in enumerate(images):
        canvas[:, i * (width + GAP) : i * (width + GAP) + width] = one
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def pictures_in(folder: Path) -> dict[str, Path]:
    """The pictures of cells by the end of their name: the beginning of the key, and the number of samples."""
    try:
        files: Iterable[Path] = sorted(folder.iterdir())
    except OSError:
        return {}
    return {"-".join(file.stem.rsplit("-", 2)[1:]): file for file in files if file.suffix == ".png"}


def _reduced(images: Pixels) -> Pixels:
    """At most `SIDE` pixels wide and high."""
    height, width = images.shape[1:3]
    if max(height, width) <= SIDE:
        return images
    size = (max(1, width * SIDE // max(height, width)), max(1, height * SIDE // max(height, width)))
    grey = images.shape[-1] == 1
    small = [
        np.asarray(Image.fromarray(one[..., 0] if grey else one).resize(size, Image.Resampling.BOX)) for one in images
    ]
    return np.stack(small).reshape(len(small), size[1], size[0], -1)


def _encoded(all_images: Sequence[Pixels]) -> list[tuple[bytes, str, int, int, int]]:
    """Each strip's file, its kind, the number of samples, width and height: as good as there is room for."""
    found: list[tuple[bytes, str, int, int, int]] = []
    for divisor, kind in FORMATS:
        found = []
        for images in all_images:
            kept = images[: max(1, len(images) // divisor)]
            strip, buffer = joined(kept), io.BytesIO()
            strip.save(buffer, kind, **({"optimize": True} if kind == "png" else {"quality": 80}))
            found.append((buffer.getvalue(), kind, len(kept), strip.width, strip.height))
        if sum(len(one[0]) for one in found) <= MOST:
            break
    return found
