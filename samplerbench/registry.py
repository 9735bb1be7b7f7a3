"""What plugins registered: each class with where it came from and what code it consists of, found by its name.

Precedence: what `--plugin` names beats installed distributions, which beat samplerbench's own. A name registered at a
higher level replaces one at a lower; two at the same level are an error when the name is used.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import code
from .diffusion.guidance import Autoguidance, ClassifierFree, ClassifierGuidance, Guider
from .diffusion.schedule import NoiseSchedule
from .diffusion.spacing import Spacing
from .errors import PLUGINS, PluginError, UserError, unknown
from .files import content_key, sha256_of_all
from .metrics.extractor import Extractor
from .metrics.metric import Metric
from .models.formats.format import ModelFormat
from .modules import ADVICE, loose_modules
from .options import make, parse_spec
from .sampler import Sampler

if TYPE_CHECKING:
    from .metrics.extractors import LoadedExtractor
    from .models.guided import Guide
    from .models.model import Model

__all__ = ["INSTALLED", "KINDS", "NAMED", "OWN", "Registered", "Registry", "paths_of"]

OWN, INSTALLED, NAMED = 0, 1, 2  # levels of precedence
SECOND = re.compile(r":model=(.+?)(?=:\w+=|$)")  # of a guider; there is a colon in hf:OWNER/NAME and FILE.py:function

# What a plugin may register: the base class by the name of its list in the `Registry`, which also ends its hook's name.
# Spacings and paths come first: a sampler's options and a model's files name them.
KINDS: dict[str, type] = {
    "spacings": Spacing,
    "paths": NoiseSchedule,
    "samplers": Sampler,
    "metrics": Metric,
    "extractors": Extractor,
    "models": ModelFormat,
    "guiders": Guider,
}


@dataclass(frozen=True)
class Registered:
    """A class that a plugin registered and where it came from.

    distribution: 'name version', or the file of a `--plugin`. roots: the modules that its code starts from. own: the
    top-level names of its distribution, whose files count as its code although they are installed. brought: the modules
    that loading and registering it has loaded. samplers: all that are registered with it. unkept: what stands in its
    code for a class without a file.
    """

    cls: Any
    distribution: str
    level: int
    roots: tuple[str, ...]
    own: frozenset[str] = frozenset()
    brought: Set[str] = field(default=frozenset(), repr=False, compare=False)
    samplers: Sequence[Registered] = field(default=(), repr=False, compare=False)
    unkept: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

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
        return found | self._data(BY_NAME in found) | dict(self.unkept)

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
    """What plugins registered: a list a kind (see `KINDS`). `problems` are the plugins that were skipped; `notices` say
    which name replaced which.
    """

    spacings: list[Registered] = field(default_factory=list)
    paths: list[Registered] = field(default_factory=list)
    samplers: list[Registered] = field(default_factory=list)
    metrics: list[Registered] = field(default_factory=list)
    extractors: list[Registered] = field(default_factory=list)
    models: list[Registered] = field(default_factory=list)
    guiders: list[Registered] = field(default_factory=list)
    problems: list[PluginError] = field(default_factory=list)

    def find(self, kind: str, name: str) -> Registered:
        """What a name, or an alias where the kind has those, stands for: that of the highest level of precedence."""
        registered: list[Registered] = getattr(self, kind)
        found = [r for r in registered if name == r.cls.name] or [r for r in registered if name in _aliases(r)]
        if not found:
            raise unknown(kind[:-1], name, {n for r in registered for n in (r.cls.name, *_aliases(r))}, PLUGINS)
        top = max(r.level for r in found)
        best = [r for r in found if r.level == top]
        if len(best) > 1:
            origins = " and ".join(r.distribution for r in best)
            if len({r.distribution for r in best}) < len(best):  # classes of one file
                classes = " and ".join(f"{r.cls.__qualname__} of {r.distribution}" for r in best)
                raise UserError(f"{kind[:-1]} '{name}' is {classes}; give one of them another name")
            raise UserError(f"{kind[:-1]} '{name}' is registered by {origins}; uninstall one, or choose with --plugin")
        return best[0]

    def all(self, kind: str) -> list[Registered]:
        """What each name of a kind stands for, by name; names that clash are left out, and are problems."""
        chosen = []
        for name in sorted({r.cls.name for r in getattr(self, kind)}):
            try:
                chosen.append(self.find(kind, name))
            except UserError as clash:
                self.problems.append(PluginError(str(clash)))
        return chosen

    def notices(self) -> list[str]:
        """Which registered names are hidden by others of higher precedence."""
        hidden = []
        for kind in KINDS:
            registered: list[Registered] = getattr(self, kind)
            for r in registered:
                winners = [w for w in registered if w.cls.name == r.cls.name and w.level > r.level]
                if winners:
                    winner = winners[-1].distribution
                    hidden.append(f"{kind[:-1]} '{r.cls.name}' of {winner} replaces that of {r.distribution}")
        return hidden

    def entry(self, name: str) -> Registered:
        """The sampler of that name or alias."""
        return self.find("samplers", name)

    def metric_entry(self, name: str) -> Registered:
        """The metric of that name."""
        return self.find("metrics", name)

    def current(self) -> list[Registered]:
        """The sampler that each name stands for."""
        return self.all("samplers")

    def current_metrics(self) -> list[Registered]:
        """The metric that each name stands for."""
        return self.all("metrics")

    def make(self, kind: str, spec: str) -> Any:
        """The object that 'name:key=value:…' describes."""
        name, options = parse_spec(spec)
        return make(self.find(kind, name).cls, options)

    def sampler(self, spec: str) -> Sampler:
        """The sampler that 'name:key=value:…' describes."""
        sampler: Sampler = self.make("samplers", spec)
        return sampler

    def guider(self, spec: str) -> Guider:
        """The guider that 'name:key=value:…' describes; of a number classifier-free guidance of that scale. Raises
        UserError for one that would do nothing because nobody said its scale.
        """
        with suppress(ValueError):
            return ClassifierFree(scale=float(spec))
        second = SECOND.search(spec)
        name, options = parse_spec(spec if second is None else spec[: second.start()] + spec[second.end() :])
        if second is not None:
            if "model" in options:
                raise UserError(f"'{spec}': option 'model' is given twice")
            options["model"] = second[1]
        guider: Guider = make(self.find("guiders", name).cls, options)
        if guider.idle and "scale" not in options and hasattr(guider, "scale"):
            raise UserError(f"guidance {spec}: without a scale it is {guider.scale:g}, no guidance; say {spec}:scale=2")
        return guider

    def guide(self, spec: str) -> Guide:
        """The guidance of a spec: its guider, with the second model or classifier that it names. Raises UserError."""
        from .models.classifier import load_classifier
        from .models.guided import Guide

        guider = self.guider(spec)
        if isinstance(guider, Autoguidance) and guider.model:
            return Guide(guider, self.model(guider.model))
        if isinstance(guider, ClassifierGuidance) and guider.model:
            return Guide(guider, classifier=load_classifier(Path(guider.model), f"classifier '{guider.model}'"))
        return Guide(guider)

    def metric(self, name: str) -> Metric:
        """The metric of that name."""
        metric: Metric = self.metric_entry(name).cls()
        return metric

    def extractor(
        self,
        spec: str,
        weights: Path | None = None,
        device: str = "cpu",
        image_shape: Sequence[int] | None = None,
    ) -> LoadedExtractor:
        """The extractor that 'name:key=value:…' describes, ready to run.

        weights: a file or folder; None for those that it has or downloads. image_shape: of the images that it is wanted
        for, (C, H, W); checked before anything is downloaded.

        Raises UserError for an unknown name or option, images that it does not take, and weights that cannot be had;
        PluginError where it fails or is not what it claims to be.
        """
        from .metrics.extractors import load_extractor

        extractor: Extractor = self.make("extractors", spec)
        entry = self.find("extractors", extractor.name)
        if image_shape is not None and weights is None and (refusal := self.refusal(spec, image_shape)):
            raise UserError(refusal)
        own = entry.level == OWN
        return load_extractor(extractor, entry.code_sha256, own, weights, device, image_shape, entry.accounts_for)

    def model(self, spec: str, sha256: str | None = None) -> Model:
        """The model that `spec` names, in whichever of the registered formats it is; see `load_model`."""
        from .models.model import load_model

        formats = [(r.cls(), {} if r.level == OWN else r.code) for r in self.all("models")]
        return load_model(spec, sha256, formats)

    def refusal(self, spec: str, image_shape: Sequence[int]) -> str:
        """Why there is no such extractor, or why it does not take images of this shape; empty where it does. Nothing is
        loaded.
        """
        try:
            refusal: str = self.make("extractors", spec).refusal(image_shape)
        except UserError as error:
            return str(error)
        return refusal and refusal + self._that_take(image_shape)

    def _that_take(self, image_shape: Sequence[int]) -> str:
        """The extractors that take images of a shape as they are, for the end of a line."""
        fitting = [r.cls.name for r in self.all("extractors") if not r.cls().refusal(image_shape)]
        return f"; as they are, {', '.join(fitting)} take them" if fitting else ""


def _aliases(registered: Registered) -> tuple[str, ...]:
    aliases: tuple[str, ...] = getattr(registered.cls, "aliases", ())
    return aliases


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
        try:
            files = sha256_of_all(path)
        except OSError as error:
            raise UserError(f"{path}, which {cls.__name__} depends on, cannot be read: {error.strerror}") from None
        found |= {f"{i} {(Path(path.name) / name).as_posix()}": digest for name, digest in files.items()}
    return found
