"""The denoising error of every reading of a network, on the same images, noise and levels, and what the paired
differences say.

At one λ the errors of ε, x_0 and v are the same but for a factor. So their ratio between two readings does not depend
on which of them is counted. What is compared is the logarithm of that ratio, its mean over noise levels. No level
drowns the others: a reading that is better at most levels is not hidden by one level where it is far worse. Levels are
even in λ, which in time is dense near the data. A label off by one shows there; a wrong meaning of the output shows at
the noisy end.

Where a reading has another meaning of the output, something is added to both errors: `FLOOR` in ε and in x_0. A trivial
ε̂ = x is better at the noisy end than many a network that predicts ε, and x̂_0 = x near the data than many that predict
x_0. A wrong meaning makes one of the two of any output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from ..diffusion.noise import NoiseSource
from ..diffusion.schedule import Array
from ..models.preconditioning import Level
from ..stats.estimate import Estimate
from ..stats.simultaneous import Tested, simultaneous
from .readings import Reading

__all__ = ["BANDS", "CONFIDENCE", "MARGIN", "OWN", "Compared", "Levels", "answers", "compare", "errors_of", "levels_of"]

MOST_NOISE = float(np.log(0.01))  # λ where a hundredth of the data is left; beyond it every ε is x
BANDS = 8  # of noise levels, each with its own mean error
CONFIDENCE = 0.99  # of all intervals at once
MARGIN = 5e-4  # of the logarithm of a ratio: the labels -½ and +½ of a trained network differ by a fifth of this
OWN = 0.02  # the same on a model's own samples, which are not its data: there labels ±1 err by half of it
FLOOR = 0.01  # squared error of ε and of x_0 that a network may have anywhere, an rms of 0.1
OTHER_SEED = 2**40  # of the noise, which is not that of a sampler which made the images
Networks = Mapping[str, nn.Module]


@dataclass(frozen=True)
class Levels:
    """times: [n] of the declared path, the data's end first, `n / BANDS` a band; half_log_snr: λ there."""

    times: Array
    half_log_snr: Array


def levels_of(right: Reading, count: int, seed: int) -> Levels:
    """One λ in each of `count` equal slices between the ends of the path, or to where α = 0.01; on a discrete path the
    nearest time with a label, because the network was trained at no other.
    """
    path = right.path
    noisiest = max(float(path.half_log_snr(path.first_time(pure_noise=False))), MOST_NOISE)
    first = float(path.half_log_snr(path.t_min))
    places = (np.arange(count) + np.random.Generator(np.random.Philox(seed)).random(count)) / count
    times = right.time(first + (noisiest - first) * places)
    times = np.minimum(np.round(times) if path.discrete else times, path.first_time(pure_noise=False))
    return Levels(times, path.half_log_snr(times))


def answers(
    readings: Sequence[Reading],
    network: nn.Module,
    x: Tensor,
    lam: Array,
    t: Array | None,
    asked: Mapping[str, Tensor] | None = None,
) -> list[Tensor]:
    """ε̂ of readings that ask the network the same question, of x [B, ...] in variance-preserving coordinates at λ [B].
    t: the times of these λ on the readings' path, where they are known. asked: what the network is asked for besides.
    """
    first = readings[0]
    a, b = first.data
    own = lam - np.log(a)  # a network of data a x_0 + b sees as much of it there as is seen of x_0 at λ
    times = t if t is not None and a == 1 else first.time(own)
    path, shape = first.path, (len(x), *[1] * (x.ndim - 1))
    (_, given_sigma), (alpha, sigma) = _coefficients(lam), _coefficients(own)

    def on(values: Array) -> Tensor:
        return torch.from_numpy(np.asarray(values)).to(x).view(shape)

    level = Level(on(alpha), on(sigma), on(path.scale(times)))
    x = x if (a, b) == (1.0, 0.0) else on(sigma / given_sigma) * x + b * level.alpha
    given = first.preconditioning.given(x, level)
    scale, shift = first.seen
    if (scale, shift) != (1.0, 0.0):
        given = scale * given + shift
    label = torch.from_numpy(first.preconditioning.label(path, times)).float().to(x.device)
    out = network(given, label, **(asked or {})).to(x.dtype)
    if out.shape[1] == 2 * x.shape[1]:
        out = out.chunk(2, dim=1)[0]
    flow = Level(level.alpha, level.sigma, 1 / (level.alpha + level.sigma))  # the scale at which ε - x_0 is defined
    said = [reading.preconditioning for reading in readings]
    at = [flow if one.prediction.startswith("velocity") else level for one in said]
    return [p.epsilon(r.sign * out, x, place) for r, p, place in zip(readings, said, at, strict=True)]


def _coefficients(lam: Array) -> tuple[Array, Array]:
    """α and σ in variance-preserving coordinates."""
    return np.exp(-0.5 * np.logaddexp(0.0, -2.0 * lam)), np.exp(-0.5 * np.logaddexp(0.0, 2.0 * lam))


