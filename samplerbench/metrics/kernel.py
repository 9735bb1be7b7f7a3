"""The kernel distance of two sets of features: the unbiased squared maximum mean discrepancy (Gretton et al. 2012,
lemma 6) with the cubic kernel (x·y/D + 1)³ of the KID (Bińkowski et al. 2018), or another.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..stats.halving import halvings
from ..stats.tails import standard_error
from .measured import Measured, Unmeasurable

__all__ = ["gaussian", "kernel_distance"]

BLOCK = 1024
Kernel = Callable[[Tensor, Tensor], Tensor]  # [n, D] and [m, D] -> [n, m]


def _cubic(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def gaussian(sigma: float) -> Kernel:
    """exp(-‖x - y‖² / 2σ²)."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squares = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1) - 2 * a @ b.T
        return torch.exp(-0.5 * squares.clamp(min=0) / sigma**2)

    return kernel


def kernel_distance(features: Tensor, reference: Tensor, kernel: Kernel = _cubic) -> Measured:
    """MMD² of features [n, D] and reference [m, D], over all pairs, in blocks of rows: memory does not grow with n².

    Its standard error is that of a U-statistic in the samples, the reference taken as fixed (Hoeffding 1948): with h_ij
    = k(x_i, x_j) - g_i - g_j, g_i the mean of k(x_i, ·) over the reference, and h_i the mean of h_ij over j,
    Var = 4 Var(h_i)/n, less the 2 Var(h_ij - h_i - h_j)/n² which the means h_i carry too much. Not the spread over
    subsets of the same samples, which says little of the error (see torch-fidelity's kid_std). Where few samples carry
    it, it is widened or withheld (`stats.tails`).
    """
    x, y = features.double(), reference.double()
    n, m = len(x), len(y)
    if n < 2 or m < 2:
        raise Unmeasurable(f"a kernel distance needs two samples and two reference features, got {n} and {m}")
    g = torch.cat([kernel(block, y).mean(dim=1) for block in x.split(BLOCK)])
    rows = torch.from_numpy(halvings(n)).double() if n >= 4 else torch.empty(0, n, dtype=torch.float64)
    parts = torch.stack([rows, 1 - rows], dim=2)  # [H, n, 2]
    within = torch.zeros(parts.shape[::2], dtype=torch.float64)
    total, square = torch.empty(n, dtype=torch.float64), 0.0
    for start in range(0, n, BLOCK):
        block = x[start : start + BLOCK]
        h = kernel(block, x) - g[start : start + BLOCK, None] - g[None]
        h[torch.arange(len(block)), torch.arange(start, start + len(block))] = 0  # a sample and itself are no pair
        total[start : start + BLOCK] = h.sum(dim=1)
        square += float(h.square().sum())
        within += (parts[:, start : start + BLOCK] * (h @ parts)).sum(dim=1)
    pairs = n * (n - 1)
    mean = float(total.sum()) / pairs
    projections = total / (n - 1) - mean
    of_pairs = square / pairs - mean**2
    first = float(projections.square().sum()) / (n - 1)
    rest = max(of_pairs - 2 * first, 0.0)
    variance = 4 * first / n - 2 * rest / pairs
    of_reference = 0.0
    for start in range(0, m, BLOCK):
        block = y[start : start + BLOCK]
        all_pairs = kernel(block, y)
        own = all_pairs[torch.arange(len(block)), torch.arange(start, start + len(block))]
        of_reference += float(all_pairs.sum() - own.sum())
    constant = of_reference / (m * (m - 1))
    value = mean + constant
    if not math.isfinite(value):
        raise ValueError("the kernel distance is not finite: the features are not, or are too large for a cubic kernel")
    influences: np.ndarray = (2 * projections).numpy()
    plain, note = standard_error(influences)
    error = None
    if plain is not None:
        first_order = 4 * first / n
        error = plain * math.sqrt(max(variance / first_order, 0.0)) if first_order > 0 else 0.0
    sizes = parts.sum(dim=1)
    halves = (within / (sizes * (sizes - 1)) + constant).numpy() if len(rows) else None
    return Measured(value, error, influences=influences, halves=halves, note=note)
