"""What plugins registered: each class with where it came from and what code it consists of, found by its name.

Precedence: what `--plugin` names beats installed distributions, which beat samplerbench's own. A name registered at a
higher level replaces one at a lower; two at the same level are an error when the name is used.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from . import code
from .errors import UserError, unknown
from .files import content_key, sha256
from .metrics.metric import Metric
from .modules import ADVICE, loose_modules
from .options import parse_spec
from .sampler import Sampler, make_sampler

__all__ = ["INSTALLED", "NAMED", "OWN", "PluginError", "Registered", "Registry", "paths_of"]

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
    top-level names of its distribution, whose files count as its code although they are installed. brought: the modules
    that loading and registering it has loaded. samplers: all that are registered with it.
    """

    cls: Any
    distribution: str
    level: int
    roots: tuple[str, ...]
    own: frozenset[str] = frozenset()
    brought: Set[str] = field(default=frozenset(), repr=False, compare=False)
    samplers: Sequence[Registered] = field(default=(), repr=False, compare=False)

    @cached_property
    def code(self) -> dict[str, str]:
        """What it consists of, each part with its hash: modules, distributions, the files that it depends on. What can
        have any sampler by its name consists of them all.
        """
        only, roots = None, [*self.roots, *sorted(self.brought)]
        if issubclass(self.cls, Metric):
            only = self.cls.__name__ if self.level == OWN else None  # each of ours counts apart from its neighbours
            roots.append("samplerbench.bench.measure")
        found = code.code_of(*roots, own=self.own, only=only)
        if BY_NAME in found:
            own = self.own.union(*(other.own for other in self.samplers))
            others = [root for other in self.samplers for root in (*other.roots, *sorted(other.brought))]
            found = code.code_of(*dict.fromkeys([*roots, *others]), own=own, only=only)
        return found | self._data(BY_NAME in found)

    def _data(self, of_all: bool) -> dict[str, str]:
        classes = [self.cls, *(other.cls for other in self.samplers if of_all and other.cls is not self.cls)]
        return {f"data {i} {name}": digest for i, cls in enumerate(classes) for name, digest in _files(cls).items()}

    @cached_property
    def code_sha256(self) -> str:
        """The hash of its code."""
        return content_key(self.code)

    def accounts_for(self, module: str) -> bool:
        """Whether a loaded module is part of its code, and still what it was when that was hashed."""
        return self._names(module) or code.holds(self.code, module, as_it_is=True)

    def _names(self, module: str) -> bool:
        return str(Path(str(sys.modules[module].__file__)).resolve()) in paths_of(self.cls)

    def confirm(self) -> None:
        """Raises CodeChanged where a file that it depends on has changed since its code was hashed; or where it imports
        by computed names, and a module was loaded since.
        """
        then, now = ({k: v for k, v in self.code.items() if k.startswith("data ")}, self._data(BY_NAME in self.code))
        for label in sorted(then.keys() | now.keys()):
            if then.get(label) != now.get(label):
                name = label.split(" ", 3)[-1]
                raise code.CodeChanged(f"{name}, which {self.cls.name} depends on, was changed during the run")
        if code.computes_imports(*self.roots, *sorted(self.brought), own=self.own):
            for module in sorted(loose_modules()):
                if not code.holds(self.code, module) and not self._names(module):
                    raise code.CodeChanged(
                        f"the module {module} was loaded after the key of {self.cls.name} was made, which imports by "
                        f"computed names and may use it; {ADVICE}"
                    )


BY_NAME = "samplerbench.plugins"  # what imports it can have any sampler by its name


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


def paths_of(cls: type) -> list[str]:
    """The files and folders that a class and its bases say they depend on, whole; relative ones start from the file of
    the class that names them.
    """
    found: list[str] = []
    for base in cls.__mro__:
        names = vars(base).get("depends_on", ())
        folder = Path(inspect.getfile(base)).parent if names else Path()
        found += [str((folder / name).resolve()) for name in ([names] if isinstance(names, str | Path) else names)]
    return list(dict.fromkeys(found))


def _files(cls: type) -> dict[str, str]:
    """The hashes of those files, and of all in those folders. Each has the number of the path that named it before its
    name, since names in two folders may be alike.
    """
    found: dict[str, str] = {}
    for i, path in enumerate(map(Path, paths_of(cls))):
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        try:
            found |= {f"{i} {file.relative_to(path.parent).as_posix()}": sha256(file) for file in files}
        except OSError as error:
            raise UserError(f"{path}, which {cls.__name__} depends on, cannot be read: {error.strerror}") from None
    return found
