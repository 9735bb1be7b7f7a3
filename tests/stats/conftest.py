import numpy as np
import pytest

from samplerbench.stats.estimate import Estimate
from samplerbench.stats.halving import halvings


@pytest.fixture
def mean_of():
    """The estimate of a mean of numbers [n]: its influences and halves are known exactly. bias / n is added."""

    def make(x, bias=0.0, influences=True, halves=True):
        n = len(x)
        kept = x - x.mean()
        cut = halvings(n)
        parts = np.array([[x[rows].mean() + bias / rows.sum() for rows in (row, ~row)] for row in cut])
        se = float(x.std(ddof=1) / n**0.5)
        return Estimate(float(x.mean()) + bias / n, n, se, kept if influences else None, parts if halves else None)

    return make
