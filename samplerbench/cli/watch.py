"""`samplerbench run --watch`: runs again when a file is saved that the last run was made with.

Each run is a process of its own, so that every changed module is seen, however it is imported. It is forked from one
that has loaded torch, which takes seconds, and nothing of a plugin's. Files are polled: a library for it would save
nothing at ten looks a second.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from math import inf
from multiprocessing.connection import Connection
from pathlib import Path

import click

from ..diffusion.grid_file import FILE
from ..modules import loose_modules
from ..options import parse_spec, split_budgets
from ..registry import KINDS, OWN, Registry, paths_of
from .running import Asked, once

__all__ = ["Watched", "watch"]

EVERY = 0.1  # seconds between two looks
AWAY = 1.0  # seconds after which a file that is not there is no longer being saved
LATE = 5.0  # seconds after which a file's time says no more when it was saved: it was moved here
INTERRUPTED = 130
PRELOADED = ["samplerbench.cli.running", "samplerbench.metrics.builtin", "samplerbench.models.formats.builtin"]


class Watched:
    """Files, and whether what they hold is still what it was. One that is gone for a moment is being saved."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._seen: dict[Path, tuple[object, str]] = {}
        self._gone: dict[Path, float] = {}  # since when
        self.add(files)

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, files: Iterable[Path]) -> None:
        """Watches these too, from what they hold now."""
        for file in files:
            if file not in self._seen:
                self._seen[file] = _stamp(file), _digest(file)

    def changed(self) -> list[Path]:
        """Those that hold something else than when it was last asked."""
        found = []
        for file, (stamp, digest) in self._seen.items():
            now = _stamp(file)
            if now is not None and now != stamp:
                held = _digest(file)
                self._seen[file] = now, held
                if held != digest:
                    found.append(file)
        return found

    def gone(self) -> list[Path]:
        """Those that have not been there for some time, each told once until it is back."""
        found, now = [], time.monotonic()
        for file in self._seen:
            if file.exists():
                self._gone.pop(file, None)
            elif now - self._gone.setdefault(file, now) >= AWAY:
                found.append(file)
                self._gone[file] = inf
        return found


def _stamp(file: Path) -> object:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""


def watch(asked: Asked) -> int:
    """Runs, and runs again at each change, until Ctrl-C; returns the status of the last run, 130 where that was still
    going on.
    """
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(PRELOADED)
    watched, begun, again, status = Watched(_named(asked)), time.time(), False, 0
    try:
        while True:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_run, args=(asked, theirs), daemon=True)  # type: ignore[attr-defined]
            process.start()
            theirs.close()
            changed: list[Path] = []
            try:
                while process.is_alive() and not changed:
                    _listen(ours, watched)
                    process.join(EVERY)
                    changed = watched.changed()
            except KeyboardInterrupt:  # it has heard it too, and says what is finished
                process.join(LATE)
                status = INTERRUPTED
                raise
            finally:
                if process.is_alive():
                    process.terminate()
                    process.join()
            _listen(ours, watched)
            if not changed:
                status = process.exitcode or 0
                files = f"{len(watched)} file{'' if len(watched) == 1 else 's'}"
                since = "from the save to the table" if again else "to the first table"
                _say(f"{time.time() - begun:.1f} s {since}; watching {files}, Ctrl-C ends it")
            while not changed:
                time.sleep(EVERY)
                changed = watched.changed()
                for file in watched.gone():
                    _say(f"{file} is gone; watching for it")
            begun, again = _saved(changed), True
            _say(f"── {', '.join(sorted(file.name for file in changed))} was saved ──")
    except KeyboardInterrupt:
        _say("stopped watching")
        return status


def _say(line: str) -> None:
    with suppress(OSError):
        click.echo(line, err=True)


def _listen(ours: Connection, watched: Watched) -> None:
    with suppress(EOFError, OSError):
        while ours.poll():
            watched.add(ours.recv())


def _saved(changed: Iterable[Path]) -> float:
    """When the files were saved, as they say it."""
    now, times = time.time(), []
    for file in changed:
        with suppress(OSError):
            times.append(file.stat().st_mtime)
    return min(max(times), now) if times and now - max(times) < LATE else now


def _named(asked: Asked) -> list[Path]:
    """The files that the command line names: plugins, with what lies beside them, and grids."""
    found: list[Path] = []
    for name in asked.config.plugins:
        path = Path(name)
        if path.is_dir() or path.suffix == ".py":
            found += sorted((path if path.is_dir() else path.parent).resolve().glob("*.py"))
    for spec in asked.config.samplers:
        with suppress(Exception):  # the run will say what is wrong
            spacing = parse_spec(split_budgets(spec)[0])[1].get("spacing", "")
            if spacing.startswith(FILE):
                found.append(Path(spacing.removeprefix(FILE)).resolve())
    return found


def _run(asked: Asked, theirs: Connection) -> None:
    """One run in a process of its own. It tells which files it is made of, as far as it comes."""
    from . import ended, within

    def files(registry: Registry | None) -> None:
        modules = [str(sys.modules[name].__file__) for name in loose_modules()]
        with suppress(OSError):  # the other end is gone
            theirs.send([Path(file).resolve() for file in [*modules, *_data(registry)]])

    def call() -> int:
        with within():
            return once(asked, files)

    try:
        status = ended(call)
    finally:
        files(None)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    sys.exit(status)


def _data(registry: Registry | None) -> list[str]:
    """The files that classes of others depend on."""
    if registry is None:
        return []
    classes: Mapping[type, None] = dict.fromkeys(
        registered.cls for kind in KINDS for registered in getattr(registry, kind) if registered.level != OWN
    )
    found = [Path(path) for cls in classes for path in paths_of(cls)]
    return [str(file) for path in found for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
