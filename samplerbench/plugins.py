"""Finds and loads plugins. One that is broken is reported and skipped; the others load.

Precedence: what `--plugin` names beats installed distributions, which beat samplerbench's own. A name registered at a
higher level replaces one at a lower; two at the same level are an error when the name is used.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from . import code, hookspecs
from .bench.record import COLUMNS
from .errors import UserError, contained, one_line, unknown
from .files import content_key, sha256
from .metrics.metric import Metric
from .sampler import Sampler, check_options, make_sampler, parse_spec

__all__ = ["PluginError", "Registered", "Registry", "load_plugins"]

OWN, INSTALLED, NAMED = 0, 1, 2  # levels of precedence


class PluginError(UserError):
    """A plugin that could not be loaded; `details` is its traceback."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


@dataclass(frozen=True)
class Registered:
    """A sampler or metric class and where it came from.

    distribution: 'name version', or the file of a `--plugin`. roots: the modules that its code starts from. own: the
    top-level names of its distribution, whose files count as its code although they are installed.
    """

    cls: Any
    distribution: str
    level: int
    roots: tuple[str, ...]
    own: frozenset[str] = frozenset()

    @cached_property
    def code(self) -> dict[str, str]:
        """What it consists of, each part with its hash: modules, distributions, the files that it depends on."""
        only, roots = None, self.roots
        if issubclass(self.cls, Metric):
            only = self.cls.__name__ if self.level == OWN else None  # each of ours counts apart from its neighbours
            roots = (*roots, "samplerbench.bench.measure")
        return code.code_of(*roots, own=self.own, only=only) | _files(self.cls)

    @cached_property
    def code_sha256(self) -> str:
        """The hash of its code."""
        return content_key(self.code)

    def accounts_for(self, module: str) -> bool:
        """Whether a loaded module is part of its code."""
        file = getattr(sys.modules.get(module), "__file__", None)
        return module in self.code or (file is not None and str(Path(file).resolve()) in _paths(self.cls))


@dataclass
class Registry:
    """What plugins registered. `problems` are those that were skipped; `notices` say which name replaced which."""

    samplers: list[Registered] = field(default_factory=list)
    metrics: list[Registered] = field(default_factory=list)
    problems: list[PluginError] = field(default_factory=list)

    def entry(self, name: str) -> Registered:
        """The sampler of that name or alias at the highest level of precedence."""
        found = [r for r in self.samplers if name == r.cls.name] or [r for r in self.samplers if name in r.cls.aliases]
        if not found:
            raise unknown("sampler", name, {n for r in self.samplers for n in (r.cls.name, *r.cls.aliases)})
        return _highest("sampler", name, found)

    def metric_entry(self, name: str) -> Registered:
        """The metric of that name at the highest level of precedence."""
        found = [r for r in self.metrics if name == r.cls.name]
        if not found:
            raise unknown("metric", name, {r.cls.name for r in self.metrics})
        return _highest("metric", name, found)

    def current(self) -> list[Registered]:
        """The sampler that each name stands for, by name; names that clash are left out."""
        return self._without_clashes({r.cls.name for r in self.samplers}, self.entry)

    def current_metrics(self) -> list[Registered]:
        """The metric that each name stands for, by name; names that clash are left out."""
        return self._without_clashes({r.cls.name for r in self.metrics}, self.metric_entry)

    def _without_clashes(self, names: set[str], entry: Callable[[str], Registered]) -> list[Registered]:
        chosen = []
        for name in sorted(names):
            try:
                chosen.append(entry(name))
            except UserError as clash:
                self.problems.append(PluginError(str(clash)))
        return chosen

    def notices(self) -> list[str]:
        """Which registered names are hidden by others of higher precedence."""
        hidden = []
        for kind, registered in (("sampler", self.samplers), ("metric", self.metrics)):
            for r in registered:
                winners = [w for w in registered if w.cls.name == r.cls.name and w.level > r.level]
                if winners:
                    winner = winners[-1].distribution
                    hidden.append(f"{kind} '{r.cls.name}' of {winner} replaces that of {r.distribution}")
        return hidden

    def sampler(self, spec: str) -> Sampler:
        """The sampler that 'name:key=value:…' describes."""
        name, options = parse_spec(spec)
        return make_sampler(self.entry(name).cls, options)

    def metric(self, name: str) -> Metric:
        """The metric of that name."""
        metric: Metric = self.metric_entry(name).cls()
        return metric


def _highest(kind: str, name: str, found: list[Registered]) -> Registered:
    top = max(r.level for r in found)
    best = [r for r in found if r.level == top]
    if len(best) > 1:
        origins = " and ".join(r.distribution for r in best)
        raise UserError(f"{kind} '{name}' is registered by {origins}; uninstall one, or choose with --plugin")
    return best[0]


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
            with contained("it"), _bringing(entry.module) as brought:
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
    """The modules that loading a plugin loads, those that no import statement names included; it loads them once a
    process, so they are remembered.
    """
    known = _brought.setdefault(plugin, set())
    if plugin in sys.modules:  # it will load nothing more
        yield known
        return
    before = code.loose_modules()
    yield known
    known |= code.loose_modules() - before


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
    brought: Collection[str],
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
        roots = dict.fromkeys([cls.__module__, module.__name__, *sorted(brought)])
        return Registered(cls, distribution, level, tuple(roots), own)

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
    for path in _paths(cls):
        if not Path(path).exists():
            raise PluginError(f"{distribution}: {cls.__name__}.depends_on names {path}, which is not there")


def _is_subclass(cls: object, base: type) -> bool:
    return isinstance(cls, type) and issubclass(cls, base)


def _check_metric(cls: type[Metric], distribution: str) -> None:
    if cls.direction not in ("lower", "higher"):
        raise PluginError(f"{distribution}: {cls.__name__}.direction is 'lower' or 'higher', got {cls.direction!r}")
    if cls.name in COLUMNS or cls.name.endswith(("_se", "_n")):
        raise PluginError(f"{distribution}: {cls.__name__}.name '{cls.name}' is another column's of results.csv")


def _paths(cls: type) -> list[str]:
    """The files and folders that a class says it depends on, whole; relative ones start from the class's own file."""
    names = getattr(cls, "depends_on", ())
    folder = Path(inspect.getfile(cls)).parent if names else Path()
    return [str((folder / name).resolve()) for name in ([names] if isinstance(names, str | Path) else names)]


def _files(cls: type) -> dict[str, str]:
    """The hashes of those files, and of all in those folders."""
    found: dict[str, str] = {}
    for path in map(Path, _paths(cls)):
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        try:
            found |= {f"file {file.relative_to(path.parent).as_posix()}": sha256(file) for file in files}
        except OSError as error:
            raise UserError(f"{path}, which {cls.__name__} depends on, cannot be read: {error.strerror}") from None
    return found


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
    try:
        with contained("it"):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise PluginError(f"--plugin {name}: expected FILE.py, a FOLDER or a module that can be imported") from None
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
