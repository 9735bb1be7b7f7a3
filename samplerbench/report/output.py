"""Writing what is made of runs to where the user wants it, and never over what it was made of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..files import write_whole
from .bundle import FOLDERS, SINGLE

__all__ = ["check_output", "write_output"]

FILES = (*SINGLE, "plan.json")  # of a run's folder
WITHIN = (*FOLDERS, "errors", "shards")


def check_output(out: Path, runs: Sequence[Path]) -> None:
    """Raises UserError where `out` is a file of one of the runs: folders, CSV files or bundles; a link to one, too."""
    target = _meant(out)
    for run in runs:
        place = run.resolve()
        folder = place if place.is_dir() else place.parent
        own = target in (place, *(folder / name for name in FILES))
        if own or any(folder / name in target.parents for name in WITHIN):
            raise UserError(f"{out} is a file of {run} itself; name another")


def write_output(out: Path, data: bytes, runs: Sequence[Path]) -> None:
    """Writes a file whole or not at all; through a link to where it points. Raises UserError for a file of `runs`, see
    `check_output`, for what is no regular file, and for what cannot be written.
    """
    check_output(out, runs)
    target = _meant(out)
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a file in it")
    if target.is_symlink():
        raise UserError(f"{out} cannot be written: it is a link that leads nowhere but to itself")
    if out.exists() and not out.is_file():
        raise UserError(f"{out} is no regular file, which could be written whole or not at all; name a file")
    try:
        write_whole(target, data)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}") from None


def _meant(out: Path) -> Path:
    """Where a link leads; itself where it leads in a circle, of which `Path.resolve` makes an error."""
    return Path(os.path.realpath(out))
