"""The formats that come with the package."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import UserError
from .ddpm_ckpt import DDPMCheckpoint
from .diffusers import Diffusers
from .edm_pickle import EDMPickle
from .format import ModelFormat, Understood
from .guided_diffusion import GuidedDiffusion

__all__ = ["FORMATS", "understand"]

FORMATS: tuple[ModelFormat, ...] = (Diffusers(), DDPMCheckpoint(), GuidedDiffusion(), EDMPickle())


def understand(spec: str, formats: Sequence[ModelFormat] = FORMATS) -> Understood:
    """Reads a model of another project by the first of the formats that recognises it. Raises UserError where none
    does, and what that format says is wrong.
    """
    for form in formats:
        if form.recognises(spec):
            return form.load(spec)
    known = "; ".join(f"{form.name}: {form.about}" for form in formats)
    raise UserError(f"model '{spec}' is of no known format (known: {known})")
