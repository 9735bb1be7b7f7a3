"""What a module says, from its syntax tree: its hash, what of it belongs to one of its classes, what it imports."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator

__all__ = ["imports_of", "slice_of", "syntax_sha256"]


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


def slice_of(tree: ast.Module, only: str) -> ast.Module:
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


def imports_of(tree: ast.AST, package: str) -> Iterator[str]:
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
