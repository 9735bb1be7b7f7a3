"""A picture of samples of a model, and of how they came to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from PIL.PngImagePlugin import PngInfo

from .bench.trajectory import film
from .diffusion.noise import NoiseSource
from .diffusion.watched import Evaluation
from .images import quantise, sample_grid
from .sampling import Samples, sample

if TYPE_CHECKING:
    from PIL.Image import Image

    from .models.model import Model
    from .registry import Registry

__all__ = ["picture"]


def picture(
    registry: Registry,
    model: Model,
    sampler: str,
    budget: Mapping[str, int],
    count: int,
    seed: int = 0,
    prompts: Sequence[str] = (),
    guidance: str | None = None,
    device: str = "cpu",
    trajectory: bool = False,
) -> tuple[Image, PngInfo, Samples]:
    """The picture, what it says of itself, and the samples.

    budget: `nfe` or `steps`. trajectory: a row a sample, x_T, the predicted x_0 of each evaluation and x_0; without it
    the samples alone. Raises what `samplerbench.sample` raises.
    """
    for network in model.networks().values():
        network.to(device)
    seen: list[tuple[int, torch.Tensor]] = []

    def keep(told: Evaluation) -> None:
        if told.x0 is not None and len(told.x0) == count:
            seen.append((told.number, told.x0))

    x_T = NoiseSource(seed, range(count), model.sample_shape, device).x_T()
    drawn = sample(
        registry.sampler(sampler),
        model,
        x=x_T,
        seed=seed,
        prompts=prompts or None,
        guidance=None if guidance is None else registry.guide(guidance),
        callback=keep if trajectory else None,
        nfe=budget.get("nfe"),
        steps=budget.get("steps"),
    )
    if not trajectory:
        return sample_grid(quantise(drawn.images).cpu()), PngInfo(), drawn
    decoded = [model.decode(torch.nan_to_num(one)) for one in (x_T, *(predicted for _, predicted in seen))]
    frames = torch.stack([quantise(one).cpu() for one in (*decoded, drawn.images)])
    return *film(frames, [number for number, _ in seen]), drawn
