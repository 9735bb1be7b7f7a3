"""Which code a number went through, as a hash, so that a change of it is never served an old number.

From a root module the imports are followed, those inside functions too, through samplerbench's own modules, a plugin's,
and whatever else is no installed distribution. Each counts as its syntax tree without docstrings, so a comment costs
nothing. Installed distributions count by name and version, the standard library not at all. Imports for type checkers
alone are left out. Code that imports by computed names may use any loose module of the process, so all of them count.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from .errors import UserError
from .files import content_key
from .modules import (
    OWN,
    UNKNOWN,
    distribution_of,
    fits_bytecode,
    is_installed,
    is_standard,
    loose_modules,
    spec_of,
    version_of,
)
from .syntax import COMPUTED, UNHELD, computed_imports, imports_of, slice_of, syntax_sha256

__all__ = [
    "NAMED",
    "CodeChanged",
    "code_of",
    "code_sha256",
    "computes_imports",
    "holds",
    "remember",
    "unheld",
]

ABSENT = "absent"  # before the name of a module that is imported and not there: it may be one day


class CodeChanged(UserError):
    """A module's file is gone or no longer what was imported, so its hash would be of other code than runs."""


def code_sha256(*roots: str, own: Collection[str] = (), only: str | None = None) -> str:
    """The hash of `code_of`."""
    return content_key(code_of(*roots, own=own, only=only))


def code_of(*roots: str, own: Collection[str] = (), only: str | None = None) -> dict[str, str]:
    """What the modules `roots` consist of: each module's name with the hash of its code, each distribution's with its
    version. Where code among them imports modules by computed names, every loose module that is loaded by now counts.

    own: top-level names whose files count although they are installed. only: a class or function of the first root: of
    that module's other classes and functions only those that it names count, and what they import.
    """
    graph = _Graph(frozenset(own) | OWN)
    for root in roots:
        graph.add(root, only if root == roots[0] else None)
    if graph.computes:
        for name in sorted(loose_modules()):
            graph.add_loaded(name)
    return {label: "+".join(sorted(digests)) for label, digests in sorted(graph.found.items())}


def computes_imports(*roots: str, own: Collection[str] = ()) -> bool:
    """Whether code among the modules `roots`, and what they import, imports modules by computed names."""
    return _theirs(roots, own).computes


def unheld(*roots: str, own: Collection[str] = ()) -> list[str]:
    """Where the modules `roots`, and what they import, run code that no module holds: 'file, line 3: exec'."""
    return _theirs(roots, own).unheld


def _theirs(roots: Sequence[str], own: Collection[str]) -> _Graph:
    graph = _Graph(frozenset(own) | OWN, ours=False)
    for root in roots:
        graph.add(root)
    return graph


def holds(found: Mapping[str, str], module: str, as_it_is: bool = False) -> bool:
    """Whether a loaded module is part of what `code_of` found. as_it_is: and its file is still what was found."""
    path = Path(str(sys.modules[module].__file__))
    label = _label(module, path)
    if not as_it_is or label not in found:
        return label in found
    digest = _source(path, "").sha256 if path.suffix == ".py" else hashlib.sha256(_read(path)).hexdigest()
    return digest in found[label].split("+")


def _label(name: str, path: Path) -> str:
    """What a module is called in a key. That of a file that was named has its path in its name, and is the same code
    elsewhere.
    """
    return name if name.rpartition(".")[2] in (path.stem, path.parent.name) else f"file {path.stem}"


