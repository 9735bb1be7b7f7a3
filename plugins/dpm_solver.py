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
from math import inf
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from samplerbench import Sampler, UserError, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from samplerbench import Denoiser, NoiseSchedule, NoiseSource, TimeGrid

    Value = Any  # of λ and what is made of it: a float, or a float64 array with one for each sample


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

    def label_rule(self, schedule: NoiseSchedule) -> Callable[[Value], Value] | None:
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


class Solver:
    """The arithmetic of one run. λ stands for a time: a number, or an array with one for each row of x."""

    def __init__(self, options: DPMSolver, eps: Denoiser, grid: TimeGrid) -> None:
        self.options, self.eps, self.grid = options, eps, grid
        self.rows: Any = None  # the samples that x holds, where it does not hold all
        self.sent: dict[bytes, list[Any]] = {}  # the coefficients of steps of samples by themselves, by where they end

    def predict(self, x: Tensor, lam: Value, t: float | None = None) -> Tensor:
        """The network's ε or x_0 at λ. t: its time, where it is known exactly."""
        time = times_for(self.grid.schedule.time(lam) if t is None else t)
        if self.options.prediction == "eps":
            return self.eps(x, time, self.rows)
        return self.options.limit_x0(self.eps.x0(x, time, self.rows))

    def step(
        self, x: Tensor, lam: Value, lam_next: Value, m: Tensor, d1: Tensor | None = None, d2: Any = None
    ) -> Tensor:
        """From λ to λ_next with the prediction m, its first derivative d1 in units of 1/h, and its second d2."""
        terms = [x, m] if d1 is None else [x, m, d1] if d2 is None else [x, m, d1, d2]
        decay, *gains = self.coefficients(x, lam, lam_next, len(terms))
        x = decay * x
        for gain, term in zip(gains, terms[1:], strict=False):
            x = x - gain * term
        return x

    def coefficients(self, x: Tensor, lam: Value, lam_next: Value, terms: int) -> list[Any]:
        """What a step multiplies with: of x, m, d1 and d2, as many as it has."""
        if np.ndim(lam) == 0:
            return [float(one) for one in self.weights(lam, lam_next, terms)]
        if lam_next.tobytes() not in self.sent:
            self.send(x, lam, [lam_next])
        return self.sent[lam_next.tobytes()]

    def send(self, x: Tensor, lam: Value, ends: list[Value]) -> None:
        """Brings the coefficients of steps from λ to several ends to where x is, in one copy; others are forgotten."""
        import torch

        packed = np.stack([one for end in ends for one in self.weights(lam, end, 4)])
        each = torch.from_numpy(packed).to(x).view(len(ends), 4, -1, *[1] * (x.ndim - 1))
        self.sent = {end.tobytes(): list(some) for end, some in zip(ends, each, strict=True)}

    def weights(self, lam: Value, lam_next: Value, terms: int) -> list[Value]:
        """The same as numbers, or arrays."""
        h = lam_next - lam
        if self.options.prediction == "x0":
            decay, gain, z = sigma(lam_next) / sigma(lam), alpha(lam_next), -h
        else:
            decay, gain, z = alpha(lam_next) / alpha(lam), sigma(lam_next), h
        return [decay, *(gain * phi(z) for phi in (np.expm1, phi_2, phi_3)[: terms - 1])]

    def half_step(self, x: Tensor, lam: Value, lam_next: Value, m: Tensor, d1: Tensor) -> Tensor:
        """The second-order step of the papers' 2S and 2M, with half the first-order weight on the derivative."""
        return self.step(x, lam, lam_next, m + 0.5 * d1)

    def multistep(self, x: Tensor) -> Tensor:
        lam, steps = self.grid.half_log_snr, self.grid.steps
        m: list[Tensor] = []  # predictions, the newest first
        for i in range(steps):
            m = [self.predict(x, lam[i], self.grid.times[i]), *m[:2]]
            order = min(self.options.stages, i + 1)
            if self.options.lower_order_final and steps < 10:
                order = min(order, steps - i)
            if lam[i + 1] == inf:
                return self.clean(x, lam[i], m[0])
            h = lam[i + 1] - lam[i]
            if order == 1:
                x = self.step(x, lam[i], lam[i + 1], m[0])
                continue
            r0 = (lam[i] - lam[i - 1]) / h
            first = (m[0] - m[1]) / r0
            if order == 2:
                x = self.half_step(x, lam[i], lam[i + 1], m[0], first)
                continue
            r1 = (lam[i - 1] - lam[i - 2]) / h
            second = (first - (m[1] - m[2]) / r1) / (r0 + r1)
            exact = 1.0 if self.options.order == "3-published" else 2.0
            x = self.step(x, lam[i], lam[i + 1], m[0], first + r0 * second, exact * second)
        return x

    def singlestep(self, x: Tensor, orders: list[int]) -> Tensor:
        for i, order in enumerate(orders):
            lam, lam_next = self.grid.half_log_snr[i], self.grid.half_log_snr[i + 1]
            m = self.predict(x, lam, self.grid.times[i])
            if lam_next == inf:
                return self.clean(x, lam, m)
            if order == 1:
                x = self.step(x, lam, lam_next, m)
            elif order == 2:
                x = self.two_stages(x, lam, lam_next, m, 0.5)[0]
            else:
                x = self.three_stages(x, lam, lam_next, m)[0]
        return x

    def striding(self, x: Tensor, orders: list[int]) -> Tensor:
        """Steps over as many of the grid's times as their orders, with the times between as inner ones, as the authors'
        code has it off the log-SNR spacing.
        """
        lam, i = self.grid.half_log_snr, 0
        for order in orders:
            m = self.predict(x, lam[i], self.grid.times[i])
            end = i + order
            if lam[end] == inf:
                return self.clean(x, lam[i], m)
            inner = [(lam[k] - lam[i]) / (lam[end] - lam[i]) for k in range(i + 1, end)]
            if order == 1:
                x = self.step(x, lam[i], lam[end], m)
            elif order == 2:
                x = self.two_stages(x, lam[i], lam[end], m, *inner)[0]
            else:
                x = self.three_stages(x, lam[i], lam[end], m, *inner)[0]
            i = end
        return x

    def two_stages(self, x: Tensor, lam: Value, lam_next: Value, m: Tensor, r1: float) -> tuple[Tensor, Tensor]:
        """2S; also the difference of its second prediction to the first."""
        inner = lam + r1 * (lam_next - lam)
        difference = self.predict(self.step(x, lam, inner, m), inner) - m
        return self.half_step(x, lam, lam_next, m, difference / r1), difference

    def three_stages(
        self, x: Tensor, lam: Value, lam_next: Value, m: Tensor, r1: float = 1 / 3, r2: float = 2 / 3
    ) -> tuple[Tensor, Tensor]:
        """3S, and the 2S that shares its evaluations."""
        lower, difference = self.two_stages(x, lam, lam_next, m, r1)
        inner = lam + r2 * (lam_next - lam)
        second = self.predict(self.step(x, lam, inner, m, r2 / r1 * difference), inner) - m
        return self.step(x, lam, lam_next, m, second / r2), lower

    def clean(self, x: Tensor, lam: Value, m: Tensor) -> Tensor:
        return m if self.options.prediction == "x0" else (x - sigma(lam) * m) / alpha(lam)

    def adaptive(self, x: Tensor) -> Tensor:
        """Each sample with its own steps: error control over its elements alone, never over the batch."""
        import torch

        stages, end = self.options.stages, self.grid.half_log_snr[-1]
        cap = min(self.options.max_evaluations, self.eps.budget or inf)
        lam, h = np.full(len(x), self.grid.half_log_snr[0]), np.full(len(x), 0.05)
        x, previous, used = x.clone(), x.clone(), 0
        rows, here = np.arange(len(x)), torch.arange(len(x), device=x.device)
        while len(rows):
            self.rows = rows
            x_s, lam_s = x[here], lam[rows]
            last = used + 2 * stages > cap  # what is left pays for this step alone
            step = end - lam_s if last else np.minimum(h[rows], end - lam_s)
            whole = lam_s + step
            inner = [0.5] if stages == 2 else [1 / 3, 2 / 3]
            self.send(x_s, lam_s, [whole, *(lam_s + r * (whole - lam_s) for r in inner)])
            m = self.predict(x_s, lam_s)
            if stages == 2:
                lower = self.step(x_s, lam_s, whole, m)
                higher = self.two_stages(x_s, lam_s, whole, m, *inner)[0]
            else:
                higher, lower = self.three_stages(x_s, lam_s, whole, m, *inner)
            used += stages
            size = torch.maximum(lower.abs(), previous[here].abs())
            error = (higher - lower) / (self.options.rtol * size).clamp(min=self.options.atol)
            e = error.flatten(1).square().mean(dim=1).sqrt().double().cpu().numpy()
            broken = ~np.isfinite(e)  # such a sample ends here, and is reported for what it is
            accepted = (e <= 1) | broken | last
            lam[rows[accepted]] += step[accepted]
            with np.errstate(invalid="ignore"):
                h[rows] = 0.9 * step * np.maximum(e, 1e-8) ** (-1 / stages)
            left = ~(broken | (accepted & (end - lam[rows] <= 1e-9)) | last)
            kept, more = np.flatnonzero(accepted), np.flatnonzero(left)
            taken, on = torch.from_numpy(np.concatenate([kept, more])).to(x.device).split([len(kept), len(more)])
            x[here[taken]], previous[here[taken]] = higher[taken], lower[taken]
            rows, here = rows[left], here[on]
        return x


