"""What a module says, from its syntax tree: its hash, what of it belongs to one of its classes, what it imports."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator

__all__ = ["COMPUTED", "UNHELD", "computed_imports", "imports_of", "slice_of", "syntax_sha256"]

# What imports modules whose names are computed; and what runs code that no module in sys.modules need hold.
COMPUTED = frozenset({"import_module", "__import__", "eval", "sys.modules"})
LOADERS = ("spec_from_file_location", "spec_from_loader", "module_from_spec", "exec_module", "SourceFileLoader")
UNHELD = frozenset({"exec", "runpy", "imp", "zipimport", "SourcelessFileLoader", "ExtensionFileLoader", *LOADERS})
BUILTIN = frozenset({"exec", "eval", "__import__"})  # as methods, such as model.eval(), they are something else


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
    nodes = list(ast.walk(tree))
    if "samplerbench" in [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]:
        yield from (name for node in nodes if isinstance(node, ast.Attribute) for name in _home(node.attr))
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


def computed_imports(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and name of all in a module that imports or runs code which no import statement names: `COMPUTED` and
    `UNHELD`. A module whose name is written out, import_module("name"), is as good as a statement.
    """
    plain = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and _written_out(node)}
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and id(node) not in plain:
            found.append((node.lineno, _dotted(node)))
        elif isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names if alias.asname or node.module == "sys"]
            names += [node.module or "", *(f"{node.module}.{name}" for name in names)]
            found += [(node.lineno, name) for name in names]
    return sorted({(line, name) for line, name in found if name in COMPUTED | UNHELD})


def _written_out(call: ast.Call) -> bool:
    """Whether it imports a module whose name stands there."""
    name = call.args[0] if call.args else None
    known = isinstance(name, ast.Constant) and isinstance(name.value, str) and not name.value.startswith(".")
    return known and _called(call.func) in ("import_module", "__import__")


def _dotted(node: ast.Name | ast.Attribute) -> str:
    """What a name stands for, as far as `computed_imports` looks for it."""
    if isinstance(node, ast.Name):
        return node.id
    owner = node.value.id if isinstance(node.value, ast.Name) else ""
    if node.attr in BUILTIN and owner not in ("builtins", "__builtins__"):
        return ""
    return "sys.modules" if (owner, node.attr) == ("sys", "modules") else node.attr


def _exported(module: str, name: str) -> Iterator[str]:
    home = list(_home(name)) if module == "samplerbench" else []
    if home or name != "*":
        yield from home or [f"{module}.{name}"]


def _home(name: str) -> Iterator[str]:
    """The module that one of samplerbench's public names is of."""
    from . import _HOME

    if name in _HOME:
        yield f"samplerbench.{_HOME[name]}"


def _absolute(module: str, level: int, package: str) -> str:
    if not level:
        return module
    parts = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*parts, module] if module else parts)


def _type_checking(test: ast.expr) -> bool:
    return _called(test) == "TYPE_CHECKING"


def _called(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
