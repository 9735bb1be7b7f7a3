"""How many samples are what was asked for, by the extractor's own classifier."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..stats.tails import standard_error
from .measured import Measured, Unmeasurable

__all__ = ["class_accuracy"]


def class_accuracy(logits: Tensor, labels: Tensor) -> Measured:
    """The share of samples whose largest logit [n, K] is that of their label [n]. Those of label -1, which were asked
    for no class, do not count: the share is a ratio of two means, and its influences are those of one.

    Guidance raises it beyond that of real images, while their variety falls. Raises Unmeasurable where no sample has a
    class, or a class that the classifier does not know.
    """
    told = (labels >= 0).numpy()
    if not told.any():
        raise Unmeasurable("no sample was asked for a class")
    if int(labels.max()) >= logits.shape[1]:
        raise Unmeasurable(
            f"class {int(labels.max())} was asked for, and the extractor knows {logits.shape[1]} classes"
        )
    if float(logits.std(dim=0).max()) == 0 and len(logits) > 1:
        raise Unmeasurable("the extractor's weights have no classifier: its logits are the same for every image")
    right = (logits.argmax(dim=1) == labels).numpy()
    value = float(right[told].mean())
    influences: np.ndarray = np.where(told, right - value, 0.0) / told.mean()
    error, note = standard_error(influences)
    return Measured(value, error, int(told.sum()), influences, note=note)