def alpha(lam: Value) -> Value:
    return np.exp(-0.5 * np.logaddexp(0.0, -2.0 * lam))


def sigma(lam: Value) -> Value:
    return np.exp(-0.5 * np.logaddexp(0.0, 2.0 * lam))


def phi_2(z: Value) -> Value:
    """(e^z - 1)/z - 1, by its series where it would cancel."""
    series = z / 2 * (1 + z / 3 * (1 + z / 4 * (1 + z / 5 * (1 + z / 6))))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(z) < 1e-2, series, np.expm1(z) / z - 1)


def phi_3(z: Value) -> Value:
    """((e^z - 1)/z - 1)/z - 1/2, by its series where it would cancel."""
    series = z / 6 * (1 + z / 4 * (1 + z / 5 * (1 + z / 6 * (1 + z / 7))))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(z) < 1e-2, series, phi_2(z) / z - 0.5)


def times_for(time: Value) -> Any:
    """Times as the denoiser takes them."""
    if np.ndim(time) == 0:
        return float(time)
    import torch

    return torch.from_numpy(np.asarray(time))


def dynamically_thresholded(x0: Tensor) -> Tensor:
    limit = x0.abs().flatten(1).float().quantile(0.995, dim=1).clamp(min=1).to(x0.dtype)
    limit = limit.view(-1, *[1] * (x0.ndim - 1))
    return x0.clamp(-limit, limit) / limit


@hookimpl
def samplerbench_samplers(register):
    register(DPMSolver)
