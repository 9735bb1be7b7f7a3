"""Where a module's file is, without importing it, and whose it is: the standard library's, an installed distribution's,
or loose, which is everything else.
"""

from __future__ import annotations

import importlib.util
import os
import site
import struct
import sys
import sysconfig
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path

__all__ = [
    "ADVICE",
    "OWN",
    "UNKNOWN",
    "distribution_of",
    "fits_bytecode",
    "is_installed",
    "is_standard",
    "loose_modules",
    "spec_of",
    "version_of",
]

ADVICE = "import it by a plain import statement, or name its file in depends_on"  # to who loads code in another way
OWN = frozenset({"samplerbench", "samplerbench_plugins"})
UNKNOWN = "unknown"  # the version of what lies among installed distributions and is of none


def loose_modules() -> frozenset[str]:
    """The loaded modules whose files count: neither of the standard library nor of an installed distribution."""
    return frozenset(name for name, module in list(sys.modules.items()) if _is_loose(name, module))


def _is_loose(name: str, module: object) -> bool:
    file = getattr(module, "__file__", None)
    top = name.partition(".")[0]
    if not isinstance(file, str) or not os.path.isabs(file) or top in OWN or name in ("__main__", "__mp_main__"):
        return False  # what a program makes up as a module, torch.classes, has no file, or no such one
    return not _standard(file) and not is_installed(Path(file))


def spec_of(name: str) -> ModuleSpec | None:
    """Where a module's file is, without importing anything."""
    module = sys.modules.get(name)
    known = getattr(module, "__spec__", None)
    if isinstance(known, ModuleSpec):
        return known
    if name == "__main__":  # a script, of which Python keeps no spec
        file = getattr(module, "__file__", None)
        return None if file is None else importlib.util.spec_from_file_location(name, os.path.abspath(file))
    parent = name.rpartition(".")[0]
    try:
        if not parent:  # a module that put another object in its own place has a file still
            return importlib.util.find_spec(name) if module is None else PathFinder.find_spec(name)
        above = spec_of(parent)
        places = None if above is None else above.submodule_search_locations
        return None if places is None else PathFinder.find_spec(name, list(places))
    except (ImportError, ValueError, AttributeError):
        return None


def is_standard(top: str) -> bool:
    """Whether a top-level module is the standard library's, and not another's of the same name that comes before it."""
    if top not in sys.stdlib_module_names:
        return False
    spec = spec_of(top)
    return spec is None or spec.origin in (None, "built-in", "frozen") or _standard(str(spec.origin))


@cache
def _standard(file: str) -> bool:
    return str(Path(file).resolve()).startswith(_standard_folders()) and not is_installed(Path(file))


@cache
def _standard_folders() -> tuple[str, ...]:
    return tuple(f"{Path(sysconfig.get_path(name)).resolve()}{os.sep}" for name in ("stdlib", "platstdlib"))


@cache
def _sites() -> tuple[Path, ...]:
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    folders = {Path(p).resolve() for p in (*paths, site.getusersitepackages()) if p}
    named = {Path(p).resolve() for p in sys.path if Path(p).name in ("site-packages", "dist-packages")}
    return tuple(sorted(folders | named))


@cache
def is_installed(path: Path) -> bool:
    if str(path).startswith(_prefixes()):  # resolving a thousand paths takes a second
        return True
    resolved = path.resolve()
    return any(folder in resolved.parents for folder in _sites())


@cache
def _prefixes() -> tuple[str, ...]:
    return tuple(f"{folder}{os.sep}" for folder in _sites())


@cache
def distribution_of(top: str) -> str:
    """The distribution that a top-level module comes with, which may have another name."""
    try:
        return metadata.distribution(top).metadata["Name"]
    except metadata.PackageNotFoundError:
        found = metadata.packages_distributions().get(top)
        return found[0] if found else top


@cache
def version_of(top: str) -> str:
    try:
        return metadata.version(distribution_of(top))
    except metadata.PackageNotFoundError:
        return UNKNOWN


def fits_bytecode(name: str, path: Path) -> bool:
    """Whether the file of a loaded module is what it was when it was imported, as far as Python's own cache says: it
    holds the time and size of the source that was read. True where there is none.
    """
    spec = spec_of(name)
    if spec is None or type(spec.loader) is not SourceFileLoader or sys.dont_write_bytecode or not spec.cached:
        return True
    try:
        head, now = Path(spec.cached).read_bytes()[:16], path.stat()
        flags, time, size = struct.unpack("<4xIII", head)
    except (OSError, struct.error):
        return True
    written = os.access(Path(spec.cached).parent, os.W_OK) and not flags
    return not written or (time, size) == (int(now.st_mtime) & 0xFFFFFFFF, now.st_size & 0xFFFFFFFF)
