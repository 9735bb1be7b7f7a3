"""The Fréchet distance of features with its error: what each sample adds to it, and how it depends on their number.

The distance is expanded about the samples' Gaussian. To first order it is a mean of influences ψ, so its variance is
Var ψ / n (delta method; the reference is taken as fixed). To second order it is a mean over pairs of samples of the
curvature h. The mean of h over a sample with itself, over n, is the bias that makes FID fall with n; and because ψ is
taken at the samples' Gaussian, not at the true one, Var ψ / n is too large by 2 E[h²] / n². Near distance 0 that is
half of it: an error √2 times too large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..stats.halving import halvings
from ..stats.tails import standard_error
from .frechet import Statistics, batch_of, frechet_distance, kept_square_root, statistics_of
from .measured import Measured

__all__ = ["Expansion", "expand", "frechet", "frechet_at_infinity", "frechet_halves"]

SAMPLES_A_FEATURE = 1.5  # from there on the error is right on real features; see docs/statistics.md
PAIRS = 1024  # of samples, for the mean square of the curvature


@dataclass(frozen=True)
class Expansion:
    """The distance of `a` to the fixed `b`, to second order about a.

    mean: μ_a. slope: 2 (μ_a - μ_b). bent: I - T with T = B (B Σ_a B)^-½ B and B = Σ_b^½, the optimal transport map from
    a to b. offset: tr((I - T) Σ_a). basis: B U, U the eigenvectors of B Σ_a B. values: its eigenvalues m.
    weights: 1 / (√m_i √m_j (√m_i + √m_j)), 0 where an eigenvalue is.
    """

    mean: np.ndarray
    slope: np.ndarray
    bent: np.ndarray
    offset: float
    basis: np.ndarray
    values: np.ndarray
    weights: np.ndarray

    def influences(self, features: Tensor) -> np.ndarray:
        """[n], the derivative of the distance along each of features [n, D], those of a: with f the feature less the
        mean, slope·f + fᵀ (I - T) f - tr((I - T) Σ_a).
        """
        parts = []
        for batch in features.split(batch_of(features)):
            f = batch.to(torch.float64, copy=True).numpy()
            f -= self.mean
            bent = f @ self.bent
            bent *= f
            parts.append(f @ self.slope + bent.sum(axis=1) - self.offset)
        return np.concatenate(parts)

    def influences_on(self, features: Tensor, device: str) -> np.ndarray:
        """The same on a GPU."""
        mean, slope, bent = (torch.from_numpy(one).to(device) for one in (self.mean, self.slope, self.bent))
        parts = []
        for batch in features.split(batch_of(features)):
            f = batch.to(device, torch.float64) - mean
            parts.append(f @ slope + ((f @ bent) * f).sum(dim=1) - self.offset)
        return torch.cat(parts).cpu().numpy()

    def curvature(self, one: Tensor, two: Tensor) -> np.ndarray:
        """[p], half the second derivative of the distance along the features one and two, each [p, D], together: with
        g = Uᵀ B f, fᵀ T f' + ½ Σ_ij w_ij (g_i g_j - m_i δ_ij) (g'_i g'_j - m_i δ_ij).
        """
        f, g = one.double().numpy() - self.mean, two.double().numpy() - self.mean
        of_means = ((f - f @ self.bent) * g).sum(axis=1)
        f, g = f @ self.basis, g @ self.basis
        both, own = f * g, np.diag(self.weights) * self.values
        of_covariances = ((both @ self.weights) * both).sum(axis=1) - (f**2 + g**2) @ own + own @ self.values
        return of_means + 0.5 * of_covariances


def expand(a: Statistics, b: Statistics) -> Expansion:
    """The expansion of the distance of `a` to `b` about a."""
    root = kept_square_root(b.sigma)
    # torch's needs one copy of the matrix less than numpy's
    values, vectors = (one.numpy() for one in torch.linalg.eigh(torch.from_numpy(root @ a.sigma @ root)))
    known = values > values.max() * len(values) * np.finfo(np.float64).eps
    scale = np.sqrt(np.where(known, values, 1.0))
    inverse = np.where(known, 1 / scale, 0.0)
    basis = root @ vectors
    del vectors
    bent = (basis * -inverse) @ basis.T
    np.fill_diagonal(bent, bent.diagonal() + 1)  # I - T
    weights = np.outer(inverse, inverse)
    weights /= scale[:, None] + scale
    offset = float((bent * a.sigma).sum())
    return Expansion(a.mu, 2 * (a.mu - b.mu), bent, offset, basis, np.where(known, values, 0.0), weights)


def frechet(features: Tensor, b: Statistics, device: str = "cpu") -> Measured:
    """The distance of features [n, D] to b, with its influences, its error and its values on the common halvings. Sums
    over samples are taken on the device, a few samples at a time.

    No error below 1.5 samples a feature, nor where a few samples carry it; the note says so. No halves of fewer than 4
    samples.
    """
    n, d = features.shape
    a = statistics_of(features, device=device)
    value = frechet_distance(a, b)
    halves = frechet_halves(features, a, b, device) if n >= 4 else None
    fewest = math.ceil(SAMPLES_A_FEATURE * d)
    if n < fewest:
        return Measured(value, halves=halves, note=f"no error below {fewest} samples, 1.5 a feature")
    expansion = expand(a, b)
    on_cpu = device == "cpu"
    influences = expansion.influences(features) if on_cpu else expansion.influences_on(features, device)
    error, note = standard_error(influences)
    if error is not None:
        error *= _second_order(expansion, features, influences)
    return Measured(value, error, influences=influences, halves=halves, note=note)


def frechet_at_infinity(features: Tensor, b: Statistics, device: str = "cpu") -> Measured:
    """The distance extrapolated to infinitely many samples: 2 F(n) - mean over the common halvings of F(n/2).

    Its bias falls as 1/n (Chong & Forsyth 2020), so this is without it, to first order. Its first order is the
    distance's own, so it has the same influences; the choice of the halvings adds its spread to the error. Halves are
    each half's distance less the bias of n/2 samples, so that their mean is the value.
    """
    found = frechet(features, b, device)
    if found.halves is None:
        raise ValueError(f"an extrapolation needs 4 samples, got {len(features)}")
    bias = 2 * (float(found.halves.mean()) - found.value)  # of n/2 samples: twice that of n
    halves = found.halves - bias
    means = halves.mean(axis=1)
    error = None if found.se is None else math.hypot(found.se, float(means.std(ddof=1)) / math.sqrt(len(means)))
    return Measured(float(means.mean()), error, influences=found.influences, halves=halves, note=found.note)


def frechet_halves(features: Tensor, a: Statistics, b: Statistics, device: str = "cpu") -> np.ndarray:
    """[H, 2], the distance of both halves of each common halving; `a` are the statistics of all features.

    The second half's statistics are those of all less those of the first (Chan et al. 1982, backwards).
    """
    n, found = len(features), []
    for row in halvings(n):
        one = statistics_of(features, torch.from_numpy(np.flatnonzero(row)), device)
        assert one.count is not None
        rest = n - one.count
        mean = (n * a.mu - one.count * one.mu) / rest
        gap = mean - one.mu
        first = frechet_distance(one, b)
        left = one.sigma  # from here on the other's: one matrix of them is enough
        left *= 1 - one.count
        left += a.sigma * (n - 1)
        left -= np.outer(gap, gap * (one.count * rest / n))
        left /= rest - 1
        found.append([first, frechet_distance(Statistics(mean, left, rest), b)])
    return np.array(found)


def _second_order(expansion: Expansion, features: Tensor, influences: np.ndarray) -> float:
    """√(1 - 2 E[h²] / (n Var ψ)), by which the first order's error is too large; at least √½, its limit at distance 0.

    E[h²] is the mean over pairs of samples, each with its neighbour.
    """
    some = features[:PAIRS]
    curvature = expansion.curvature(some, some.roll(1, dims=0))
    variance = float(influences.var(ddof=1))
    excess = 2 * float(np.square(curvature).mean()) / (len(features) * variance) if variance > 0 else 0.0
    return math.sqrt(max(1 - excess, 0.5))
