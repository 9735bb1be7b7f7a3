"""An ε function that is watched: who asked for a sample is told of each evaluation, and the sampler is not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from .denoiser import Time, x0_of
from .schedule import NoiseSchedule

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Evaluation", "watched"]


class Evaluation(NamedTuple):
    """One call of ε_θ.

    number: from 1 up. t: the time that was asked for, a float, or [B] float64 where each sample has its own. x: what
    the network was asked about, [B, ...], in variance-preserving coordinates; adaptive samplers may ask about some
    samples alone. x0: the data that it predicts, of x's shape; None at α = 0, where ε alone says nothing of it.
    """

    number: int
    t: Time
    x: Tensor
    x0: Tensor | None


def watched(epsilon: Any, schedule: NoiseSchedule, callback: Callable[[Evaluation], object]) -> Any:
    """`epsilon` with `callback` told of each evaluation; whatever else the function has is handed through."""
    return _Watched(epsilon, schedule, callback, count(1))


class _Watched:
    def __init__(
        self, epsilon: Any, schedule: NoiseSchedule, callback: Callable[[Evaluation], object], numbers: count[int]
    ) -> None:
        self._epsilon, self._schedule, self._callback, self._numbers = epsilon, schedule, callback, numbers
        # there where the function has them: `Epsilon` says what they are
        if hasattr(epsilon, "x0"):
            self.x0 = self._x0
        if hasattr(epsilon, "with_range"):
            self.with_range = self._with_range
        if hasattr(epsilon, "relabelled"):
            self.relabelled = lambda rule: _Watched(epsilon.relabelled(rule), schedule, callback, numbers)
        if hasattr(epsilon, "of_rows"):
            self.of_rows = lambda rows: _Watched(epsilon.of_rows(rows), schedule, callback, numbers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epsilon, name)

    def __call__(self, x: Tensor, t: Time) -> Tensor:
        eps: Tensor = self._epsilon(x, t)
        self._tell_eps(x, t, eps)
        return eps

    def _x0(self, x: Tensor, t: Time) -> Tensor:
        predicted: Tensor = self._epsilon.x0(x, t)
        self._tell(x, t, predicted)
        return predicted

    def _with_range(self, x: Tensor, t: Time) -> tuple[Tensor, Tensor | None]:
        eps, place = self._epsilon.with_range(x, t)
        self._tell_eps(x, t, eps)
        return eps, place

    def _tell_eps(self, x: Tensor, t: Time, eps: Tensor) -> None:
        blind = isinstance(t, float | int) and float(self._schedule.alpha(t)) == 0
        self._tell(x, t, None if blind else x0_of(x, eps, self._schedule, t))

    def _tell(self, x: Tensor, t: Time, predicted: Tensor | None) -> None:
        # copies: neither may the callback change what the sampler goes on with, nor the sampler what was kept
        told = None if predicted is None else predicted.detach().clone()
        self._callback(Evaluation(next(self._numbers), t, x.detach().clone(), told))