@torch.no_grad()
def errors_of(
    readings: Sequence[Reading],
    networks: Networks,
    x0: Tensor,
    levels: Levels,
    seed: int,
    batch_size: int = 128,
    told: Callable[[int], None] = lambda done: None,
    asked: Callable[[Sequence[int]], Mapping[str, Tensor]] = lambda rows: {},
) -> Array:
    """[n, readings]: ‖ε̂ - ε‖²/D of sample i, the i-th of x0 [n, ...], noised to level i. inf where it is not finite.
    asked: what the network is asked for with samples of these numbers.
    """
    noise, n = NoiseSource(OTHER_SEED + seed, range(len(x0)), x0.shape[1:])(0), len(x0)
    errors = np.full((n, len(readings)), np.inf)
    questions: dict[object, list[int]] = {}
    for k, reading in enumerate(readings):
        questions.setdefault(reading.question, []).append(k)
    lam = levels.half_log_snr
    alpha, sigma = (torch.from_numpy(value).float() for value in _coefficients(lam))
    place = next(networks[""].parameters(), torch.zeros(())).device
    done = 0
    for batch in torch.arange(n).split(batch_size):
        shape = (len(batch), *[1] * (x0.ndim - 1))
        eps = noise[batch].to(place)
        x = alpha[batch].view(shape).to(place) * x0[batch].to(place) + sigma[batch].view(shape).to(place) * eps
        rows, also = batch.numpy(), asked(batch.tolist())
        for members in questions.values():
            first = readings[members[0]]
            t = levels.times[rows] if first.path is readings[0].path else None
            found = answers([readings[k] for k in members], networks[first.variant], x, lam[rows], t, also)
            for k, answer in zip(members, found, strict=True):
                error = (answer - eps).double().square().flatten(1).mean(1).cpu().numpy()
                errors[rows, k] = np.where(np.isfinite(error), error, np.inf)
            done += len(batch)
            told(done)
    return errors


@dataclass(frozen=True)
class Compared:
    """A reading against the declared one.

    Attributes:
        reading: what was compared.
        ratio: its squared error over the declared reading's, the geometric mean over noise levels; inf where the
            network gives what is not finite.
        interval: of the ratio; all intervals hold at once with the confidence. None where it is not known.
        verdict: `worse`, `better` or `cannot tell`. best: whether it fits best of all that are better.
    """

    reading: Reading
    ratio: float
    interval: tuple[float, float] | None
    verdict: str
    best: bool = False


def compare(
    readings: Sequence[Reading],
    levels: Levels,
    errors: Array,
    margin: float = MARGIN,
    confidence: float = CONFIDENCE,
) -> list[Compared]:
    """Every reading but the first against the first, the declared one; errors [n, readings] at levels [n].

    Within a band of levels the ratio of the mean errors has the influence e_k/ē_k - e_0/ē_0 of each sample (delta
    method), of mean 0 in every band, so their variance is that of stratified sampling. The intervals are max-adjusted
    over the readings (`stats.simultaneous`). A verdict is given where the whole interval of the logarithm lies beyond
    the margin.
    """
    n = len(errors) // BANDS * BANDS
    usable = [k for k in range(1, len(readings)) if np.isfinite(errors[:, k]).all()]
    floor = FLOOR * (1 + np.exp(2 * levels.half_log_snr[:n]))  # an error of x_0 is e^{2λ} times as large in ε

    def against(base: int, k: int) -> tuple[float, Array]:
        """The mean logarithm of the ratio of reading k's errors to the base's, and its influences [n]."""
        other_meaning = readings[base].meaning != readings[k].meaning
        bands = (errors[:n, [base, k]] + (floor[:, None] if other_meaning else 0.0)).reshape(BANDS, -1, 2)
        means = bands.mean(axis=1, keepdims=True)
        return float(np.log(means[..., 1] / means[..., 0]).mean()), (bands / means).reshape(n, 2) @ [-1.0, 1.0]

    widen = np.sqrt(n / (n - BANDS))  # each band has a mean of its own
    logs, estimates = {}, [Estimate(0.0, n, 0.0, np.zeros(n))]
    for k in usable:
        logs[k], influences = against(0, k)
        own = influences * widen
        estimates.append(Estimate(logs[k], n, float(own.std(ddof=1) / np.sqrt(n)), own))
    pairs = [(0, i) for i in range(1, len(estimates))]
    family = simultaneous(estimates, pairs, [0] * len(estimates), extrapolate=False, confidence=confidence)
    tested = dict(zip(usable, family.tested, strict=True))
    compared = [
        _compared(one, logs.get(k, float("inf")), tested.get(k), max(margin, one.margin))
        for k, one in enumerate(readings)
        if k
    ]
    best = 0
    for k, one in enumerate(compared, 1):  # each pair by what is fair between the two
        best = k if one.verdict == "better" and (not best or against(best, k)[0] < 0) else best
    return [replace(one, best=k == best) for k, one in enumerate(compared, 1)]


def _compared(reading: Reading, log: float, tested: Tested | None, margin: float) -> Compared:
    if tested is None:  # the network gave what is not finite
        return Compared(reading, float("inf"), None, "worse")
    if tested.interval is None:
        return Compared(reading, float(np.exp(log)), None, "cannot tell")
    low, high = tested.interval
    verdict = "worse" if low > margin else "better" if high < -margin else "cannot tell"
    return Compared(reading, float(np.exp(log)), (float(np.exp(low)), float(np.exp(high))), verdict)
