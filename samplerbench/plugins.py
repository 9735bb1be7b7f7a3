"""Finds and loads plugins. One that is broken is reported and skipped; the others load."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from . import code, hookspecs
from .bench.record import COLUMNS, ENDINGS
from .errors import contained, one_line
from .metrics.metric import Metric
from .modules import ADVICE, loose_modules
from .registry import INSTALLED, NAMED, OWN, PluginError, Registered, Registry, paths_of
from .sampler import Sampler, check_options, make_sampler

__all__ = ["load_plugins"]

LONGEST = 60  # bytes of a metric's name


def load_plugins(named: Iterable[str] = ()) -> Registry:
    """Every installed plugin, and those that `named` lists: a FILE.py, a FOLDER of them, or an importable module.

    A broken installed plugin becomes one of the registry's problems; a broken named one raises PluginError.
    """
    registry = Registry()
    manager = pluggy.PluginManager("samplerbench")
    manager.add_hookspecs(hookspecs)
    for entry in sorted(_entry_points(), key=lambda e: (e.dist.name if e.dist else "", e.name)):
        distribution = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown distribution"
        level = OWN if entry.dist and entry.dist.name == "samplerbench" else INSTALLED
        try:
            with _bringing(entry.module) as brought:
                with contained("it"):
                    module = entry.load()
                _register(manager, registry, module, distribution, level, brought, _top_levels(entry))
        except PluginError as error:
            registry.problems.append(
                PluginError(f"plugin '{entry.name}' of {distribution} is skipped: {error}", error.details)
            )
        except Exception as error:
            message = f"plugin '{entry.name}' of {distribution} is skipped: {one_line(error)}"
            registry.problems.append(PluginError(message, traceback.format_exc()))
    for name in named:
        for load, key in _named(name):
            with _bringing(key) as brought:
                module = load()
                own = frozenset({module.__name__.partition(".")[0]})
                _register(manager, registry, module, str(getattr(module, "__file__", name)), NAMED, brought, own)
    return registry


_brought: dict[str, set[str]] = {}


@contextmanager
def _bringing(plugin: str) -> Iterator[set[str]]:
    """The modules that loading and registering a plugin loads, those that no import statement names included; it loads
    them once a process, so they are remembered.
    """
    known = _brought.setdefault(plugin, set())
    if plugin in sys.modules:  # it will load nothing more
        yield known
        return
    before = loose_modules()
    try:
        yield known
    finally:
        later = loose_modules() - before
        known |= later
    code.remember(sorted(later))


def _top_levels(entry: metadata.EntryPoint) -> frozenset[str]:
    """The top-level names of the distribution that has an entry point."""
    files = (entry.dist.files if entry.dist else None) or []
    names = {file.parts[0].removesuffix(".py") for file in files if file.suffix == ".py"}
    return frozenset({*names, entry.module.partition(".")[0]} - {".."})


def _entry_points() -> Sequence[metadata.EntryPoint]:
    return list(metadata.entry_points(group="samplerbench"))


def _register(
    manager: pluggy.PluginManager,
    registry: Registry,
    module: ModuleType,
    distribution: str,
    level: int,
    brought: Set[str],
    own: frozenset[str],
) -> None:
    """Calls the hooks of one module; whatever goes wrong is that module's."""
    try:
        manager.register(module)
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        if manager.is_registered(module):
            manager.unregister(module)
        raise PluginError(f"{distribution}: {one_line(error)}") from None
    samplers: list[Registered] = []
    metrics: list[Registered] = []
    others = [plugin for plugin in manager.get_plugins() if plugin is not module]

    def checked(cls: Any, base: type) -> Registered:
        _check(cls, base, distribution)
        roots = tuple(dict.fromkeys([cls.__module__, module.__name__]))
        if level != OWN and not paths_of(cls):
            for place in code.unheld(*roots, *sorted(brought), own=own):
                raise PluginError(f"{place} runs code that no key would hold; {ADVICE}")
        return Registered(cls, distribution, level, roots, own, brought, registry.samplers)

    try:
        with contained("registering"):
            manager.subset_hook_caller("samplerbench_samplers", others)(
                register=lambda cls: samplers.append(checked(cls, Sampler))
            )
            manager.subset_hook_caller("samplerbench_metrics", others)(
                register=lambda cls: metrics.append(checked(cls, Metric))
            )
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(f"{distribution}: registering failed: {one_line(error)}", traceback.format_exc()) from None
    if not samplers and not metrics:
        hooks = [name for name in ("samplerbench_samplers", "samplerbench_metrics") if hasattr(module, name)]
        undecorated = hooks and not manager.get_hookcallers(module)
        why = "lacks @hookimpl" if undecorated else "is missing, or never calls register(cls)"
        name = hooks[0] if hooks else "samplerbench_samplers"
        raise PluginError(f"{distribution} registers nothing: its function {name} {why}")
    registry.samplers += samplers
    registry.metrics += metrics


