"""What can be told of a model from outside: two calls, the noisy end, and the samples that it draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..diffusion.grid import TimeGrid
from ..diffusion.noise import NoiseSource
from ..drawing import BadSample, draw
from ..models.formats.format import Coder
from ..models.latents import through
from ..models.model import Model
from ..models.preconditioning import Level
from ..sampler import Sampler
from .asked import Questions
from .finding import Failed

__all__ = ["DataMoments", "calls", "coded", "noisy_end", "own_samples", "range_of", "spread_of"]

MARGIN = 0.1  # of what a network may err by at the noisy end: 1 % of the noise's variance
EQUAL = 1e-3  # of the output's root mean square: two ways to compute the same, in float32
HALF = 0.5  # of the data's standard deviation: how far the predicted mean may be from the data's
OUTSIDE, FEW = 1.1, 0.1  # a value is outside beyond this, and a share of so many may be
MEAN, SPREAD = 0.25, 1.3  # of own samples: mean in the data's deviations, deviation as a factor
EVALUATIONS, LEAST_ALPHA = 50, 0.01


@dataclass(frozen=True)
class DataMoments:
    """Of images x_0 in [-1, 1]. mean: of each pixel, [C, H, W]. average, deviation: of all values."""

    mean: Tensor
    average: float
    deviation: float

    @classmethod
    def of(cls, x0: Tensor) -> DataMoments:
        return cls(x0.mean(0), float(x0.mean()), float(x0.std()))


def calls(model: Model, device: str, questions: Questions | None = None) -> str:
    """One network, asked twice, answers the same, and a sample alone what it does in a batch."""
    network, path = model.predictor.network, model.schedule
    training = [name or "the network" for name, part in network.named_modules() if part.training and _acts(part)]
    if training:
        raise Failed(f"{training[0]} is in training mode; a model is evaluated with eval()")
    questions = questions or Questions(model)
    epsilon, convention, worst = questions.epsilon(range(4)), model.predictor.preconditioning, [0.0, 0.0]
    x = NoiseSource(0, range(4), model.sample_shape, device)(0)
    for t in (path.t_min, float(path.time(0.0)), path.first_time(pure_noise=False)):
        t = float(round(t)) if path.discrete else t
        if not bool(torch.isfinite(epsilon(x, t)).all()):
            raise Failed(f"ε at time {t:g} is not finite")
        label, at = (
            float(convention.label(path, t)),
            Level(*(float(f(t)) for f in (path.alpha, path.sigma, path.scale))),
        )

        def output(first: int, last: int, label: float = label, at: Level = at) -> Tensor:
            rows = questions.rows(range(first, last))
            return model.predictor.output(x[first:last], label, at, **rows)[0]  # ε of x_0 has its rounding α/σ times

        one, again = output(0, 4), output(0, 4)
        size = float(one.square().mean().sqrt()) or 1.0
        alone = torch.cat([output(i, i + 1) for i in range(4)])
        for i, other in enumerate((again, alone)):
            worst[i] = max(worst[i], float((one - other).abs().max()) / size)
    if worst[0] > EQUAL:
        raise Failed(f"two calls with the same x differ by {worst[0]:.1e}: is dropout active?")
    if worst[1] > EQUAL:
        raise Failed(f"a sample alone differs by {worst[1]:.1e} from itself in a batch: does a norm use the batch?")
    return (
        f"two calls differ by {worst[0]:.1e}, a sample alone and in a batch by {worst[1]:.1e} (at most {EQUAL:g} of "
        "the output's rms)"
    )


def _acts(part: nn.Module) -> bool:
    """Whether training mode changes what a module computes."""
    return isinstance(part, nn.modules.dropout._DropoutNd | nn.modules.batchnorm._BatchNorm)


def noisy_end(
    model: Model, device: str, data: DataMoments | None, count: int = 64, questions: Questions | None = None
) -> str:
    """At the noisy end there is nothing but noise: ε̂ is x_T, and x̂_0 the mean of the data, whatever x_T is.

    The exact denoiser has ε̂ - x = x (1/σ - 1) - (α/σ) x̂_0, and the slope of x̂_0 on x is at most α/σ² where data lies
    in [-1, 1]. The tolerance is that, and `MARGIN` for what a network errs. An ε or a score is judged by ε̂: its x̂_0
    divides by α. What predicts x_0, v, F or a velocity is judged by x̂_0: its ε̂ is x_T whatever it says.
    """
    path, by_noise = model.schedule, model.predictor.preconditioning.prediction in ("epsilon", "score")
    t = path.first_time(pure_noise=not by_noise)
    x = NoiseSource(0, range(count), model.sample_shape, device)(0) * path.prior(t)
    epsilon = (questions or Questions(model)).epsilon(range(count))
    alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
    eps = epsilon(x, t)
    off, correlation = float((eps - x).square().mean().sqrt()), _correlation(eps, x)
    text = f"ε̂ - x_T has rms {off:.3f}, their correlation is {correlation:.3f}"
    if by_noise:
        allowed = alpha / sigma + (1 / sigma - 1) + MARGIN
        text += f"; rms at most {allowed:.3f}"
        if not off <= allowed:
            raise Failed(text)
        return text
    x0 = epsilon.x0(x, t)
    slope, allowed = float((x0 * x).mean() / x.square().mean()), alpha / sigma**2 + MARGIN
    text = f"{text}; x̂_0 has slope {slope:.3f} on x_T (at most ± {allowed:.3f})"
    failed = not abs(slope) <= allowed
    if data is not None:
        far = float((x0.mean(0).cpu() - data.mean).square().mean().sqrt()) / data.deviation
        text += f" and is {far:.2f} of the data's deviations from its mean (at most {HALF:g})"
        failed |= not far <= HALF
    if failed:
        raise Failed(text)
    return text


def _correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1])


def own_samples(
    model: Model,
    sampler: Sampler,
    count: int,
    seed: int,
    device: str,
    batch_size: int = 128,
    questions: Questions | None = None,
) -> Tensor:
    """`count` samples of the model, [count, C, H, W] on the CPU, latents where it has these. Raises Failed where they
    are not finite.

    They start where α = 0.01 or above: what an ε says of x_0 is divided by α, and on some paths that is 1e-4 at the
    first time, so that samplers there need x_0 clipped, which would hide its range.
    """
    path, parts, questions = model.schedule, [], questions or Questions(model)
    start = min(float(path.time(np.log(LEAST_ALPHA))), path.first_time(pure_noise=False))
    start = float(round(start)) if path.discrete else start
    grid = TimeGrid.make(path, sampler.steps(EVALUATIONS), sampler.spacing, sampler.final, sampler.rho, start)
    for indices in torch.arange(count).split(batch_size):
        noise = NoiseSource(seed, indices.tolist(), model.sample_shape, device)
        try:
            epsilon = questions.epsilon(indices.tolist())
            parts.append(draw(sampler, epsilon, grid, noise.x_T(), noise, EVALUATIONS).x0.cpu())
        except BadSample as error:
            raise Failed(str(error)) from None
    return torch.cat(parts)


def range_of(x0: Tensor, data: DataMoments | None) -> str:
    """Samples lie in [-1, 1] and fill it; their mean and deviation are the data's."""
    own = DataMoments.of(x0)
    some = x0.flatten()[:: max(1, x0.numel() // 10**6)]  # which is what torch sorts at once
    low, high = (float(value) for value in torch.quantile(some, torch.tensor([0.001, 0.999])))
    outside = float((x0.abs() > OUTSIDE).double().mean())
    text = f"values from {low:.2f} to {high:.2f} (99.8 %), {outside:.1%} beyond ±{OUTSIDE:g} (at most {FEW:.0%})"
    text += f", mean {own.average:.3f}, deviation {own.deviation:.3f}"
    problems = []
    if outside > FEW:
        problems.append("the network's data reaches beyond [-1, 1], its output is misread, or it is trained too little")
    if low > -HALF or high < HALF:
        problems.append("[-1, 1] is not filled: the network's data seems to have another range")
    if data is not None:
        text += f"; the data has {data.average:.3f} and {data.deviation:.3f}"
        problems += _apart(own, data)
    if problems:
        raise Failed(f"{text}: {'; '.join(problems)}")
    return text


def _apart(own: DataMoments, data: DataMoments) -> list[str]:
    """How samples differ from the data, in words."""
    found = []
    if abs(own.average - data.average) > MEAN * data.deviation:
        found.append(f"the means differ by more than {MEAN:g} of the data's deviation")
    if not 1 / SPREAD <= own.deviation / data.deviation <= SPREAD:
        found.append(f"the deviations differ by more than {SPREAD:g} times")
    return found


def spread_of(latents: Tensor, data: DataMoments | None) -> str:
    """Latents that are drawn have the mean and deviation of those that the encoder gives; without these, 0 and 1."""
    own, usual = DataMoments.of(latents), DataMoments(torch.zeros(()), 0.0, 1.0)
    text = f"mean {own.average:.3f}, deviation {own.deviation:.3f}; "
    text += f"images have {data.average:.3f} and {data.deviation:.3f}" if data else "expected about 0 and 1"
    if problems := _apart(own, data or usual):
        raise Failed(f"{text}: {'; '.join(problems)}: the latents' shift or scale seems to be another one")
    return text


def coded(coder: Coder, images: Tensor) -> str:
    """Images, uint8 [N, C, H, W], are nearly themselves after encoder and decoder."""
    away = (through(coder, images).float() - images.float()).square().mean().sqrt() / images.float().std()
    text = f"images come back with an error of {float(away):.2f} of their deviation (at most {HALF:g})"
    if not float(away) <= HALF:
        raise Failed(f"{text}: encoder and decoder do not belong together, or take pixels of another range")
    return text
