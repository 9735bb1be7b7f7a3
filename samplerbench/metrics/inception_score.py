"""The Inception Score (Salimans et al. 2016, §4): exp E[KL(p(class | image) ‖ p(class))]."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from .measured import Measured, Unmeasurable

__all__ = ["inception_score"]


def inception_score(logits: Tensor) -> Measured:
    """Of logits [n, K], over all samples at once (the usual ten splits only add bias).

    Its standard error is by the delta method: the influence of a sample on the mean divergence is its own divergence
    less the mean, because p(class) is where the divergence from all is least.
    """
    if float(logits.std(dim=0).max()) == 0:
        raise Unmeasurable("the extractor's weights have no classifier: its logits are the same for every image")
    log_p = logits.double().log_softmax(dim=1)
    p = log_p.exp()
    divergence = (p * (log_p - p.mean(dim=0).log())).sum(dim=1)
    value = math.exp(float(divergence.mean()))
    influences: np.ndarray = (value * (divergence - divergence.mean())).numpy()
    return Measured(value, float(influences.std(ddof=1)) / math.sqrt(len(logits)), influences=influences)
