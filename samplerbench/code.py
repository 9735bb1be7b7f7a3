"""Which code a number went through, as a hash, so that a change of it is never served an old number.

From a root module the imports are followed, those inside functions too, through samplerbench's own modules, a plugin's,
and whatever else is no installed distribution. Each counts as its syntax tree without docstrings, so a comment costs
nothing. Installed distributions count by name and version, the standard library not at all. Imports for type checkers
alone are left out.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from .errors import UserError
from .files import content_key
from .modules import OWN, UNKNOWN, distribution_of, is_installed, is_standard, spec_of, version_of
from .syntax import imports_of, slice_of, syntax_sha256

__all__ = ["NAMED", "CodeChanged", "code_of", "code_sha256"]

ABSENT = "absent"  # before the name of a module that is imported and not there: it may be one day


class CodeChanged(UserError):
    """A module's file is no longer what was imported, so its hash would be of other code than runs."""


def code_sha256(*roots: str, own: Collection[str] = (), only: str | None = None) -> str:
    """The hash of `code_of`."""
    return content_key(code_of(*roots, own=own, only=only))


def code_of(*roots: str, own: Collection[str] = (), only: str | None = None) -> dict[str, str]:
    """What the modules `roots` consist of: each module's name with the hash of its code, each distribution's with its
    version.

    own: top-level names whose files count although they are installed. only: a class or function of the first root: of
    that module's other classes and functions only those that it names count, and what they import.
    """
    graph = _Graph(frozenset(own) | OWN)
    for root in roots:
        graph.add(root, only if root == roots[0] else None)
    return dict(sorted(graph.found.items()))


@dataclass
class _Graph:
    """The modules found so far."""

    own: frozenset[str]
    found: dict[str, str] = field(default_factory=dict)
    visited: set[str] = field(default_factory=set)

    def add(self, name: str, only: str | None = None) -> None:
        """A module by its full name, the packages it is in, and all that they import."""
        top = name.partition(".")[0]
        if name == "samplerbench" or name in self.visited or is_standard(top):
            return  # samplerbench/__init__ only says where its names are; each is followed to its module
        self.visited.add(name)
        parent = name.rpartition(".")[0]
        if parent:
            self.add(parent)
        spec = spec_of(name)
        if spec is None:
            if not parent:  # else it is a name inside a module
                self.found[f"{ABSENT} {name}"] = ""
            return
        if top not in self.own and spec.origin and is_installed(Path(spec.origin)) and version_of(top) != UNKNOWN:
            self.found[f"{distribution_of(top)}"] = version_of(top)
            return
        if spec.origin in (None, "built-in", "frozen", "namespace"):
            return
        path = Path(str(spec.origin))
        # a file that was named has a module name with its path in it, and is the same code elsewhere
        label = name if name.rpartition(".")[2] in (path.stem, path.parent.name) else f"file {path.stem}"
        if path.suffix != ".py":
            self.found[label] = hashlib.sha256(_read(path)).hexdigest()
            return
        tree = _parse(path)
        self.found[label] = syntax_sha256(tree)
        _remember(name, path, self.found[label])
        if only is not None:
            tree = slice_of(tree, only)
            del self.found[label]
            self.found[f"{label}:{only}"] = syntax_sha256(tree)
        package = name if spec.submodule_search_locations is not None else parent
        for imported in imports_of(tree, package):
            self.add(imported)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None


def _parse(path: Path) -> ast.Module:
    source = _read(path)
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path} is not Python: {error}") from None


NAMED = "samplerbench_plugin_"  # starts the names of modules that are made of files, anew whenever they are named
_seen: dict[tuple[str, Path], str] = {}


def _remember(name: str, path: Path, digest: str) -> None:
    """Refuses a module that was imported, and whose file was changed since: what runs is the old code."""
    if name not in sys.modules or name.startswith(NAMED):
        return
    before = _seen.setdefault((name, path), digest)
    if before != digest and name.partition(".")[0] not in OWN:
        raise CodeChanged(f"{path} was changed after it had been imported; start Python anew, so that it is used")
