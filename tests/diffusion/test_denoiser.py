import pytest
import torch

from samplerbench import BudgetExceeded, Denoiser
from samplerbench.diffusion.denoiser import BadNoise


def half(x, t):
    return x / 2


def test_counts_by_rows_evaluated():
    eps = Denoiser(half, batch=4)
    x = torch.zeros(4, 2)
    eps(x, 1.0)
    assert eps.nfe == 1
    eps(x[:2], 1.0)
    assert eps.nfe == 1.5
    eps(torch.cat([x, x]), 1.0)
    assert eps.nfe == 3.5


def test_the_budget_is_never_exceeded():
    asked = []
    eps = Denoiser(lambda x, t: asked.append(len(x)) or x, batch=3, budget=2)
    x = torch.zeros(3, 2)
    eps(x, 1.0)
    with pytest.raises(BudgetExceeded, match="evaluation 2 on a budget of 2"):
        eps(torch.cat([x, x]), 1.0)
    eps(x, 1.0)
    with pytest.raises(BudgetExceeded, match="evaluation 3 on a budget of 2"):
        eps(x, 1.0)
    assert eps.nfe == 2
    assert sum(asked) == 6


def test_micro_batches_change_neither_result_nor_count():
    sizes = []
    x = torch.randn(10, 3)
    eps = Denoiser(lambda x, t: sizes.append(len(x)) or x / 2, batch=10, micro_batch=4)
    assert torch.equal(eps(x, 1.0), x / 2)
    assert sizes == [4, 4, 2]
    assert eps.nfe == 1


def test_a_wrong_shape_is_an_error():
    with pytest.raises(BadNoise, match=r"shape \[2\], expected that of x, \[2, 3\]"):
        Denoiser(lambda x, t: x[:, 0], batch=2)(torch.zeros(2, 3), 1.0)
