"""UniPC: a unified predictor-corrector in λ = log(α/σ) (Zhao et al. 2023).

Deterministic, one evaluation a step: UniP-p predicts from the last p predictions of the network, UniC-p corrects the
result with the evaluation that the next step needs anyway, which raises the order to p + 1. Without the corrector
UniP-1 is DDIM and UniP-2 with bh1 is close to DPM-Solver(++)-2M. The `vary_coeff` variant is left out: the authors'
code of it converges at order 1, which the paper does not say. A last step to time 0 is of order 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1, factorial, inf
from typing import TYPE_CHECKING, Literal

import numpy as np

from samplerbench import Sampler, UserError, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from samplerbench import Denoiser, NoiseSource, TimeGrid


@dataclass(frozen=True, kw_only=True)
class UniPC(Sampler):
    """order: p, 1 to 4. variant: bh1 or bh2, the function B(h) of the paper's eq. 5. corrector: false leaves UniP.
    prediction: what is expanded, the predicted x_0 or ε.

    lower_order_final: the order falls to 1 at the last step, as in the authors' code.
    """

    name = "unipc"
    paper = "Zhao et al. 2023, arXiv:2302.04867, Algorithms 5 to 8"

    order: int = 3
    variant: Literal["bh1", "bh2"] = "bh2"
    prediction: Literal["x0", "eps"] = "x0"
    corrector: bool = True
    lower_order_final: bool = True
    spacing: str = "logsnr"
    final: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in (1, 2, 3, 4):
            raise UserError(f"unipc:order is 1, 2, 3 or 4, got {self.order}")

    @property
    def global_order(self) -> float:
        full = self.order + 1 if self.corrector else self.order
        return min(full, 2) if self.lower_order_final else full  # a last step of order 1 leaves an error of h²

    @property
    def starts_at_pure_noise(self) -> bool:
        return self.prediction == "x0"

    def sample(self, eps: Denoiser, grid: TimeGrid, x: Tensor, noise: NoiseSource) -> Tensor:
        lam, history, before, order = grid.half_log_snr, [], x, 1  # type: ignore[var-annotated]
        for i in range(grid.steps):
            m = eps.x0(x, grid.times[i]) if self.prediction == "x0" else eps(x, grid.times[i])
            if i and self.corrector and lam[i - 1] > -inf:  # a step from λ = -∞ is of order 1
                x = self._step(grid, i - 1, before, [*history[:order], m], order)
            history = [m, *history[: self.order - 1]]
            if lam[i + 1] == inf:
                return m if self.prediction == "x0" else (x - grid.sigma[i] * m) / grid.alpha[i]
            order = min(self.order, i + 1 if lam[0] > -inf else max(i, 1))
            if self.lower_order_final:
                order = min(order, grid.steps - i)
            before, x = x, self._step(grid, i, x, history[:order], order)
        return x

    def _step(self, grid: TimeGrid, i: int, x: Tensor, m: list[Tensor], order: int) -> Tensor:
        """Step i from x. m: the predictions at times i, i-1, …; one more than `order`, at time i+1, makes it UniC's."""
        lam, corrects = grid.half_log_snr, len(m) > order
        h = lam[i + 1] - lam[i]
        if self.prediction == "x0":
            z, decay, gain = -h, grid.sigma[i + 1] / grid.sigma[i], grid.alpha[i + 1]
        else:
            z, decay, gain = h, grid.alpha[i + 1] / grid.alpha[i], grid.sigma[i + 1]
        x = decay * x - gain * expm1(z) * m[0]
        ratios = [(lam[i - k] - lam[i]) / h for k in range(1, order)] + ([1.0] if corrects else [])
        scale = z if self.variant == "bh1" else expm1(z)
        for weight, r, past in zip(weights(z, ratios, scale), ratios, m[1:], strict=True):
            x = x - (gain * scale * weight / r) * (past - m[0])
        return x


def weights(z: float, ratios: list[float], scale: float) -> list[float]:
    """ρ of the paper's theorem 3.1: R ρ = b/B. Of order 2's predictor and order 1's corrector it is 1/2, whatever h."""
    size = len(ratios)
    if size <= 1:
        return [0.5] * size
    phi, right = expm1(z) / z - 1, []
    for k in range(1, size + 1):
        right.append(phi * factorial(k) / scale)
        phi = phi / z - 1 / factorial(k + 1)
    matrix = np.vander(np.array(ratios), size, increasing=True).T
    return [float(value) for value in np.linalg.solve(matrix, np.array(right))]


@hookimpl
def samplerbench_samplers(register):
    register(UniPC)
