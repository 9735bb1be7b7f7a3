"""samplerbench: which diffusion sampler, at how many network evaluations, for this ε_θ, and is the difference real?

The names below are what a plugin author or a notebook needs. They are imported on first use, so that `import
samplerbench` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bench.run import run
    from .diffusion.denoiser import Denoiser
    from .diffusion.grid import TimeGrid
    from .diffusion.noise import NoiseSource
    from .diffusion.schedule import DiscreteSchedule, NoiseSchedule, VPSchedule, cosine_schedule, linear_schedule
    from .errors import BudgetExceeded, TooFewEvaluations, UserError
    from .hookspecs import hookimpl
    from .metrics.extractor import Extractor
    from .metrics.measured import Measured, Unmeasurable
    from .metrics.metric import Drawn, Metric
    from .models.model import load_model
    from .sampler import Sampler
    from .sampling import sample

__version__ = "0.1.0"

_HOME = {
    "BudgetExceeded": "errors",
    "Denoiser": "diffusion.denoiser",
    "DiscreteSchedule": "diffusion.schedule",
    "Drawn": "metrics.metric",
    "Extractor": "metrics.extractor",
    "Measured": "metrics.measured",
    "Metric": "metrics.metric",
    "NoiseSchedule": "diffusion.schedule",
    "NoiseSource": "diffusion.noise",
    "Sampler": "sampler",
    "TimeGrid": "diffusion.grid",
    "TooFewEvaluations": "errors",
    "Unmeasurable": "metrics.measured",
    "UserError": "errors",
    "VPSchedule": "diffusion.schedule",
    "cosine_schedule": "diffusion.schedule",
    "hookimpl": "hookspecs",
    "linear_schedule": "diffusion.schedule",
    "load_model": "models.model",
    "run": "bench.run",
    "sample": "sampling",
}

__all__ = [
    "BudgetExceeded",
    "Denoiser",
    "DiscreteSchedule",
    "Drawn",
    "Extractor",
    "Measured",
    "Metric",
    "NoiseSchedule",
    "NoiseSource",
    "Sampler",
    "TimeGrid",
    "TooFewEvaluations",
    "Unmeasurable",
    "UserError",
    "VPSchedule",
    "cosine_schedule",
    "hookimpl",
    "linear_schedule",
    "load_model",
    "run",
    "sample",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'samplerbench' has no attribute '{name}'")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
