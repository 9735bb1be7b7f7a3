"""ε_θ from a network, whatever its convention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..diffusion.denoiser import Time
from ..diffusion.schedule import NoiseSchedule
from ..settings import products
from .networks.experts import Experts
from .preconditioning import Level, Preconditioning

__all__ = ["ModelEpsilon", "NoisePredictor"]

Output = tuple[Tensor, Tensor | None]
Pair = Callable[[Tensor, Time], tuple[Output, Output]]


class NoisePredictor(nn.Module):
    """ε_θ(x, t) = the network's output, turned into noise.

    network: (x [B, C, H, W], label [B]) -> its output, of x's shape; of one with twice the channels the first half
    is that. One that is asked for something takes `asked`, too: tensors [B, …] by name. preconditioning: its
    convention, or the name of what it predicts.

    x is in variance-preserving coordinates. The label is [B], or one number for all. The conversion is done in float32.
    """

    def __init__(self, network: nn.Module, preconditioning: Preconditioning | str = "epsilon") -> None:
        super().__init__()
        self.network = network
        self.preconditioning = Preconditioning(preconditioning) if isinstance(preconditioning, str) else preconditioning

    def forward(self, x: Tensor, label: Tensor | float, at: Level, **asked: Tensor) -> Tensor:
        """ε, of x's shape."""
        return self.preconditioning.epsilon(self.output(x, label, at, **asked)[0], x, at)

    def x0(self, x: Tensor, label: Tensor | float, at: Level, **asked: Tensor) -> Tensor:
        """The predicted x_0, of x's shape."""
        return self.preconditioning.x0(self.output(x, label, at, **asked)[0], x, at)

    def output(self, x: Tensor, label: Tensor | float, at: Level, **asked: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the network says, and where it has it its second half: where the log variance lies, -1 for β̃ to 1 for
        β.
        """
        network, given = self.network, self.preconditioning.given(x, at)
        if not isinstance(label, Tensor):
            network = network.at(label) if isinstance(network, Experts) else network
            label = torch.full((len(x),), label, dtype=torch.float32, device=x.device)
        output = network(given, label, **asked).to(x.dtype)
        if x.ndim > 1 and output.shape[1] == 2 * x.shape[1]:
            first, second = output.chunk(2, dim=1)
            return first, second
        return output, None


class ModelEpsilon:
    """The ε(x, t) of a trained network: labels and levels in float64, the network in `dtype` (float32, tf32, float64,
    bfloat16 or float16). tf32 is float32 with products of fewer digits, on devices that have them.

    mean_squares: E‖ε_θ‖²/D over the training data at some times, {"times": […], "values": […]}; None where not known.
        `mean_square(t)` goes between them, after the noise of the measurement is taken out (see `_monotone`).
    rule: the time whose label the network is given for a time; the same without one. ranged: whether the network places
    the log variance; the method `with_range` is there only then. asked: what the network is asked for besides, tensors
    with a row for each of x; then there is `of_rows(rows)`, the ε of some of them. latent: whether x_0 is a latent, and
    no pixels in [-1, 1].
    """

    def __init__(
        self,
        predictor: NoisePredictor,
        schedule: NoiseSchedule,
        dtype: str = "float32",
        mean_squares: dict[str, list[float]] | None = None,
        rule: Callable[[Any], Any] = lambda t: t,
        ranged: bool = False,
        asked: Mapping[str, Tensor] | None = None,
        latent: bool = False,
    ) -> None:
        self.predictor, self.schedule, self._rule, self._asked = predictor, schedule, rule, dict(asked or {})
        given = None if asked is None else self._asked
        self.latent = latent
        self._again = partial(
            ModelEpsilon,
            predictor,
            schedule,
            dtype,
            mean_squares,
            rule=rule,
            ranged=ranged,
            asked=given,
            latent=latent,
        )
        if ranged:
            self.with_range = self._with_range
        if asked is not None:
            self.of_rows = self._of_rows
        self.lowered = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(dtype)
        self._products = "tf32" if dtype == "tf32" else "ieee"
        if mean_squares is not None:
            self.mean_square = partial(np.interp, xp=mean_squares["times"], fp=_monotone(schedule, mean_squares))

    def relabelled(self, rule: Callable[[Any], Any]) -> ModelEpsilon:
        """The same ε with the label of the time `rule(t)` in the place of t's."""
        return self._again(rule=rule)

    def asking(self, asked: Mapping[str, Tensor]) -> ModelEpsilon:
        """The same ε of a network that is asked for this."""
        return self._again(asked=asked)

    def _of_rows(self, rows: Tensor) -> ModelEpsilon:
        """The ε of some of the samples alone, whose numbers are `rows`."""
        return self._again(asked={name: values[rows.to(values.device)] for name, values in self._asked.items()})

    def beside(self, other: ModelEpsilon) -> Pair | None:
        """What the network outputs for what this and the other are asked, from one batch; None where they are not
        of one network. Each has the second half of a learned range with it.
        """
        if getattr(other, "predictor", None) is not self.predictor or other._asked.keys() != self._asked.keys():
            return None

        def both(x: Tensor, t: Time) -> tuple[Output, Output]:
            label, at = self.level(x, t)
            twice = Level(*(torch.cat([part, part]) if isinstance(part, Tensor) else part for part in at))
            labels = torch.cat([label, label]) if isinstance(label, Tensor) else label
            asked = {n: torch.cat([self._row(n, x), other._row(n, x)]) for n in self._asked}
            with self.precision(x):
                output, place = self.predictor.output(torch.cat([x, x]), labels, twice, **asked)
            (one, two), places = output.chunk(2), (None, None) if place is None else place.chunk(2)
            return (one, places[0]), (two, places[1])

        return both

    def epsilon_of(self, output: Tensor, x: Tensor, t: Time) -> Tensor:
        """The ε that an output of the network means."""
        return self.predictor.preconditioning.epsilon(output, x, self.level(x, t)[1])

    def x0_of(self, output: Tensor, x: Tensor, t: Time) -> Tensor:
        """The data that an output of the network means."""
        return self.predictor.preconditioning.x0(output, x, self.level(x, t)[1])

    def __call__(self, x: Tensor, t: Time) -> Tensor:
        label, at = self.level(x, t)
        with self.precision(x):
            return self.predictor(x, label, at, **self._rows(x))

    def x0(self, x: Tensor, t: Time) -> Tensor:
        """The predicted data, of x's shape."""
        label, at = self.level(x, t)
        with self.precision(x):
            return self.predictor.x0(x, label, at, **self._rows(x))

    def _with_range(self, x: Tensor, t: Time) -> tuple[Tensor, Tensor | None]:
        """ε, and the place of the log variance, -1 for β̃ to 1 for β."""
        label, at = self.level(x, t)
        with self.precision(x):
            output, place = self.predictor.output(x, label, at, **self._rows(x))
            return self.predictor.preconditioning.epsilon(output, x, at), place

    def _rows(self, x: Tensor) -> dict[str, Tensor]:
        return {name: self._row(name, x) for name in self._asked}

    def _row(self, name: str, x: Tensor) -> Tensor:
        rows = self._asked[name]
        if len(rows) != len(x):
            raise ValueError(f"the network is asked for {len(rows)} things and given {len(x)} samples")
        return rows

    @contextmanager
    def precision(self, x: Tensor) -> Iterator[None]:
        """What the network is run inside of."""
        with (
            products(self._products),
            torch.autocast(x.device.type, self.lowered or torch.bfloat16, enabled=self.lowered is not None),
        ):
            yield

    def level(self, x: Tensor, t: Time) -> tuple[Tensor | float, Level]:
        """The label of t, and where on the path it is."""
        path, labels = self.schedule, self.predictor.preconditioning.label
        if not isinstance(t, Tensor):
            level = Level(float(path.alpha(t)), float(path.sigma(t)), float(path.scale(t)))
            return float(labels(path, self._rule(t))), level
        times = t.cpu().numpy()
        told = (path.alpha(times), path.sigma(times), path.scale(times), labels(path, self._rule(times)))
        *values, label = torch.from_numpy(np.stack(told)).to(x.device)  # one copy of all
        return label.float(), Level(*(one.to(x.dtype).view(len(x), *[1] * (x.ndim - 1)) for one in values))


def _monotone(schedule: NoiseSchedule, measured: dict[str, list[float]]) -> list[float]:
    """Mean squares such that Var(x_0 | x_t) = (σ/α)² (1 - E‖ε_θ‖²/D) never falls as t grows, as near to the measured
    ones as may be: more noise never tells more of x_0. Where much noise is, 1 - E‖ε_θ‖²/D is far below what some
    hundred images can measure, and its sign is chance.

    The isotonic regression of Var(x_0 | x_t), each value weighted by its precision, (α/σ)⁴: at i the largest over
    j ≤ i of the smallest over k ≥ i of the mean from j to k. The noise of the table is told from its second
    differences. A value that it makes uncertain by more than a quarter says nothing, as no variance of data in [-1, 1]
    is above 1; there the last one before it holds.
    """
    ratio = np.exp(-2 * schedule.half_log_snr(measured["times"]))  # (σ/α)²
    values = np.asarray(measured["values"], dtype=np.float64)
    noise = 1.4826 * np.median(np.abs(np.diff(values, 2))) / 6**0.5 if len(values) > 2 else 0.0
    told = np.isfinite(ratio) & (ratio * noise < 0.25)
    if not told.any():
        return values.tolist()
    weights, variances = ratio[told] ** -2.0, ratio[told] * (1 - values[told])
    best = np.zeros(len(variances))
    for j in range(len(variances)):
        means = np.cumsum((weights * variances)[j:]) / np.cumsum(weights[j:])
        best[j:] = np.maximum(best[j:], np.minimum.accumulate(means[::-1])[::-1])
    values[told] = 1 - best / ratio[told]
    values[~told] = 1 - best[-1] / ratio[~told]
    return values.tolist()
