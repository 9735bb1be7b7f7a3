"""Which code a number went through, as a hash, so that a change of it is never served an old number.

From a root module the imports are followed, those inside functions too, through samplerbench's own modules, a plugin's,
and whatever else is no installed distribution. Each counts as its syntax tree without docstrings, so a comment costs
nothing. Installed distributions count by name and version, the standard library not at all. Imports for type checkers
alone are left out.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from .errors import UserError
from .files import content_key

__all__ = ["NAMED", "CodeChanged", "code_of", "code_sha256", "loose_modules", "syntax_sha256"]

OWN = frozenset({"samplerbench", "samplerbench_plugins"})
UNKNOWN = "unknown"  # the version of what lies among installed distributions and is of none
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


def loose_modules() -> frozenset[str]:
    """The loaded modules whose files count: neither of the standard library nor of an installed distribution."""
    return frozenset(name for name, module in list(sys.modules.items()) if _is_loose(name, module))


def _is_loose(name: str, module: object) -> bool:
    file = getattr(module, "__file__", None)
    top = name.partition(".")[0]
    if not isinstance(file, str) or top in OWN or name == "__main__":
        return False
    return not _standard(file) and not _installed(Path(file))


@dataclass
class _Graph:
    """The modules found so far."""

    own: frozenset[str]
    found: dict[str, str] = field(default_factory=dict)
    visited: set[str] = field(default_factory=set)

    def add(self, name: str, only: str | None = None) -> None:
        """A module by its full name, the packages it is in, and all that they import."""
        top = name.partition(".")[0]
        if name == "samplerbench" or name in self.visited or _is_standard(top):
            return  # samplerbench/__init__ only says where its names are; each is followed to its module
        self.visited.add(name)
        parent = name.rpartition(".")[0]
        if parent:
            self.add(parent)
        spec = _spec(name)
        if spec is None:
            if not parent:  # else it is a name inside a module
                self.found[f"{ABSENT} {name}"] = ""
            return
        if top not in self.own and spec.origin and _installed(Path(spec.origin)) and _version(top) != UNKNOWN:
            self.found[f"{_distribution(top)}"] = _version(top)
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
            tree = _slice(tree, only)
            del self.found[label]
            self.found[f"{label}:{only}"] = syntax_sha256(tree)
        package = name if spec.submodule_search_locations is not None else parent
        for imported in _imports(tree, package):
            self.add(imported)


def _spec(name: str) -> ModuleSpec | None:
    """Where a module's file is, without importing anything."""
    module = sys.modules.get(name)
    known = getattr(module, "__spec__", None)
    if isinstance(known, ModuleSpec):
        return known
    parent = name.rpartition(".")[0]
    try:
        if not parent:  # a module that put another object in its own place has a file still
            return importlib.util.find_spec(name) if module is None else PathFinder.find_spec(name)
        above = _spec(parent)
        places = None if above is None else above.submodule_search_locations
        return None if places is None else PathFinder.find_spec(name, list(places))
    except (ImportError, ValueError, AttributeError):
        return None


def _is_standard(top: str) -> bool:
    """Whether a top-level module is the standard library's, and not another's of the same name that comes before it."""
    if top not in sys.stdlib_module_names:
        return False
    spec = _spec(top)
    return spec is None or spec.origin in (None, "built-in", "frozen") or _standard(str(spec.origin))


@cache
def _standard(file: str) -> bool:
    return str(Path(file).resolve()).startswith(_standard_folders()) and not _installed(Path(file))


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
def _installed(path: Path) -> bool:
    if str(path).startswith(_prefixes()):  # resolving a thousand paths takes a second
        return True
    resolved = path.resolve()
    return any(folder in resolved.parents for folder in _sites())


@cache
def _prefixes() -> tuple[str, ...]:
    return tuple(f"{folder}{os.sep}" for folder in _sites())


@cache
def _distribution(top: str) -> str:
    """The distribution that a top-level module comes with, which may have another name."""
    try:
        return metadata.distribution(top).metadata["Name"]
    except metadata.PackageNotFoundError:
        found = metadata.packages_distributions().get(top)
        return found[0] if found else top


@cache
def _version(top: str) -> str:
    try:
        return metadata.version(_distribution(top))
    except metadata.PackageNotFoundError:
        return UNKNOWN


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


def syntax_sha256(tree: ast.AST) -> str:
    """The hash of a syntax tree: no comments, no docstrings, no line numbers, the same in every version of Python."""
    digest = hashlib.sha256()
    digest.update("".join(_plain(tree)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _plain(node: object) -> Iterator[str]:
    """A syntax tree as text. Empty fields are left out: each version of Python has further ones."""
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name in node._fields:
            value = getattr(node, name, None)
            if name == "body" and isinstance(node, DOCUMENTED) and value and _is_text(value[0]):
                value = value[1:]
            if value is None or value == [] or name in ("kind", "ctx", "type_comment"):
                continue
            yield f" {name}="
            yield from _plain(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            yield from _plain(item)
            yield ","
        yield "]"
    else:
        yield repr(node)


DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
DOCUMENTED = (ast.Module, *DEFINITIONS)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _slice(tree: ast.Module, only: str) -> ast.Module:
    """A module without those classes and functions at its top that neither `only` nor the rest of it names, directly or
    through others; all of it where `only` is none of them.
    """
    named = {node.name: node for node in tree.body if isinstance(node, DEFINITIONS)}
    if only not in named:
        return tree
    wanted, queue = set(), [only, *(n for node in tree.body if not isinstance(node, DEFINITIONS) for n in _names(node))]
    while queue:
        name = queue.pop()
        if name in named and name not in wanted:
            wanted.add(name)
            queue += _names(named[name])
    body = [node for node in tree.body if not isinstance(node, DEFINITIONS) or node.name in wanted]
    return ast.Module(body=body, type_ignores=[])


def _names(node: ast.AST) -> list[str]:
    return [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """The full names of the modules that a module imports, anywhere in it. What is imported from a module may be one of
    its own modules or not; both names are given.
    """
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and _type_checking(node.test):
            stack += node.orelse
            continue
        stack += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node.module or "", node.level, package)
            if base:
                yield base
                for alias in node.names:
                    yield from _exported(base, alias.name)
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                level = len(name.value) - len(name.value.lstrip("."))
                yield _absolute(name.value.lstrip("."), level, package)


def _exported(module: str, name: str) -> Iterator[str]:
    if module == "samplerbench":
        from . import _HOME

        if name in _HOME:
            yield f"samplerbench.{_HOME[name]}"
            return
    if name != "*":
        yield f"{module}.{name}"


def _absolute(module: str, level: int, package: str) -> str:
    if not level:
        return module
    parts = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*parts, module] if module else parts)


def _type_checking(test: ast.expr) -> bool:
    return _called(test) == "TYPE_CHECKING"


def _called(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
