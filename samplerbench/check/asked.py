"""What a model is asked for while it is checked."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..errors import UserError
from ..models.condition import Asked
from ..models.model import Model
from ..models.predictor import ModelEpsilon

__all__ = ["Questions"]


class Questions:
    """A model's ε for samples by their numbers: each with what the model is asked by default, in turn. With given
    images nothing is asked for, as images do not say what they are of.

    Raises UserError where images are given to a model that must be asked for something.
    """

    def __init__(self, model: Model, with_images: bool = False) -> None:
        self.model, conditioner = model, model.conditioner
        self._asked = Asked(conditioner.default if conditioner else ())
        if conditioner is not None and with_images:
            if conditioner.nothing is None:
                raise UserError(
                    f"model '{model.name}' must be asked for something, and images do not say what; leave --data out"
                )
            self._asked = Asked((conditioner.nothing,))

    def epsilon(self, indices: Sequence[int]) -> ModelEpsilon:
        """For these samples, where the model is."""
        return self.model.epsilon(asked=self._of(indices))

    def rows(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """The same as arguments of the network."""
        asked = self._of(indices)
        return self.model.rows(asked) if asked else {}

    def _of(self, indices: Sequence[int]) -> list[str]:
        return self._asked.of(indices) if self._asked.lines else []
