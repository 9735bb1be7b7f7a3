"""The Fréchet distance between Gaussians fitted to features (Heusel et al. 2017), from statistics gathered in one
pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError

__all__ = ["Moments", "Statistics", "batch_of", "frechet_distance", "kept_square_root", "square_root", "statistics_of"]


@dataclass(frozen=True)
class Statistics:
    """Mean `mu` [D] and covariance `sigma` [D, D] (over count - 1) of `count` features, float64; None where it is not
    known.
    """

    mu: np.ndarray
    sigma: np.ndarray
    count: int | None


class Moments:
    """Mean and covariance of a stream of features in float64; memory does not grow with the number of them.

    Batches are merged by the pairwise update of Chan et al. 1982, which loses nothing to a large mean.
    """

    def __init__(self, dimension: int, device: str = "cpu") -> None:
        self.count = 0
        self._mean = torch.zeros(dimension, dtype=torch.float64, device=device)
        self._scatter = torch.zeros(dimension, dimension, dtype=torch.float64, device=device)

    def add(self, features: Tensor) -> None:
        """features: [N, D], any float type. Raises ValueError where one is not finite."""
        features = features.detach().to(self._mean.device, torch.float64, copy=True)
        n = len(features)
        mean = features.mean(dim=0)
        if not torch.isfinite(mean).all():  # nor is it, where one of them is not
            raise ValueError("the features of some samples are not finite")
        features -= mean
        delta = mean - self._mean
        total = self.count + n
        for start in range(0, len(mean), BLOCK):  # of a symmetric matrix what is below the diagonal
            some = slice(start, start + BLOCK)
            scatter = features[:, start:].T @ features[:, some]
            scatter += torch.outer(delta[start:], delta[some]).mul_(self.count * n / total)
            self._scatter[start:, some] += scatter
        self._mean += delta * (n / total)
        self.count = total

    def statistics(self) -> Statistics:
        """What was gathered; at least two features are needed for a covariance."""
        if self.count < 2:
            raise UserError(f"a covariance needs at least 2 samples, got {self.count}")
        sigma = (self._scatter / (self.count - 1)).cpu().numpy()
        for end in range(BLOCK, len(sigma), BLOCK):  # a block has both its halves
            sigma[end - BLOCK : end, end:] = sigma[end:, end - BLOCK : end].T
        return Statistics(self._mean.cpu().numpy().copy(), sigma, self.count)


def statistics_of(features: Tensor, rows: Tensor | None = None, device: str = "cpu") -> Statistics:
    """Of features [N, D] that are all there, or of those at rows, gathered on a device, a few at a time."""
    moments = Moments(features.shape[1], device)
    size = batch_of(features)
    for batch in features.split(size) if rows is None else (features[some] for some in rows.split(size)):
        moments.add(batch)
    return moments.statistics()


def batch_of(features: Tensor) -> int:
    """How many of features [N, D] are taken at once: as many as 8 MB of float64 hold, at most 4096."""
    return max(1, min(4096, 2**20 // features.shape[1]))


BLOCK = 512  # columns of a covariance at a time


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """‖μ_a - μ_b‖² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½), never below 0.

    The last trace is that of (Lᵀ Σ_b L)^½ with L Lᵀ = Σ_a: symmetric, so its eigenvalues are real and no matrix square
    root of a non-symmetric product is taken. L is the Cholesky factor, or where Σ_a is singular its square root.
    """
    if a.mu.shape != b.mu.shape:
        raise UserError(f"features of {len(a.mu)} and of {len(b.mu)} dimensions have no distance")
    try:
        factor = np.linalg.cholesky(a.sigma)
    except np.linalg.LinAlgError:
        factor = square_root(a.sigma)
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(factor.T @ b.sigma @ factor), 0, None)).sum()
    distance = np.square(a.mu - b.mu).sum() + np.trace(a.sigma) + np.trace(b.sigma) - 2 * cross
    return max(float(distance), 0.0)


def square_root(sigma: np.ndarray) -> np.ndarray:
    """The symmetric square root of a covariance matrix."""
    values, vectors = np.linalg.eigh(sigma)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def kept_square_root(sigma: np.ndarray) -> np.ndarray:
    """The same, not to be changed; taken once of a matrix that is asked about again and again, as a run's reference is.
    Known by its content, so that a copy has it, too.
    """
    key = sha256(np.ascontiguousarray(sigma).data).digest()
    root = _roots.get(key)
    if root is None:
        root = square_root(sigma)
        root.setflags(write=False)
        _roots.clear()  # another thread may do the same meanwhile
        _roots[key] = root
    return root


_roots: dict[bytes, np.ndarray] = {}  # the last one