@dataclass
class _Graph:
    """The modules found so far: each label with the hashes of all that have it. computes: whether any imports modules
    by computed names. unheld: where any runs code that no module holds. ours: whether samplerbench's own are followed.
    """

    own: frozenset[str]
    found: dict[str, set[str]] = field(default_factory=dict)
    visited: set[str] = field(default_factory=set)
    computes: bool = False
    unheld: list[str] = field(default_factory=list)
    ours: bool = True

    def add(self, name: str, only: str | None = None) -> None:
        """A module by its full name, the packages it is in, and all that they import."""
        top = name.partition(".")[0]
        if top == "samplerbench" and (name == top or not self.ours):
            return  # samplerbench/__init__ only says where its names are; each is followed to its module
        if name in self.visited or is_standard(top):
            return
        self.visited.add(name)
        parent = name.rpartition(".")[0]
        if parent:
            self.add(parent)
        spec = spec_of(name)
        if spec is None:
            if not parent:  # else it is a name inside a module
                self._keep(f"{ABSENT} {name}", "")
            return
        if top not in self.own and spec.origin and is_installed(Path(spec.origin)) and version_of(top) != UNKNOWN:
            self._keep(distribution_of(top), version_of(top))
            return
        if spec.origin in (None, "built-in", "frozen", "namespace"):
            return
        path = Path(str(spec.origin))
        label = _label(name, path)
        if path.suffix != ".py":
            self._keep(label, hashlib.sha256(_read(path)).hexdigest())
            return
        package = name if spec.submodule_search_locations is not None else parent
        source = _source(path, package)
        _remember(name, path, source.sha256)
        if only is not None:
            label, source = f"{label}:{only}", _source(path, package, only)
        self._keep(label, source.sha256)
        if top != "samplerbench":
            self.computes |= any(found in COMPUTED for _, found in source.computed)
            self.unheld += [f"{path}, line {line}: {found}" for line, found in source.computed if found in UNHELD]
        for imported in source.imports:
            self.add(imported)

    def add_loaded(self, name: str) -> None:
        """A module that is loaded, though it may be found in no usual way."""
        self.add(name)
        path = Path(str(sys.modules[name].__file__))
        if _label(name, path) not in self.found and path.is_file():
            self._keep(_label(name, path), hashlib.sha256(_read(path)).hexdigest())

    def _keep(self, label: str, digest: str) -> None:
        self.found.setdefault(label, set()).add(digest)


@dataclass(frozen=True)
class _Source:
    """What a module's source says: the hash of its syntax, the modules it imports, what of its code is computed."""

    sha256: str
    imports: tuple[str, ...]
    computed: tuple[tuple[int, str], ...]


def _source(path: Path, package: str, only: str | None = None) -> _Source:
    try:
        return _parsed(_read(path), package, only)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path} is not Python: {error}") from None


@lru_cache(maxsize=10_000)
def _parsed(source: bytes, package: str, only: str | None) -> _Source:
    tree = ast.parse(source)
    if only is not None:
        tree = slice_of(tree, only)
    return _Source(syntax_sha256(tree), tuple(imports_of(tree, package)), tuple(computed_imports(tree)))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # of a module that this process has loaded: another's would not have been found
        raise CodeChanged(
            f"{path} is gone, and this process has loaded it, so no key can say what ran; put it back, or start Python "
            "anew"
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None


NAMED = "samplerbench_plugin_"  # starts the names of modules that are made of files, anew whenever they are named
_seen: dict[tuple[str, Path], str] = {}


def remember(names: Iterable[str]) -> None:
    """Notes the code of modules that have just been imported, so that a later change of their files is seen."""
    for name in names:
        spec = spec_of(name)
        path = Path(str(spec.origin)) if spec else Path()
        if path.suffix == ".py" and path.is_file():
            _remember(name, path, _source(path, "").sha256)


def _remember(name: str, path: Path, digest: str) -> None:
    """Refuses a module that was imported, and whose file was changed since: what runs is the old code."""
    if name not in sys.modules or name.startswith(NAMED) or name.partition(".")[0] in OWN:
        return
    before = _seen.get((name, path))
    if before != digest if before else not fits_bytecode(name, path):
        raise CodeChanged(f"{path} was changed after it had been imported; start Python anew, so that it is used")
    _seen[name, path] = digest
