"""The Inception Score (Salimans et al. 2016, §4): exp E[KL(p(class | image) ‖ p(class))]."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..stats.halving import halvings
from ..stats.tails import standard_error
from .measured import Measured, Unmeasurable

__all__ = ["inception_score"]


def inception_score(logits: Tensor) -> Measured:
    """Of logits [n, K], over all samples at once (the usual ten splits only add bias).

    Its standard error is by the delta method: the influence of a sample on the mean divergence is its own divergence
    less the mean, because p(class) is where the divergence from all is least. Its bias falls as 1/n, so it has halves.
    """
    if float(logits.std(dim=0).max()) == 0:
        raise Unmeasurable("the extractor's weights have no classifier: its logits are the same for every image")
    log_p = logits.double().log_softmax(dim=1)
    divergence = _divergence(log_p)
    value = math.exp(float(divergence.mean()))
    influences: np.ndarray = (value * (divergence - divergence.mean())).numpy()
    error, note = standard_error(influences)
    halves = None
    if len(logits) >= 4:
        rows = torch.from_numpy(halvings(len(logits)))
        halves = np.array([[math.exp(float(_divergence(log_p[part]).mean())) for part in (row, ~row)] for row in rows])
    return Measured(value, error, influences=influences, halves=halves, note=note)


def _divergence(log_p: Tensor) -> Tensor:
    """KL(p(class | image) ‖ p(class)) of each image, p(class) the mean over all."""
    p = log_p.exp()
    return (p * (log_p - p.mean(dim=0).log())).sum(dim=1)
