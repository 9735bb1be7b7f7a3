"""What a plugin must leave as it found it: weights, schedule, and the settings of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..models.content import Content
from ..models.model import Model
from ..settings import SETTINGS, changed, states

__all__ = ["Seal", "Tampered"]


class Tampered(RuntimeError):
    """A plugin changed what others' cells depend on; its own cell fails for it."""


@dataclass(frozen=True)
class Seal:
    """A model and torch as they were: `broken` says what is no longer so."""

    content: Content
    settings: dict[str, Any]

    @classmethod
    def of(cls, model: Model) -> Seal:
        return cls(Content.of(model, in_place=True), states(SETTINGS))

    def broken(self, model: Model) -> str:
        """What was changed since, in words; empty where nothing was. Settings are put back."""
        now = Content.of(model, in_place=True)
        return " and ".join([*now.changed(self.content), *changed(SETTINGS, self.settings)])
