"""ε_θ as a sampler sees it, and the count below it: bounded by a budget, split into micro-batches, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from ..errors import BudgetExceeded, UserError
from .schedule import NoiseSchedule

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BadNoise", "Denoiser", "Epsilon", "Meter", "Time", "x0_of"]

NO_RANGE = "the network of this model gives no range of variances; use another variance"

Time = Union[float, "Tensor"]
"""A time of the schedule, or a float64 tensor [B] on the CPU with one for each sample (adaptive samplers alone ask so).
"""

Epsilon = Callable[["Tensor", Any], "Tensor"]
"""x [B, ...], in variance-preserving coordinates, and a `Time` -> the noise predicted to be in x, of the same shape.

It may have more to say, as methods: `x0(x, t)`, the predicted data, where it has that without dividing by α;
`with_range(x, t)`, ε and the place of the variance; `mean_square(t)`; `relabelled(rule)`, the same with the label of
another time, `rule(t)`; `passes(t)`, the rows through networks that an evaluation takes, one without it;
`of_rows(rows)`, the same for some of the samples, where each is asked for something of its own; and `latent`, whether
x_0 is a latent and no image in [-1, 1].
"""


class BadNoise(RuntimeError):
    """What an ε function returned is not what it must be: a tensor of x's shape, dtype and device."""


class Meter:
    """Counts what an ε function is asked for each sample, and keeps to the budget.

    The core makes one a batch, and gives the sampler a `Denoiser` of it. That knows the meter's functions, not the
    meter: there is no attribute of a denoiser through which a sampler changes a count or a budget.

    Args:
        epsilon: the function itself.
        batch: how many samples are being made.
        budget: the most evaluations a sample may cost; None for no limit.
        micro_batch: the most rows the function is given at once.
        schedule: the path, for the predicted x_0 of an ε function that gives ε alone.
    """

    def __init__(
        self,
        epsilon: Epsilon,
        batch: int,
        budget: int | None = None,
        micro_batch: int | None = None,
        schedule: NoiseSchedule | None = None,
    ) -> None:
        if batch < 1:
            raise UserError(f"there must be at least one sample, got {batch}")
        # evaluations of each sample by the passes that one takes: who changes their count changes that of the passes,
        # too, and that is compared with the networks'
        tally, reserved = dict[float, Any](), 0
        each, of_rows = getattr(epsilon, "passes", None), getattr(epsilon, "of_rows", None)

        def spend(asked: int, rows: Any, t: Time) -> None:
            added = _added(1 if each is None else each(t), asked, rows, batch)
            after, limit = _total(tally, batch) + sum(added.values()), left()
            # shares of a subset that was not named add up in floating point
            if limit is not None and after.max() > limit + 1e-6:
                raise BudgetExceeded(f"asked for evaluation {int(np.ceil(after.max() - 1e-6))} on a budget of {limit}")
            for kind, share in added.items():
                tally[kind] = tally.get(kind, 0) + share

        def of(rows: Any, x: Tensor) -> Any:
            """ε of the samples that are asked about."""
            if of_rows is None or (rows is None and len(x) == batch):
                return epsilon
            if rows is None:
                raise UserError(
                    f"asks about {len(x)} rows of {batch} samples, each asked for something of its own, and "
                    "does not say whose they are: eps(x, t, rows=…)"
                )
            import torch

            return of_rows(torch.as_tensor(rows))

        def in_parts(function: Any, x: Tensor, t: Time, name: str = "__call__") -> Tensor:
            if micro_batch is None or len(x) <= micro_batch:
                return _checked(getattr(function, name)(x, t), x)
            import torch

            found = []
            for first in range(0, len(x), micro_batch):
                part = torch.arange(first, min(first + micro_batch, len(x)))
                times = t[part.to(t.device)] if isinstance(t, torch.Tensor) else t
                some = function if of_rows is None else function.of_rows(part)
                found.append(getattr(some, name)(x[first : first + micro_batch], times))
            return _checked(torch.cat(found), x)

        def ask(x: Tensor, t: Time, rows: Any = None) -> Tensor:
            spend(len(x), rows, t)
            return in_parts(of(rows, x), x, t)

        def ask_x0(x: Tensor, t: Time, rows: Any = None) -> Tensor:
            spend(len(x), rows, t)
            function = of(rows, x)
            if hasattr(function, "x0"):
                return in_parts(function, x, t, "x0")
            if schedule is None:
                raise UserError("this ε function gives no x_0, and its noise schedule is not known")
            return x0_of(x, in_parts(function, x, t), schedule, t)

        def ask_range(x: Tensor, t: Time, rows: Any = None) -> tuple[Tensor, Tensor]:
            both = getattr(epsilon, "with_range", None)
            if both is None:
                raise UserError(NO_RANGE)
            spend(len(x), rows, t)
            eps, place = of(rows, x).with_range(x, t)
            if place is None:
                raise UserError(NO_RANGE)
            return _checked(eps, x), _checked(place, x)

        def left() -> int | None:
            return None if budget is None else budget - reserved

        @contextmanager
        def reserve(evaluations: int) -> Iterator[None]:
            nonlocal reserved
            reserved += evaluations
            try:
                yield
            finally:
                reserved -= evaluations

        self.ask, self.ask_x0, self.ask_range, self.reserve = ask, ask_x0, ask_range, reserve
        self.mean_square = getattr(epsilon, "mean_square", None)
        self.left = left
        self._tally, self._batch = tally, batch

    @property
    def evaluations(self) -> np.ndarray:
        """Evaluations of each sample so far, [B]."""
        return _total(self._tally, self._batch)

    @property
    def passes(self) -> np.ndarray:
        """Rows through networks of each sample so far, [B]."""
        return _total({kind: kind * count for kind, count in self._tally.items()}, self._batch)

    def denoiser(self) -> Denoiser:
        """ε for a sampler."""
        return Denoiser(self)


