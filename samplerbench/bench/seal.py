"""What a plugin must leave as it found it: weights, schedule, and the settings of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..models.content import Content
from ..models.guided import Guide
from ..models.model import Model
from ..settings import SETTINGS, changed, states

__all__ = ["Seal", "Tampered"]


class Tampered(RuntimeError):
    """A plugin changed what others' cells depend on; its own cell fails for it."""


@dataclass(frozen=True)
class Seal:
    """A model, guides by their specs, and torch as they were: `broken` says what is no longer so."""

    content: Content
    settings: dict[str, Any]
    guides: Mapping[str, tuple[Content, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model) -> Seal:
        return cls(Content.of(model, in_place=True), states(SETTINGS))

    def with_guide(self, spec: str, guide: Guide) -> Seal:
        """The same, and a guide as it is now."""
        return replace(self, guides={**self.guides, spec: _networks_of(guide)})

    def broken(self, model: Model, guides: Mapping[str, Guide]) -> str:
        """What was changed since, in words; empty where nothing was. Settings are put back."""
        found = Content.of(model, in_place=True).changed(self.content)
        for spec, before in self.guides.items():
            for now, was in zip(_networks_of(guides[spec]), before, strict=True):
                found += [f"{what} of guidance {spec}" for what in now.changed(was)]
        return " and ".join([*found, *changed(SETTINGS, self.settings)])


def _networks_of(guide: Guide) -> tuple[Content, ...]:
    """What the second model of a guide, and its classifier, are made of."""
    second = [Content.of(guide.second, in_place=True)] if guide.second is not None else []
    named = [Content.of_network(guide.classifier.network, in_place=True)] if guide.classifier is not None else []
    return (*second, *named)
