"""How far samples lie from the model's own probability-flow ODE: a solver's error apart from the model's."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..diffusion.noise import NoiseSource
from ..diffusion.ode import solve_flow
from .measured import Measured, Unmeasurable
from .metric import Drawn

__all__ = ["flow_error"]

BATCH = 128


def flow_error(drawn: Drawn, tolerance: float = 1e-3) -> Measured:
    """The root mean square difference a pixel (images in [-1, 1]) between x_0 and the ODE's solution from the same x_T,
    over the first samples of the cell. Stochastic samplers have none.
    """
    if drawn.sampler.stochastic:
        raise Unmeasurable(f"{drawn.sampler.name} is stochastic, so its samples are not those of the ODE")
    end = drawn.grid.times[-1]
    if end not in (0.0, drawn.grid.schedule.t_min):
        raise Unmeasurable(f"the grid ends at time {end:g}, the ODE's solution is known at 0 and at t_min")
    last = "x_min" if end > 0 and drawn.sampler.final == "none" else "x0"
    solution = _solution(drawn, tolerance)[last]
    squares = (drawn.x0.double() - solution).square().flatten(1).mean(dim=1)
    value = math.sqrt(float(squares.mean()))
    influences: np.ndarray = ((squares - squares.mean()) / (2 * value)).numpy() if value else np.zeros(len(squares))
    return Measured(value, float(influences.std(ddof=1)) / math.sqrt(len(squares)), len(squares), influences)


def _solution(drawn: Drawn, tolerance: float) -> dict[str, Tensor]:
    """x_min and x0, float64, of the samples that `drawn` has; solved once and kept."""
    count, shape = len(drawn.x0), tuple(drawn.x0.shape[1:])

    def solve() -> dict[str, Tensor]:
        drawn.notice(f"solving the probability-flow ODE for {count} samples, once for this model and seed")
        parts = []
        with torch.no_grad():
            for start in range(0, count, BATCH):
                indices = range(start, min(start + BATCH, count))
                noise = NoiseSource(drawn.seed, indices, shape, drawn.device, drawn.dtype)
                parts.append(solve_flow(drawn.epsilon, drawn.grid.schedule, noise.x_T(), tolerance))
        error = max(part.error for part in parts)
        if error > tolerance:
            drawn.notice(
                f"the ODE was solved to {error:.1e} only, not {tolerance:.0e}; ode_rmse below that says nothing"
            )
        return {
            "x_min": torch.cat([part.x_min for part in parts]).cpu(),
            "x0": torch.cat([part.x0 for part in parts]).cpu(),
        }

    return drawn.keep("ode", {"count": count, "tolerance": tolerance}, solve)