def _total(tally: Mapping[float, Any], batch: int) -> np.ndarray:
    """The sum of counts of each sample, [batch]."""
    return sum(tally.values(), np.zeros(batch))


def _added(each: Any, asked: int, rows: Any, batch: int) -> dict[float, Any]:
    """The evaluations of each sample that a call adds, by the passes that one takes: `each`, one number or [asked]."""
    share = _shares(asked, rows, batch)
    if np.ndim(each) == 0:
        return {each: share}
    kinds: dict[float, np.ndarray] = {kind: each == kind for kind in np.unique(each).tolist()}
    if rows is None:
        return {kind: mine if asked == batch else mine.sum() / batch for kind, mine in kinds.items()}
    indices = np.asarray(rows.cpu() if hasattr(rows, "cpu") else rows)
    return {kind: np.bincount(indices[mine], minlength=batch) for kind, mine in kinds.items()}


def _shares(asked: int, rows: Any, batch: int) -> np.ndarray | float:
    """What a call with so many rows adds to the count of each sample: [batch], or the same for all."""
    if rows is None:
        return asked / batch
    indices = np.asarray(rows.cpu() if hasattr(rows, "cpu") else rows)
    if indices.shape != (asked,) or indices.dtype.kind not in "iu" or (indices < 0).any() or (indices >= batch).any():
        raise ValueError(f"rows are the numbers of the {asked} samples asked about, each from 0 to {batch - 1}")
    return np.bincount(indices, minlength=batch)


def _checked(eps: Tensor, x: Tensor) -> Tensor:
    import torch

    if not isinstance(eps, torch.Tensor):
        raise BadNoise(f"ε(x, t) is {type(eps).__name__}, expected a tensor")
    for what in ("shape", "dtype", "device"):
        got, expected = getattr(eps, what), getattr(x, what)
        if got != expected:
            raise BadNoise(f"ε(x, t) has {what} {_plain(got)}, expected that of x, {_plain(expected)}")
    return eps


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def x0_of(x: Tensor, eps: Tensor, schedule: NoiseSchedule, t: Time) -> Tensor:
    """(x - σ_t ε)/α_t. Raises UserError at α = 0, where ε says nothing of x_0."""
    import torch

    alpha: Any
    sigma: Any
    if isinstance(t, torch.Tensor):
        times, shape = t.cpu().numpy(), (len(x), *[1] * (x.ndim - 1))
        alpha, sigma = torch.from_numpy(np.stack([schedule.alpha(times), schedule.sigma(times)])).to(x).view(2, *shape)
    else:
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        if alpha == 0:
            raise UserError(f"ε at time {t:g}, where α = 0, says nothing of x_0; start later")
    return (x - sigma * eps) / alpha


class Denoiser:
    """ε_θ for a sampler. Every call is counted, and none exceeds the budget.

    `eps(x, t)` evaluates every row of x once. A sampler may ask about some of its samples alone, or stack several
    questions about all of them in one call; `rows` says which samples a subset is, so that each is charged its own.
    x is in variance-preserving coordinates on every path.
    """

    __slots__ = ("_ask", "_ask_range", "_ask_x0", "_left", "_mean_square")

    def __init__(self, meter: Meter) -> None:
        self._ask, self._ask_x0, self._ask_range, self._left = meter.ask, meter.ask_x0, meter.ask_range, meter.left
        self._mean_square = meter.mean_square

    @property
    def budget(self) -> int | None:
        """The most evaluations that a sample may cost the sampler; None for no limit."""
        return self._left()

    def mean_square(self, t: float) -> float:
        """E‖ε_θ(x_t, t)‖² / D over the training data, where the ε function has a `mean_square(t)`: a constant of the
        model, so nothing is evaluated. Raises UserError where it has none.
        """
        if self._mean_square is None:
            raise UserError(
                "this model does not hold the mean square of ε_θ at each time (`samplerbench train` writes it)"
            )
        return float(self._mean_square(t))

    def __call__(self, x: Tensor, t: Time, rows: Any = None) -> Tensor:
        """ε_θ(x, t). x: [R, ...], all samples of the batch or some of them; t: a time of the schedule, above 0, or a
        float64 tensor [R] with one for each row; rows: the numbers [R] of the samples where they are not all of them in
        order; without them what is asked counts for all samples alike. Raises BudgetExceeded before it spends what is
        not there.
        """
        return self._ask(x, t, rows)

    def x0(self, x: Tensor, t: Time, rows: Any = None) -> Tensor:
        """The predicted data at x_t, (x - σ_t ε_θ)/α_t, of x's shape; one evaluation. Where the network predicts x_0, v
        or a velocity it is asked for that, so that α = 0 is no trouble.
        """
        return self._ask_x0(x, t, rows)

    def with_range(self, x: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """ε_θ(x, t), and where the network places the log variance of a step from there, of x's shape: -1 for β̃ to 1
        for β (Nichol & Dhariwal 2021, eq. 15). One evaluation. Raises UserError where the network gives no such thing.
        """
        return self._ask_range(x, t)
