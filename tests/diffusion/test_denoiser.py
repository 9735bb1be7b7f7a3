import numpy as np
import pytest
import torch

from samplerbench import BudgetExceeded
from samplerbench.diffusion.denoiser import BadNoise, Meter


def half(x, t):
    return x / 2


def test_counts_by_rows_evaluated():
    meter = Meter(half, batch=4)
    eps, x = meter.denoiser(), torch.zeros(4, 2)
    eps(x, 1.0)
    assert meter.evaluations.tolist() == [1] * 4
    eps(x[:2], 1.0)  # which two is not said
    assert meter.evaluations.tolist() == [1.5] * 4
    eps(torch.cat([x, x]), 1.0)
    assert meter.evaluations.tolist() == [3.5] * 4


def test_rows_say_which_samples_a_subset_is():
    meter = Meter(half, batch=4, budget=2)
    eps, x = meter.denoiser(), torch.zeros(4, 2)
    eps(x, 1.0)
    eps(x[:2], 1.0, rows=torch.tensor([1, 3]))
    assert meter.evaluations.tolist() == [1, 2, 1, 2]
    with pytest.raises(BudgetExceeded, match="evaluation 3 on a budget of 2"):
        eps(x[:1], 1.0, rows=np.array([3]))
    eps(x[:1], 1.0, rows=[0])
    assert meter.evaluations.tolist() == [2, 2, 1, 2]
    for rows in ([0, 1], [4], [-1], [0.5]):
        with pytest.raises(ValueError, match="rows are the numbers of the 1 samples asked about, each from 0 to 3"):
            eps(x[:1], 1.0, rows=rows)


def test_the_budget_is_never_exceeded():
    asked = []
    meter = Meter(lambda x, t: asked.append(len(x)) or x, batch=3, budget=2)
    eps, x = meter.denoiser(), torch.zeros(3, 2)
    eps(x, 1.0)
    with pytest.raises(BudgetExceeded, match="evaluation 3 on a budget of 2"):
        eps(torch.cat([x, x]), 1.0)
    eps(x, 1.0)
    with pytest.raises(BudgetExceeded, match="evaluation 3 on a budget of 2"):
        eps(x, 1.0)
    assert meter.evaluations.tolist() == [2] * 3
    assert sum(asked) == 6


def test_what_is_reserved_is_not_the_samplers():
    meter = Meter(half, batch=1, budget=2)
    eps, x = meter.denoiser(), torch.zeros(1, 2)
    with meter.reserve(1):
        assert eps.budget == 1
        eps(x, 1.0)
        with pytest.raises(BudgetExceeded, match="evaluation 2 on a budget of 1"):
            eps(x, 1.0)
    assert eps.budget == 2
    eps(x, 1.0)


def test_a_sampler_reaches_neither_count_nor_budget():
    meter = Meter(half, batch=1, budget=1)
    eps = meter.denoiser()
    for name, value in (("budget", None), ("_rows", 0), ("_epsilon", half), ("_budget", 9)):
        with pytest.raises(AttributeError):
            setattr(eps, name, value)
    eps(torch.zeros(1, 2), 1.0)
    assert meter.evaluations.tolist() == [1]
    meter.evaluations[:] = 0  # a copy
    with pytest.raises(BudgetExceeded):
        eps(torch.zeros(1, 2), 1.0)


def test_micro_batches_change_neither_result_nor_count():
    sizes = []
    x = torch.randn(10, 3)
    meter = Meter(lambda x, t: sizes.append(len(x)) or x / 2, batch=10, micro_batch=4)
    assert torch.equal(meter.denoiser()(x, 1.0), x / 2)
    assert sizes == [4, 4, 2]
    assert meter.evaluations.tolist() == [1] * 10


def test_a_wrong_shape_is_an_error():
    with pytest.raises(BadNoise, match=r"shape \[2\], expected that of x, \[2, 3\]"):
        Meter(lambda x, t: x[:, 0], batch=2).denoiser()(torch.zeros(2, 3), 1.0)


def test_evaluations_and_passes_are_one_count():
    """So that who changes the one is found out by the other, which is compared with the networks'."""

    class Guided:
        def __call__(self, x, t):
            return x

        def passes(self, t):
            return np.where(t.numpy() < 0.5, 2, 1) if isinstance(t, torch.Tensor) else 2

        def of_rows(self, rows):
            return self

    meter, x = Meter(Guided(), 3), torch.zeros(3, 1)
    eps = meter.denoiser()
    eps(x, 0.3)
    eps(x, torch.tensor([0.1, 0.6, 0.9]))
    eps(x[:2], torch.tensor([0.9, 0.1]), rows=torch.tensor([2, 0]))
    assert meter.evaluations.tolist() == [3, 2, 3]
    assert meter.passes.tolist() == [6, 3, 4]
    spend = next(c.cell_contents for c in eps._ask.__closure__ if getattr(c.cell_contents, "__name__", "") == "spend")
    tally = next(c.cell_contents for c in spend.__closure__ if isinstance(c.cell_contents, dict))
    tally.clear()
    assert meter.evaluations.tolist() == meter.passes.tolist() == [0, 0, 0]
