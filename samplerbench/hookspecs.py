"""What a plugin may register. A plugin is a module with functions of these names, each decorated with
`samplerbench.hookimpl`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from .diffusion.guidance import Guider
    from .diffusion.schedule import NoiseSchedule
    from .diffusion.spacing import Spacing
    from .metrics.extractor import Extractor
    from .metrics.metric import Metric
    from .models.formats.format import ModelFormat
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


@hookspec
def samplerbench_models(register: Callable[[type[ModelFormat]], None]) -> None:
    """Call `register(cls)` for every `ModelFormat` class of the plugin."""


@hookspec
def samplerbench_paths(register: Callable[[type[NoiseSchedule]], None]) -> None:
    """Call `register(cls)` for every `NoiseSchedule` class of the plugin."""


@hookspec
def samplerbench_spacings(register: Callable[[type[Spacing]], None]) -> None:
    """Call `register(cls)` for every `Spacing` class of the plugin."""


@hookspec
def samplerbench_guiders(register: Callable[[type[Guider]], None]) -> None:
    """Call `register(cls)` for every `Guider` class of the plugin."""