def _check(cls: Any, base: type, distribution: str) -> None:
    """Raises PluginError where a class cannot be registered."""
    if not _is_subclass(cls, base):
        raise PluginError(f"{distribution}: register() takes a subclass of samplerbench.{base.__name__}, got {cls!r}")
    name: Any = getattr(cls, "name", None)
    if not isinstance(name, str) or not name or any(c in name for c in ":,= "):
        raise PluginError(f"{distribution}: {cls.__name__}.name must be a word without ':', ',', '=' or spaces")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise PluginError(f"{distribution}: {cls.__name__} does not define {missing}")
    if base is Metric:
        _check_metric(cls, distribution)
    try:
        if issubclass(cls, Sampler):
            check_options(cls)
    except TypeError as error:
        raise PluginError(f"{distribution}: {error}") from None
    try:
        with contained(cls.__name__):
            Sampler.spec(make_sampler(cls, {})) if issubclass(cls, Sampler) else cls()
    except Exception as error:
        raise PluginError(
            f"{distribution}: {cls.__name__}() with default options fails: {one_line(error)}", traceback.format_exc()
        ) from None
    for path in paths_of(cls):
        if not Path(path).exists():
            raise PluginError(f"{distribution}: {cls.__name__}.depends_on names {path}, which is not there")


def _is_subclass(cls: object, base: type) -> bool:
    return isinstance(cls, type) and issubclass(cls, base)


def _check_metric(cls: type[Metric], distribution: str) -> None:
    if cls.direction not in ("lower", "higher"):
        raise PluginError(f"{distribution}: {cls.__name__}.direction is 'lower' or 'higher', got {cls.direction!r}")
    if not cls.name.isprintable() or "/" in cls.name or len(cls.name.encode()) > LONGEST:
        raise PluginError(
            f"{distribution}: {cls.__name__}.name is part of file names: expected at most {LONGEST} bytes of "
            f"characters that print, and no '/', got {cls.name!r}"
        )
    if cls.name in COLUMNS or cls.name.endswith(ENDINGS[1:]):
        raise PluginError(f"{distribution}: {cls.__name__}.name '{cls.name}' is another column's of results.csv")


def _named(name: str) -> list[tuple[Callable[[], ModuleType], str]]:
    """What `--plugin` names: how each module of it is loaded, and what tells it apart."""
    path = Path(name)
    if path.is_dir():
        files = sorted(file for file in path.glob("*.py") if not file.name.startswith("_"))
        if not files:
            raise PluginError(f"--plugin {name}: the folder has no .py files")
        return [(partial(_import_file, file), str(file.resolve())) for file in files]
    if path.suffix == ".py":
        if not path.is_file():
            raise PluginError(f"--plugin {name}: no such file")
        return [(partial(_import_file, path), str(path.resolve()))]
    return [(partial(_import_module, name), name)]


def _import_module(name: str) -> ModuleType:
    expected = f"--plugin {name}: expected FILE.py, a FOLDER or a module that can be imported"
    if not all(part.isidentifier() for part in name.split(".")):
        raise PluginError(expected)
    try:
        with contained("it"):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise PluginError(expected) from None
        raise PluginError(f"--plugin {name}: {one_line(error)}", traceback.format_exc()) from None
    except Exception as error:
        raise PluginError(f"--plugin {name}: {one_line(error)}", traceback.format_exc()) from None


def _import_file(path: Path) -> ModuleType:
    name = f"{code.NAMED}{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    try:
        with contained("it"):
            spec.loader.exec_module(module)
    except SyntaxError as error:
        raise PluginError(f"--plugin {path}: line {error.lineno}: {error.msg}") from None
    except Exception as error:
        raise PluginError(f"--plugin {path}: {one_line(error)}", traceback.format_exc()) from None
    return module
