"""DPM-Solver and DPM-Solver++: exponential integrators of the probability-flow ODE in λ = log(α/σ) (Lu et al. 2022a,
b).

Deterministic. `prediction=eps` is DPM-Solver, which expands ε in λ; `prediction=x0` is DPM-Solver++, which expands x_0.
Order 1 is DDIM in either. The modes:

- `multistep` reuses earlier predictions, one evaluation a step, and starts with lower orders; DPM-Solver++(2M) is the
  default. Order `3-published` is the 3M of the papers' code, whose second difference is half of what the theory asks:
  it converges at order 2, and published FIDs are its. Order `3` is the theory's, the same as UniP-3.
- `singlestep` takes `order` evaluations a step and then forgets them: 2S and 3S.
- `fast` is singlestep with lower orders at the end, so that the whole budget is spent (first paper, §3.3, with orders
  3, 3, …, 2, 1). Off the log-SNR spacing its grid has a step for each evaluation, as in the authors' code.
- `adaptive` chooses its own steps, for each sample by itself, by comparing orders 1 and 2 (DPM-Solver-12) or 2 and 3
  (DPM-Solver-23; first paper, appendix C). The budget is a cap: the last step it pays for goes to the end.

A last step to time 0 (`final=zero`) is of order 1: λ is infinite there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from samplerbench import Sampler, UserError, hookimpl

from .dpm_solver_steps import Solver

if TYPE_CHECKING:
    from torch import Tensor

    from samplerbench import Denoiser, NoiseSchedule, NoiseSource, TimeGrid


@dataclass(frozen=True, kw_only=True)
class DPMSolver(Sampler):
    """order: 1, 2, 3 or (multistep) 3-published; of adaptive, 2 is DPM-Solver-12 and 3 is DPM-Solver-23.
    mode: multistep remembers earlier predictions; singlestep and fast forget them; adaptive chooses its own steps.
    prediction: what is expanded, the predicted x_0 (DPM-Solver++) or ε (DPM-Solver).

    thresholding: limit each sample's predicted x_0 by its 99.5 % quantile (Saharia et al. 2022); goes with x0.
    lower_order_final: the last of fewer than 10 multistep steps are of lower order, as in the authors' code.
    labels: type-1 or type-2, the two ways of the first paper's appendix D.1 to give discrete networks their label.
    rtol, atol: tolerances of adaptive. max_evaluations: its cap where the budget is no lower.
    """

    name = "dpm-solver"
    aliases = ("dpm",)
    paper = "Lu et al. 2022, arXiv:2206.00927 and arXiv:2211.01095"

    order: Literal["1", "2", "3", "3-published"] = "2"
    mode: Literal["multistep", "singlestep", "fast", "adaptive"] = "multistep"
    prediction: Literal["x0", "eps"] = "x0"
    thresholding: bool = False
    lower_order_final: bool = True
    labels: Literal["type-1", "type-2"] = "type-1"
    rtol: float = 0.05
    atol: float = 0.0078
    max_evaluations: int = 1000
    spacing: str = "logsnr"
    final: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order == "3-published" and self.mode != "multistep":
            raise UserError(f"dpm-solver:order=3-published is a multistep method; mode={self.mode} takes order=3")
        if self.order == "1" and self.mode in ("fast", "adaptive"):
            raise UserError(f"dpm-solver:mode={self.mode} takes order 2 or 3, got 1")
        if self.thresholding and self.prediction != "x0":
            raise UserError("dpm-solver:thresholding limits the predicted x_0; it goes with prediction=x0")
        if not (self.rtol > 0 and self.atol > 0):
            raise UserError(f"dpm-solver:rtol and atol are above 0, got {self.rtol:g} and {self.atol:g}")
        if self.max_evaluations < 2 * self.stages:
            raise UserError(f"dpm-solver:max_evaluations is at least {2 * self.stages}, got {self.max_evaluations}")
        if self.mode == "adaptive" and self.final == "zero":
            raise UserError("dpm-solver:mode=adaptive ends at the schedule's smallest time: final=none or denoise")

    @property
    def stages(self) -> int:
        return int(self.order[0])

    @property
    def adaptive(self) -> bool:
        return self.mode == "adaptive"

    @property
    def global_order(self) -> float | None:
        if self.thresholding:
            return None  # a limited x_0 leads to another solution
        if self.order == "3-published":  # with x0 two errors change places between 80 and 160 steps, where 1 is seen
            return 1 if self.prediction == "x0" else 2
        return self.stages

    @property
    def starts_at_pure_noise(self) -> bool:
        return self.mode == "multistep" and self.prediction == "x0"

    @property
    def strides(self) -> bool:
        """Whether a grid has a step for each evaluation, and a step of order p spans p of them."""
        return self.mode == "fast" and self.spacing != "logsnr"

    def label_rule(self, schedule: NoiseSchedule) -> Callable[[Any], Any] | None:
        if self.labels == "type-1" or not schedule.discrete:
            return None
        return lambda t: np.minimum(1 + (1 - 1 / schedule.t_max) * t, schedule.t_max)  # label (N-1)/N·t, not t - 1

    def limit_x0(self, x0: Tensor) -> Tensor:
        return dynamically_thresholded(x0) if self.thresholding else x0

    def evaluations(self, steps: int) -> int:
        if self.mode == "multistep" or self.strides:
            return steps
        if self.mode == "adaptive":
            return self.stages
        whole = self.stages * steps
        if self.mode == "fast":
            return max(whole - 1, 1)
        return whole - self.stages + 1 if self.final == "zero" else whole

    def steps(self, nfe: int) -> int:
        if self.mode == "fast" and nfe >= 1 and not self.strides:  # every budget is spent whole
            return len(fast_orders(nfe, self.stages))
        return super().steps(nfe)

    def sample(self, eps: Denoiser, grid: TimeGrid, x: Tensor, noise: NoiseSource) -> Tensor:
        solver = Solver(self, eps, grid)
        if self.mode == "adaptive":
            return solver.adaptive(x)
        if self.mode == "multistep":
            return solver.multistep(x)
        orders = [self.stages] * grid.steps
        if self.strides:
            last = [1] if grid.times[-1] == 0 else []
            return solver.striding(x, fast_orders(grid.steps - len(last), self.stages) + last)
        if self.mode == "fast":
            exact = eps.budget is not None and len(fast_orders(eps.budget, self.stages)) == grid.steps
            orders = fast_orders(eps.budget if exact and eps.budget else self.evaluations(grid.steps), self.stages)
        return solver.singlestep(x, orders)


def fast_orders(budget: int, order: int) -> list[int]:
    """The orders of the singlesteps that spend `budget` evaluations to the last (first paper, §3.3)."""
    if budget < order:
        return [budget] * (budget > 0)
    if order == 2:
        return [2] * (budget // 2) + [1] * (budget % 2)
    if budget % 3 == 0:
        return [3] * (budget // 3 - 1) + [2, 1]
    return [3] * (budget // 3) + [budget % 3]


def dynamically_thresholded(x0: Tensor) -> Tensor:
    limit = x0.abs().flatten(1).float().quantile(0.995, dim=1).clamp(min=1).to(x0.dtype)
    limit = limit.view(-1, *[1] * (x0.ndim - 1))
    return x0.clamp(-limit, limit) / limit


@hookimpl
def samplerbench_samplers(register):
    register(DPMSolver)
