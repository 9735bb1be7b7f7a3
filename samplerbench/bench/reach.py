"""Which cells of the cache the present code would never ask for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from ..code import code_sha256
from ..errors import UserError
from ..registry import OWN, Registry
from .cached import Entry, fields_differ
from .cell import plain_options
from .plan import code_of

__all__ = ["Reach"]


class Reach:
    """registry: the plugins that are there. What is of a sampler, a guider or an extractor that they do not have is in
    reach.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._core = code_sha256("samplerbench.bench.worker")
        self._sampler, self._extractor = cache(self._sampler_now), cache(self._extractor_now)
        self._guider = cache(self._guider_now)

    def why_not(self, entry: Entry) -> str:
        """Why no run of the present code will use it; empty where one may, or where it does not say what it is."""
        cell = entry.cell
        if cell is None:
            return ""
        if fields_differ(cell) or cell["core"] != self._core:
            return "other code of samplerbench"
        if cell["torch"] != torch.__version__:
            return f"torch {cell['torch']}"
        return self._plugin(cell)

    def _plugin(self, cell: Mapping[str, Any]) -> str:
        now = self._sampler(str(cell["sampler"]))
        if now is not None and now != (cell["code"], _plain(cell["options"])):
            return f"other code of {cell['sampler']}"
        if guided := cell["guidance"]:
            spec, code = guided[:2]
            if self._guider(str(spec)) not in (None, code):
                return f"other code of guidance {spec}"
        spec, _, _, code = cell["extractor"]
        if self._extractor(str(spec)) not in (None, code):
            return f"other code of {spec}"
        return ""

    def _sampler_now(self, spec: str) -> tuple[str, str] | None:
        try:
            sampler = self.registry.sampler(spec)
            return code_of(sampler, self.registry), _plain(plain_options(sampler))
        except (UserError, OSError):
            return None

    def _guider_now(self, spec: str) -> str | None:
        try:
            found = self.registry.find("guiders", self.registry.guider(spec).name)
            return "" if found.level == OWN else found.code_sha256
        except UserError:
            return None

    def _extractor_now(self, spec: str) -> str | None:
        try:
            return self.registry.find("extractors", spec.partition(":")[0]).code_sha256
        except UserError:
            return None


def _plain(value: Any) -> str:
    return json.dumps(value)
