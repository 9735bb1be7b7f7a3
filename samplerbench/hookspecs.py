"""What a plugin may register. A plugin is a module with functions of these names, each decorated with
`samplerbench.hookimpl`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from .metrics.extractor import Extractor
    from .metrics.metric import Metric
    from .sampler import Sampler

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("samplerbench")
hookimpl = pluggy.HookimplMarker("samplerbench")


@hookspec
def samplerbench_samplers(register: Callable[[type[Sampler]], None]) -> None:
    """Call `register(cls)` for every `Sampler` class of the plugin."""


@hookspec
def samplerbench_metrics(register: Callable[[type[Metric]], None]) -> None:
    """Call `register(cls)` for every `Metric` class of the plugin."""


@hookspec
def samplerbench_extractors(register: Callable[[type[Extractor]], None]) -> None:
    """Call `register(cls)` for every `Extractor` class of the plugin."""
