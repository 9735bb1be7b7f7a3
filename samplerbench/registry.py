"""What plugins registered: each class with where it came from and what code it consists of, found by its name.

Precedence: what `--plugin` names beats installed distributions, which beat samplerbench's own. A name registered at a
higher level replaces one at a lower; two at the same level are an error when the name is used.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from . import code
from .errors import PluginError, UserError, unknown
from .files import content_key, sha256
from .metrics.metric import Metric
from .options import parse_spec
from .sampler import Sampler, make_sampler

__all__ = ["INSTALLED", "NAMED", "OWN", "Registered", "Registry", "paths_of"]

OWN, INSTALLED, NAMED = 0, 1, 2  # levels of precedence


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
        return module in self.code or (file is not None and str(Path(file).resolve()) in paths_of(self.cls))


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
    """The files and folders that a class says it depends on, whole; relative ones start from the class's own file."""
    names = getattr(cls, "depends_on", ())
    folder = Path(inspect.getfile(cls)).parent if names else Path()
    return [str((folder / name).resolve()) for name in ([names] if isinstance(names, str | Path) else names)]


def _files(cls: type) -> dict[str, str]:
    """The hashes of those files, and of all in those folders."""
    found: dict[str, str] = {}
    for path in map(Path, paths_of(cls)):
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        try:
            found |= {f"file {file.relative_to(path.parent).as_posix()}": sha256(file) for file in files}
        except OSError as error:
            raise UserError(f"{path}, which {cls.__name__} depends on, cannot be read: {error.strerror}") from None
    return found
