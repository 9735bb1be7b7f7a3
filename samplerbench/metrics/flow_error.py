"""How far samples lie from the model's own probability-flow ODE: a solver's error apart from the model's.

Two numbers. The solver's: against the ODE from the time at which its grid starts, with x_T there. The start's: what
that costs against the ODE from t_max, whatever the solver. DDIM's grid starts at 801 of 1,000, for instance.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from ..stats.tails import standard_error
from .flow_solution import solution
from .measured import Measured, Unmeasurable
from .metric import Drawn

__all__ = ["flow_error", "start_error"]


def flow_error(drawn: Drawn) -> Measured:
    """The root mean square difference a pixel (images in [-1, 1]) between x_0 and the ODE's solution from x_T at the
    grid's first time, over the first samples of the cell. Stochastic samplers have none.
    """
    if drawn.sampler.stochastic:
        raise Unmeasurable(f"{drawn.sampler.name} is stochastic, so its samples are not those of the ODE")
    end = drawn.grid.times[-1]
    if end not in (0.0, drawn.grid.schedule.t_min):
        raise Unmeasurable(f"the grid ends at time {end:g}, the ODE's solution is known at 0 and at t_min")
    last = "x_min" if end > 0 and drawn.sampler.final == "none" else "x0"
    solved = solution(drawn, drawn.grid.times[0])
    return _distance(drawn.x0.double(), solved[last], float(solved["error"]))


def start_error(drawn: Drawn) -> Measured:
    """The root mean square difference a pixel between the ODE's solutions from x_T at the grid's first time and from
    x_T at t_max, over the first samples of the cell. 0 where the grid starts at t_max: then nothing is solved.
    """
    start, t_max = drawn.grid.times[0], drawn.grid.schedule.first_time(pure_noise=False)
    if start >= t_max:
        return Measured(0.0, 0.0, len(drawn.x0), np.zeros(len(drawn.x0)), note="the grid starts at t_max")
    here, above = solution(drawn, start), solution(drawn, t_max)
    return _distance(here["x0"], above["x0"], max(float(here["error"]), float(above["error"])))


def _distance(x: Tensor, solved: Tensor, error: float) -> Measured:
    squares = (x - solved).square().flatten(1).mean(dim=1).numpy()
    value = math.sqrt(float(squares.mean()))
    influences = (squares - squares.mean()) / (2 * value) if value else np.zeros(len(squares))
    se, note = standard_error(influences)
    known = f"the ODE is solved to {error:.1e}" + ("; " + note if note else "")
    return Measured(value, se, len(squares), influences, note=known)
