"""What the cache holds, and what of it may go.

The key of a cell is a hash, which says nothing to people. So a cell's folder has a label: the cell in plain text, and
its model's name. A label is in no key. Its time is when a run last used the cell.
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..files import PART, content_key, write_whole
from .cell import Cell

__all__ = ["Entry", "describe", "entries", "removable", "remove", "unfinished", "used_now", "using"]

LABEL, RUNS = "cell.json", ".runs"
KEY = re.compile(r"[0-9a-f]{64}")
RECENT = 3600.0  # seconds in which whatever was written or used stays
ELSEWHERE = 7 * 24 * 3600.0  # for which a run of another machine is believed to go on


@dataclass(frozen=True)
class Entry:
    """A cell's folder, or a file that is kept beside the cells. size: bytes. used: when it last was, as Unix time.
    cell: what its label says, by field; None where it has none. about: what it is then, for people.
    """

    path: Path
    size: int
    used: float
    model: str = ""
    sampler: str = ""
    about: str = ""
    cell: Mapping[str, Any] | None = None


def describe(root: Path, cell: Cell, model: str) -> None:
    """Labels the cell's folder, where there is one, and notes that it is used."""
    folder = root / cell.key[:2] / cell.key
    with suppress(OSError):  # a label is not worth a run
        if (folder / LABEL).is_file():
            os.utime(folder / LABEL)
        elif folder.is_dir():
            write_whole(folder / LABEL, (json.dumps({"model": model, "cell": asdict(cell)}) + "\n").encode())


def entries(root: Path) -> Iterator[Entry]:
    """What is in a cache. What nobody here has written is left out. Raises OSError."""
    for folder in sorted(one for one in root.iterdir() if one.is_dir() and one.name != RUNS):
        for path in sorted(folder.iterdir()):
            if KEY.fullmatch(path.name) and path.is_dir() and path.name.startswith(folder.name):
                yield _cell_in(path)
            elif KEY.fullmatch(path.stem) and path.suffix in (".safetensors", ".npz"):
                with suppress(FileNotFoundError):
                    found = path.stat()
                    yield Entry(path, found.st_size, found.st_mtime, about=folder.name)


def _cell_in(folder: Path) -> Entry:
    found = list(_stats(folder))
    size, used = sum(one.st_size for one in found), max((one.st_mtime for one in found), default=0.0)
    try:
        said = json.loads((folder / LABEL).read_text(encoding="utf-8"))
        model, cell = str(said["model"]), dict(said["cell"])
        if content_key(cell) != folder.name:
            return Entry(folder, size, used, about="no label")
        return Entry(folder, size, used, model, str(cell["sampler"]), cell=cell)
    except (OSError, KeyError, RecursionError, TypeError, ValueError):
        return Entry(folder, size, used, about="no label")


def _stats(folder: Path) -> Iterator[os.stat_result]:
    """Of the files in a folder, without those that a run finishes, or another removes, right now."""
    with suppress(FileNotFoundError):
        for file in folder.iterdir():
            with suppress(FileNotFoundError):
                yield file.stat()


def unfinished(root: Path) -> list[Path]:
    """Files that somebody who was killed did not finish."""
    return [path for path in sorted(root.rglob(f".*{PART}")) if not _recent(path)]


def _recent(path: Path) -> bool:
    with suppress(OSError):
        return time.time() - path.stat().st_mtime < RECENT
    return False


def removable(found: Iterable[Entry], root: Path) -> list[Entry]:
    """The entries that no run uses, and that were not written or used within the last hour."""
    busy = used_now(root)
    return [one for one in found if one.path.name not in busy and time.time() - one.used >= RECENT]


def remove(wanted: Iterable[Entry], root: Path) -> list[Entry]:
    """Deletes entries that are still removable; returns those. Raises OSError."""
    gone = []
    for entry in wanted:
        if not removable([entry], root):
            continue
        if entry.path.is_dir():
            shutil.rmtree(entry.path)
            with suppress(OSError):  # others are in there
                entry.path.parent.rmdir()
        else:
            entry.path.unlink()
        gone.append(entry)
    return gone


@contextmanager
def using(root: Path, keys: Iterable[str]) -> Iterator[None]:
    """While it is open, these cells are used, and nobody removes them. A cache that cannot be written has nothing to
    remove.
    """
    path = root / RUNS / f"{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}.json"
    part = path.with_suffix(PART)  # it has its name when it is locked
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("w", encoding="utf-8")
    except OSError:
        yield
        return
    try:
        with file:
            with suppress(OSError, ImportError):  # a disk without room, or without locks
                from fcntl import LOCK_EX, flock

                flock(file, LOCK_EX)
                json.dump(list(keys), file)
                file.flush()
                part.replace(path)
            yield
    finally:
        for one in (part, path):
            one.unlink(missing_ok=True)


def used_now(root: Path) -> set[str]:
    """The keys of cells that runs are using. Notes of runs that were killed are deleted."""
    keys = set[str]()
    for path in (root / RUNS).glob("*.json"):
        try:
            with path.open("r+", encoding="utf-8") as file:
                if _goes_on(path, file.fileno()):
                    keys.update(json.load(file))
                else:
                    path.unlink()
        except (FileNotFoundError, ValueError):  # it ends, or begins, right now
            continue
    return keys


def _goes_on(path: Path, number: int) -> bool:
    """Whether the run of a note has not ended: it holds a lock, or is on another machine, whose locks may not show."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    try:
        flock(number, LOCK_EX | LOCK_NB)
    except OSError:
        return True
    return not path.name.startswith(f"{platform.node()}-") and time.time() - path.stat().st_mtime < ELSEWHERE


def fields_differ(cell: Mapping[str, Any]) -> bool:
    """Whether a cell is of a samplerbench whose cells have other fields."""
    return set(cell) != {one.name for one in fields(Cell)}
