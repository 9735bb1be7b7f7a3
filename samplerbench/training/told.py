"""Who hears of a training."""

from __future__ import annotations

__all__ = ["Told"]


class Told:
    """Hears how training goes; this one says nothing."""

    def step(self, done: int, loss: float) -> None:
        """A batch, the `done`th of all, had this loss."""

    def finishing(self, what: str, done: int, total: int) -> None:
        """Of `what` is made after the last batch, `done` of `total` parts are done."""
