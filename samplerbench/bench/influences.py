"""What a run keeps of each metric of each cell for comparisons: the influence of every sample, and the metric of common
halves of them. So two runs are compared, paired, without the features of either.

A file a metric and cell, also where there are no influences: a row of results.csv promises it. Its name is made of all
that the value depends on, so that no other value is ever written in its place, or read from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files import Damaged, content_key, load_arrays, save_arrays

__all__ = ["Kept", "influence_path", "load_kept", "save_kept"]


@dataclass(frozen=True)
class Kept:
    """A metric of a cell, as far as comparisons need it.

    influences: [n], what each sample adds to the value; halves: [H, 2], the metric of both halves of the samples, for
    each of the halvings that all cells of n samples have in common. Either is None where the metric has none.
    """

    value: float
    influences: np.ndarray | None = None
    halves: np.ndarray | None = None


def influence_path(folder: Path, row: Mapping[str, Any], metric: str) -> Path:
    """Where the run in `folder` keeps a metric of a row of results.csv. Raises KeyError where the row lacks a column
    that tells it apart.
    """
    identity = {name: str(row[name]) for name in ("key", "reference_sha256", f"{metric}_sha256")}
    return folder / "influences" / f"{content_key([identity, int(row['samples'])])[:24]}-{metric}.safetensors"


def save_kept(path: Path, kept: Kept) -> None:
    """Writes what is kept of a metric. Raises OSError."""
    arrays = {}
    if kept.influences is not None:
        arrays["influences"] = kept.influences.astype(np.float32)
    if kept.halves is not None:
        arrays["halves"] = kept.halves.astype(np.float64)
    save_arrays(path, arrays, {"name": path.name, "value": kept.value})


def load_kept(path: Path) -> Kept:
    """What `save_kept` wrote. Raises FileNotFoundError, and Damaged."""
    arrays, about = load_arrays(path)
    try:
        if about.get("name", path.name) != path.name:  # runs of before did not say it
            raise Damaged("it is another's")
        influences, halves = (arrays[name].astype(np.float64) if name in arrays else None for name in NAMES)
        return Kept(float(about["value"]), influences, halves)
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(f"it is not what is kept of a metric: {error}") from None


NAMES = ("influences", "halves")
