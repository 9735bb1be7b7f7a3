"""The steps of DPM-Solver and DPM-Solver++: exponential integrators in λ = log(α/σ) (Lu et al. 2022a, b), and what
their coefficients are made of. `dpm_solver` says which of them make a sampler.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from samplerbench import Denoiser, TimeGrid

    from .dpm_solver import DPMSolver

    Value = Any  # of λ and what is made of it: a float, or a float64 array with one for each sample


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
