"""One batch through one sampler, counted below its reach, and what it returns checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .diffusion.denoiser import Epsilon, Meter
from .diffusion.grid import TimeGrid
from .diffusion.noise import NoiseSource
from .errors import Miscounted, UserError, contained
from .sampler import Sampler

if TYPE_CHECKING:
    from torch import Tensor

    from .diffusion.schedule import NoiseSchedule

__all__ = ["BadSample", "Drawing", "draw", "why_unsuitable"]


class BadSample(RuntimeError):
    """What a sampler returned is not a batch of finite samples."""


@dataclass(frozen=True)
class Drawing:
    """x0: [B, ...], of the shape and dtype of x_T, in the path's own coordinates. evaluations: those of each sample,
    [B], counted; passes: the rows through networks that they took, [B].
    """

    x0: Tensor
    evaluations: np.ndarray
    passes: np.ndarray

    @property
    def nfe(self) -> float:
        """Evaluations a sample."""
        return float(self.evaluations.mean())


def draw(
    sampler: Sampler,
    epsilon: Epsilon,
    grid: TimeGrid,
    x: Tensor,
    noise: NoiseSource,
    budget: int | None = None,
    passes: Callable[[], int] | None = None,
) -> Drawing:
    """One batch through one sampler, `final=denoise` included, with what it returns checked.

    epsilon: see `Epsilon`; in variance-preserving coordinates, as all that the sampler sees. x: standard normal noise,
    [B, ...]; it is given the standard deviation of the path's prior where the grid starts. x0 is in the path's own
    coordinates, which differ only where the grid does not end at time 0.

    budget: the most evaluations a sample may cost. passes: how many rows the networks behind `epsilon` have been run on
    so far, counted where they run; it is compared with what the sampler asked for, and Miscounted raised where the two
    differ. Raises UserError where sampler and path, or sampler and ε, do not go together.
    """
    import torch

    from .settings import casts_kept, products

    schedule, prior = grid.schedule, grid.schedule.prior(grid.times[0])
    if why := why_unsuitable(sampler, schedule, epsilon):
        raise UserError(f"{sampler.name} is unsuitable: {why}")
    if (rule := sampler.label_rule(schedule)) is not None:
        epsilon = _relabelled(sampler, epsilon, rule)
    meter, before = Meter(epsilon, len(x), budget, schedule=schedule), passes() if passes else 0
    eps, x = meter.denoiser(), x if prior == 1 else prior * x
    denoise = sampler.final == "denoise" and grid.times[-1] > 0
    with torch.no_grad(), products(), casts_kept():
        with meter.reserve(1 if denoise else 0), contained(sampler.name):
            x0 = sampler.sample(eps, grid, x, noise)
        _check(sampler, x0, x)
        if denoise:
            x0 = sampler.limit_x0(eps.x0(x0, grid.times[-1]))
            _check(sampler, x0, x)
        elif grid.scale[-1] != 1:
            x0 = grid.scale[-1] * x0
    evaluations, taken = meter.evaluations, meter.passes
    if passes:
        run, asked = passes() - before, round(float(taken.sum()))
        if run != asked:
            raise Miscounted(f"{sampler.name} had the network run on {run} rows, and was counted {asked}")
    return Drawing(x0, evaluations, taken)


def _relabelled(sampler: Sampler, epsilon: Epsilon, rule: Callable[[Any], Any]) -> Epsilon:
    """ε with the labels that the sampler asks for."""
    relabelled = getattr(epsilon, "relabelled", None)
    if relabelled is None:
        raise UserError(f"{sampler.name} gives labels of its own, and this ε function takes none")
    new: Epsilon = relabelled(rule)
    return new


def _check(sampler: Sampler, x0: object, x: Tensor) -> None:
    import torch

    if not isinstance(x0, torch.Tensor):
        raise BadSample(f"{sampler.name} returned {type(x0).__name__}, expected a tensor")
    if x0.shape != x.shape:
        raise BadSample(f"{sampler.name} returned shape {list(x0.shape)}, expected {list(x.shape)}")
    if x0.device != x.device:
        raise BadSample(f"{sampler.name} returned a tensor on {x0.device}, expected {x.device}")
    if x0.dtype != x.dtype:
        raise BadSample(f"{sampler.name} returned {x0.dtype}, expected {x.dtype}")
    if x0.requires_grad:
        raise BadSample(f"{sampler.name} returned a tensor that requires a gradient; detach it")
    if not torch.isfinite(x0).all():
        bad = int((~torch.isfinite(x0.flatten(1)).all(dim=1)).sum())
        raise BadSample(f"{sampler.name} returned NaN or infinite values in {bad} of {len(x0)} samples")


def why_unsuitable(sampler: Sampler, schedule: NoiseSchedule, epsilon: Epsilon) -> str:
    """Why a sampler cannot run on this path with this ε, in one line; empty where it can."""
    if getattr(epsilon, "latent", False):
        import torch

        ends = torch.tensor([-9.0, 9.0])
        if not torch.equal(sampler.limit_x0(ends), ends):
            return (
                "it limits the predicted x_0 to the range of pixels, and the samples of this model are latents, which "
                "have no such range; use clip=none"
            )
    return sampler.unsuitable(schedule, epsilon)
