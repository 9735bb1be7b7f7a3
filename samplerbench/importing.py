"""Imports of somebody's code, by module or by file, with what goes wrong as one line and a traceback."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from . import code
from .errors import PluginError, contained, one_line

__all__ = ["import_file", "import_module", "missing_module"]


def import_module(name: str, option: str) -> ModuleType:
    """The module of that name. option: what the user gave it as, for messages. Raises PluginError."""
    near = f"; did you mean {name}.py, the file?" if Path(f"{name}.py").is_file() else ""
    files = "FILE.py" if option == "--model" else "FILE.py, a FOLDER"
    expected = f"{option} {name}: expected {files} or a module that can be imported{near}"
    if not all(part.isidentifier() for part in name.split(".")):
        raise PluginError(expected)
    try:
        with contained("it"):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise PluginError(expected) from None
        raise PluginError(f"{option} {name}: {one_line(error)}", traceback.format_exc()) from None
    except Exception as error:
        raise PluginError(f"{option} {name}: {one_line(error)}", traceback.format_exc()) from None


def import_file(path: Path, option: str) -> ModuleType:
    """The module in a file, under a name made of its path. Raises PluginError."""
    if not path.is_file():
        raise PluginError(f"{option} {path}: no such file")
    name = f"{code.NAMED}{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    try:
        try:
            with contained("it"):
                spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]  # no key is to hold code that was not loaded
            raise
    except SyntaxError as error:
        other = error.filename and Path(error.filename).resolve() != path.resolve()
        where = f"it imports {error.filename}, line {error.lineno}" if other else f"line {error.lineno}"
        raise PluginError(f"{option} {path}: {where}: {error.msg}") from None
    except Exception as error:
        if missing := missing_module(error, path):
            raise PluginError(f"{option} {path}: {missing}") from None
        raise PluginError(f"{option} {path}: {one_line(error)}", traceback.format_exc()) from None
    return module


def missing_module(error: Exception, path: Path) -> str:
    """What to say where the code of a file imports a module that cannot be found; empty for any other error. A file is
    loaded by its path, and its folder does not join those that Python searches: a file beside it may hide a package.
    """
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    top = error.name.partition(".")[0]
    if top in sys.modules or importlib.util.find_spec(top) is not None:  # a module in it is not there
        return f"it imports {error.name}, and {top} has no such module"
    folder = path.parent
    if (folder / f"{top}.py").is_file() or (folder / top).is_dir():
        return f"it imports {top}, which lies beside it; call samplerbench with PYTHONPATH={folder}"
    return (
        f"it imports {top}, which is not installed; where it is a file of yours, name its folder by PYTHONPATH=FOLDER"
    )
