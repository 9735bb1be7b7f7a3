"""The formats that come with the package."""

from __future__ import annotations

from ...hookspecs import hookimpl
from .ddpm_ckpt import DDPMCheckpoint
from .diffusers import Diffusers
from .edm_pickle import EDMPickle
from .factory import Factory
from .format import ModelFormat
from .guided_diffusion import GuidedDiffusion
from .own import Own

__all__ = ["FORMATS"]

FORMATS: tuple[ModelFormat, ...] = (Own(), Diffusers(), DDPMCheckpoint(), GuidedDiffusion(), EDMPickle(), Factory())


@hookimpl
def samplerbench_models(register):  # type: ignore[no-untyped-def]
    for form in FORMATS:
        register(type(form))
