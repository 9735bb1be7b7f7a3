"""Finds and loads plugins. One that is broken is reported and skipped; the others load."""

from __future__ import annotations

import inspect
import sys
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from . import code, hookspecs
from .bench.record import COLUMNS, ENDINGS
from .diffusion.guidance import Guider
from .diffusion.paths import PATHS, check_path
from .diffusion.spacing import SPACINGS, check_spacing
from .errors import PluginError, UserError, contained, one_line, unknown
from .importing import import_file, import_module
from .metrics.extractor import Extractor
from .metrics.metric import Metric
from .modules import ADVICE, loose_modules
from .options import check_fields
from .registry import INSTALLED, KINDS, NAMED, OWN, Registered, Registry, paths_of
from .sampler import Sampler, check_options

if TYPE_CHECKING:
    from .models.model import Model

__all__ = ["load_model", "load_plugins"]

LONGEST = 60  # bytes of a metric's name


def load_plugins(named: Iterable[str] = (), samplers: Iterable[Sampler] = ()) -> Registry:
    """Every installed plugin, and those that `named` lists: a FILE.py, a FOLDER of them, or an importable module. And
    the classes of `samplers`, objects that somebody has made.

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
    for cls in dict.fromkeys(map(type, samplers)):
        _join_class(registry, cls)
    return registry


def _join_class(registry: Registry, cls: type[Sampler]) -> None:
    """Registers the class of an object, unless it is what its name stands for."""
    if any(registered.cls is cls for registered in registry.samplers):
        return
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    where = str(file or f"{cls.__qualname__} as it is defined here")
    _check(cls, Sampler, where)
    if file is None:  # no file tells when it changes, so nothing of it is kept for another run
        unkept = {f"class {cls.__qualname__}": uuid.uuid4().hex}
        registry.samplers.append(Registered(cls, where, NAMED, (), samplers=registry.samplers, unkept=unkept))
        return
    own = frozenset({cls.__module__.partition(".")[0]})
    for place in code.unheld(cls.__module__, own=own):
        raise PluginError(f"{place} runs code that no key would hold; {ADVICE}")
    registry.samplers.append(Registered(cls, where, NAMED, (cls.__module__,), own, samplers=registry.samplers))


def load_model(spec: str, plugins: Iterable[str] = ()) -> Model:
    """A trained model as `samplerbench run --model` takes it, ready on the CPU.

    Args:
        spec: a shipped model's name, a folder or file of a format in `samplerbench list models`, 'hf:owner/name', or
            'package.module:factory'.
        plugins: FILE.py, FOLDER or module names that register formats, paths or spacings of your own.

    Raises UserError where no format recognises it, where several do, or where what its files say cannot be.
    """
    return load_plugins(plugins).model(spec)


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
        if odd := _unknown_hooks(module):
            raise PluginError(f"{distribution}: {unknown('hook', odd[0], map(_hook, KINDS))}") from None
        raise PluginError(f"{distribution}: {one_line(error)}") from None
    found: dict[str, list[Registered]] = {kind: [] for kind in KINDS}
    others = [plugin for plugin in manager.get_plugins() if plugin is not module]

    def register(kind: str, cls: Any) -> None:
        made = _check(cls, KINDS[kind], distribution)
        rivals = [r.distribution for r in getattr(registry, kind) if r.cls.name == made.name and r.level == level]
        if kind in ("spacings", "paths"):
            _join(kind[:-1], made, distribution, rivals)
        roots = tuple(dict.fromkeys([cls.__module__, module.__name__]))
        if level != OWN and not paths_of(cls):
            for place in code.unheld(*roots, *sorted(brought), own=own):
                raise PluginError(f"{place} runs code that no key would hold; {ADVICE}")
        found[kind].append(Registered(cls, distribution, level, roots, own, brought, registry.samplers))

    try:
        with _taken_back(), contained("registering"):
            for kind in KINDS:
                manager.subset_hook_caller(_hook(kind), others)(register=partial(register, kind))
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(f"{distribution}: registering failed: {one_line(error)}", traceback.format_exc()) from None
    if not any(found.values()):
        hooks = [_hook(kind) for kind in KINDS if hasattr(module, _hook(kind))]
        undecorated = hooks and not manager.get_hookcallers(module)
        why = "lacks @hookimpl" if undecorated else "is missing, or never calls register(cls)"
        name = hooks[0] if hooks else _hook("samplers")
        also = f"; {unknown('hook', odd[0], map(_hook, KINDS))}" if (odd := _unknown_hooks(module)) else ""
        raise PluginError(f"{distribution} registers nothing: its function {name} {why}{also}")
    for kind, classes in found.items():
        getattr(registry, kind).extend(classes)


def _unknown_hooks(module: ModuleType) -> list[str]:
    """Its functions that are called like a hook and are none."""
    hooks = set(map(_hook, KINDS))
    return [
        name
        for name, value in vars(module).items()
        if name.startswith("samplerbench_") and name not in hooks and inspect.isfunction(value)
    ]


def _hook(kind: str) -> str:
    return f"samplerbench_{kind}"


def _check(cls: Any, base: type, distribution: str) -> Any:
    """An object of the class, with default options. Raises PluginError where it cannot be registered."""
    if not _is_subclass(cls, base):
        raise PluginError(f"{distribution}: register() takes a subclass of samplerbench.{base.__name__}, got {cls!r}")
    name: Any = getattr(cls, "name", None)
    if name is None:
        kind = base.__name__.lower()
        raise PluginError(
            f'{distribution}: {cls.__name__} has no name, by which it would be called; write name = "my-{kind}" in it'
        )
    if not isinstance(name, str) or not name or any(c in name for c in ":,=@ "):
        raise PluginError(f"{distribution}: {cls.__name__}.name must be a word without ':', ',', '=', '@' or spaces")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise PluginError(f"{distribution}: {cls.__name__} does not define {missing}")
    try:
        if base in CHECKS:
            CHECKS[base](cls)
    except (TypeError, ValueError) as error:
        raise PluginError(f"{distribution}: {error}") from None
    try:
        with contained(cls.__name__):
            made = cls()
            if isinstance(made, Sampler):
                Sampler.spec(made)
    except Exception as error:
        raise PluginError(
            f"{distribution}: {cls.__name__}() with default options fails: {one_line(error)}", traceback.format_exc()
        ) from None
    for path in paths_of(cls):
        if not Path(path).exists():
            raise PluginError(f"{distribution}: {cls.__name__}.depends_on names {path}, which is not there")
    return made


def _join(kind: str, made: Any, distribution: str, rivals: Sequence[str]) -> None:
    """A spacing or path joins those that samplers and models may name. Raises PluginError where it is none, or where
    its name is taken: these tables have one entry a name.
    """
    try:
        with contained(type(made).__name__):
            table: dict[str, Any] = SPACINGS if kind == "spacing" else PATHS
            there = table.get(made.name)
            if there is not None and (there if kind == "path" else type(there)).__module__.startswith("samplerbench."):
                raise UserError(f"{kind} '{made.name}' is samplerbench's own; choose another name")
            if rivals:
                raise UserError(f"{kind} '{made.name}' is registered by {rivals[0]}, too; choose another name")
            table[made.name] = made if kind == "spacing" else type(made)
            check_spacing(made) if kind == "spacing" else check_path(made)
    except UserError as error:
        raise PluginError(f"{distribution}: {error}") from None
    except Exception as error:
        raise PluginError(f"{distribution}: {one_line(error)}", traceback.format_exc()) from None


@contextmanager
def _taken_back() -> Iterator[None]:
    """Spacings and paths are as they were where a plugin that registers some of them fails."""
    tables: list[dict[str, Any]] = [SPACINGS, PATHS]
    before = [dict(table) for table in tables]
    try:
        yield
    except BaseException:
        for table, entries in zip(tables, before, strict=True):
            table.clear()
            table.update(entries)
        raise


def _is_subclass(cls: object, base: type) -> bool:
    return isinstance(cls, type) and issubclass(cls, base)


def _check_metric(cls: type[Metric]) -> None:
    if cls.direction not in ("lower", "higher"):
        raise ValueError(f"{cls.__name__}.direction is 'lower' or 'higher', got {cls.direction!r}")
    if not cls.name.isprintable() or "/" in cls.name or len(cls.name.encode()) > LONGEST:
        raise ValueError(
            f"{cls.__name__}.name is part of file names: expected at most {LONGEST} bytes of characters that print, "
            f"and no '/', got {cls.name!r}"
        )
    if cls.name in COLUMNS or cls.name.endswith(ENDINGS[1:]):
        raise ValueError(f"{cls.__name__}.name '{cls.name}' is another column's of results.csv")


def _check_extractor(cls: type[Extractor]) -> None:
    check_fields(cls, Extractor)
    sides = cls.takes
    if (
        not isinstance(sides, tuple)
        or len(sides) != 3
        or not all(s is None or (type(s) is int and s > 0) for s in sides)
    ):
        raise ValueError(f"{cls.__name__}.takes is (C, H, W), None where any number will do, got {sides!r}")
    layers = cls.layers
    if not isinstance(layers, tuple) or not layers or not all(isinstance(name, str) and name for name in layers):
        raise ValueError(f"{cls.__name__}.layers is a tuple of names, ('a', 'b') or ('a',), got {layers!r}")
    dimension = vars(cls).get("dimension", 1)
    if not isinstance(dimension, property) and (type(dimension) is not int or dimension < 1):
        raise ValueError(f"{cls.__name__}.dimension is how many features an image has, got {dimension!r}")


CHECKS: dict[type, Callable[[Any], None]] = {
    Guider: lambda cls: check_fields(cls, Guider),
    Sampler: check_options,
    Metric: _check_metric,
    Extractor: _check_extractor,
}


def _named(name: str) -> list[tuple[Callable[[], ModuleType], str]]:
    """What `--plugin` names: how each module of it is loaded, and what tells it apart."""
    path = Path(name)
    if path.is_dir():
        files = sorted(file for file in path.glob("*.py") if not file.name.startswith("_"))
        if not files:
            raise PluginError(f"--plugin {name}: the folder has no .py files")
        return [(partial(import_file, file, "--plugin"), str(file.resolve())) for file in files]
    if path.suffix == ".py":
        if not path.is_file():
            raise PluginError(f"--plugin {name}: no such file")
        return [(partial(import_file, path, "--plugin"), str(path.resolve()))]
    return [(partial(import_module, name, "--plugin"), name)]
