"""The probability-flow ODE from a cell's x_T, solved once for a model and a seed and kept, for metrics that need it.

What is kept hangs on the code of this module and of what it imports, not on the metric that asks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..diffusion.noise import NoiseSource
from ..diffusion.ode import evaluations, solve_flow
from .metric import Drawn

__all__ = ["solution"]

BATCH = 128
TOLERANCE = 1e-3


def solution(drawn: Drawn, start: float) -> dict[str, Tensor]:
    """x_min and x0, float64 [k, C, H, W], of a cell's first samples from x_T at time `start`, and their error; x_min
    is in the path's own coordinates, as samples are. Where α = 0 at `start`, it is solved from the smallest α.
    """
    count, shape, path = len(drawn.x0), tuple(drawn.x0.shape[1:]), drawn.grid.schedule
    start = min(start, path.first_time(pure_noise=False))

    def solve() -> dict[str, Tensor]:
        fewest, most = evaluations()
        drawn.notice(
            f"solving the probability-flow ODE from {start:g} for {count} samples, once for model and seed: {fewest:,} "
            f"to {most:,} evaluations a sample. Stopping it loses no samples: a later run has them from the cache."
        )
        parts = []
        with torch.no_grad():
            for first in range(0, count, BATCH):
                indices = range(first, min(first + BATCH, count))
                which = f"ODE from {start:g}, samples {first + 1} to {indices[-1] + 1} of {count}"

                def told(step: int, steps: int, which: str = which) -> None:
                    drawn.progress(f"{which}: step {step} of {steps}")

                noise = NoiseSource(drawn.seed, indices, shape, drawn.device, drawn.dtype)
                x = path.prior(start) * noise.x_T()
                of_rows = getattr(drawn.epsilon, "of_rows", None)
                epsilon = of_rows(torch.tensor(indices)) if of_rows else drawn.epsilon
                parts.append(solve_flow(epsilon, path, x, TOLERANCE, start=start, told=told))
        error = max(part.error for part in parts)
        if error > TOLERANCE:
            drawn.notice(f"the ODE from {start:g} was solved to {error:.1e} only; distances below that say nothing")
        return {
            "x_min": float(path.scale(path.t_min)) * torch.cat([part.x_min for part in parts]).cpu(),
            "x0": torch.cat([part.x0 for part in parts]).cpu(),
            "error": torch.tensor(error, dtype=torch.float64),
        }

    identity = {"start": start, "count": count, "tolerance": TOLERANCE}
    return drawn.keep("ode", identity, solve, made_by=__name__)
