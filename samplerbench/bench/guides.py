"""The guides of a run, by their specs: each the same whenever it is loaded, and wherever."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import UserError
from ..models.guided import Guide
from ..models.model import Model
from ..registry import OWN, Registry
from ..sampling import check_asked

__all__ = ["Guides", "guidance_of"]


def guidance_of(registry: Registry, spec: str, model: Model, lines: Iterable[str]) -> tuple[str, ...]:
    """What a cell says of its guidance, empty where there is none. Raises UserError where `model`, asked for `lines`,
    cannot be guided so.
    """
    guide = registry.guide(spec)
    guide.check(model)
    if guide.guider.idle:
        return ()
    check_asked(model, guide, lines)
    return _said(registry, guide, guide.guider.spec())


def _said(registry: Registry, guide: Guide, spec: str) -> tuple[str, str, str]:
    """The spec, the hash of the guider's code where it is a plugin's, that of its second model or classifier."""
    code = registry.find("guiders", guide.guider.name)
    second = next((one.sha256 for one in (guide.second, guide.classifier) if one is not None), "")
    return spec, "" if code.level == OWN else code.code_sha256, second


class Guides:
    """Loads guides for a worker.

    known: what cells say of those that were loaded before, by spec.
    """

    def __init__(self, registry: Registry, known: Iterable[tuple[str, ...]] = ()) -> None:
        self._registry = registry
        self._known = {said[0]: said for said in known if said}

    def __call__(self, spec: str) -> Guide:
        """The guide of a spec. Raises UserError where it is another than it was: cells have its hash in their keys."""
        guide = self._registry.guide(spec)
        said = _said(self._registry, guide, spec)
        if self._known.setdefault(spec, said) != said:
            raise UserError(f"guidance {spec} was changed in the meantime: its second model, classifier or code")
        return guide

    def said(self, spec: str) -> tuple[str, ...]:
        """What a cell says of it."""
        if spec not in self._known:
            self(spec)
        return self._known[spec]
