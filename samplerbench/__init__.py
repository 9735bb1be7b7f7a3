"""samplerbench: which diffusion sampler, at how many network evaluations, for this ε_θ, and is the difference real?

The names below are what a plugin author or a notebook needs. They are imported on first use, so that `import
samplerbench` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import run
    from .diffusion.denoiser import Denoiser, Epsilon
    from .diffusion.flow import FlowSchedule
    from .diffusion.grid import TimeGrid
    from .diffusion.noise import NoiseSource
    from .diffusion.schedule import NoiseSchedule
    from .diffusion.spacing import Spacing
    from .diffusion.ve import EDMSchedule, SigmasSchedule, VESchedule
    from .diffusion.vp import (
        CosineSchedule,
        DiscreteSchedule,
        SubVPSchedule,
        VPSchedule,
        cosine_schedule,
        linear_schedule,
        scaled_linear_schedule,
        sigmoid_schedule,
    )
    from .diffusion.watched import Evaluation
    from .errors import BudgetExceeded, FailedCells, TooFewEvaluations, UserError
    from .hookspecs import hookimpl
    from .metrics.extractor import Extractor
    from .metrics.measured import Measured, Unmeasurable
    from .metrics.metric import Drawn, Metric
    from .models.formats.format import Checkpoint, ModelFormat
    from .models.model import Model
    from .models.preconditioning import Label, Preconditioning
    from .plugins import load_model
    from .sampler import Sampler
    from .sampling import sample

__version__ = "0.1.0"

_HOME = {
    "BudgetExceeded": "errors",
    "Checkpoint": "models.formats.format",
    "CosineSchedule": "diffusion.vp",
    "Denoiser": "diffusion.denoiser",
    "DiscreteSchedule": "diffusion.vp",
    "Drawn": "metrics.metric",
    "EDMSchedule": "diffusion.ve",
    "Epsilon": "diffusion.denoiser",
    "FlowSchedule": "diffusion.flow",
    "Label": "models.preconditioning",
    "Evaluation": "diffusion.watched",
    "Extractor": "metrics.extractor",
    "FailedCells": "errors",
    "Measured": "metrics.measured",
    "Metric": "metrics.metric",
    "Model": "models.model",
    "ModelFormat": "models.formats.format",
    "NoiseSchedule": "diffusion.schedule",
    "NoiseSource": "diffusion.noise",
    "Preconditioning": "models.preconditioning",
    "Sampler": "sampler",
    "SigmasSchedule": "diffusion.ve",
    "Spacing": "diffusion.spacing",
    "SubVPSchedule": "diffusion.vp",
    "TimeGrid": "diffusion.grid",
    "TooFewEvaluations": "errors",
    "Unmeasurable": "metrics.measured",
    "UserError": "errors",
    "VESchedule": "diffusion.ve",
    "VPSchedule": "diffusion.vp",
    "cosine_schedule": "diffusion.vp",
    "hookimpl": "hookspecs",
    "linear_schedule": "diffusion.vp",
    "load_model": "plugins",
    "run": "api",
    "sample": "sampling",
    "scaled_linear_schedule": "diffusion.vp",
    "sigmoid_schedule": "diffusion.vp",
}

__all__ = [
    "BudgetExceeded",
    "Checkpoint",
    "CosineSchedule",
    "Denoiser",
    "DiscreteSchedule",
    "Drawn",
    "EDMSchedule",
    "Epsilon",
    "Evaluation",
    "Extractor",
    "FailedCells",
    "FlowSchedule",
    "Label",
    "Measured",
    "Metric",
    "Model",
    "ModelFormat",
    "NoiseSchedule",
    "NoiseSource",
    "Preconditioning",
    "Sampler",
    "SigmasSchedule",
    "Spacing",
    "SubVPSchedule",
    "TimeGrid",
    "TooFewEvaluations",
    "Unmeasurable",
    "UserError",
    "VESchedule",
    "VPSchedule",
    "cosine_schedule",
    "hookimpl",
    "linear_schedule",
    "load_model",
    "run",
    "sample",
    "scaled_linear_schedule",
    "sigmoid_schedule",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'samplerbench' has no attribute '{name}'")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
