"""DPM-Solver's own ways: adaptive and fast, thresholding, labels."""

from __future__ import annotations

import pytest
import torch

from samplerbench import NoiseSource, UserError, sample
from samplerbench.check.mixture import GaussianMixture
from samplerbench.drawing import BadSample
from samplerbench.models.predictor import ModelEpsilon, NoisePredictor

from .test_samplers import LINEAR, VP, x_T


class TestAdaptive:
    """DPM-Solver-12 and -23."""

    def setup_method(self):
        self.truth = GaussianMixture(VP)
        self.x = NoiseSource(11, range(24), (4, 4), dtype=torch.float64).x_T()

    @pytest.mark.parametrize(("order", "least", "most"), [(2, 60, 100), (3, 28, 52)])
    def test_evaluations_are_about_the_papers_and_errors_within_tolerance(self, order, least, most):
        exact = self.truth.solution(self.x, VP.t_max, VP.t_min)
        spec = f"dpm:mode=adaptive:order={order}:prediction=eps"
        loose = sample(spec, self.truth, VP, self.x, steps=1)
        assert least <= loose.nfe <= most
        tight = sample(f"{spec}:rtol=0.005:atol=0.0005", self.truth, VP, self.x, steps=1)
        errors = [(got.x0 - exact).abs().median() for got in (loose, tight)]
        assert errors[0] < 0.02
        assert errors[1] < errors[0] / 3

    def test_the_batch_does_not_matter(self):
        spec = "dpm:mode=adaptive:order=3:prediction=eps"
        whole = sample(spec, self.truth, VP, self.x, steps=1)
        alone = [sample(spec, self.truth, VP, self.x[i : i + 1], steps=1) for i in range(24)]
        assert torch.equal(torch.cat([one.x0 for one in alone]), whole.x0)
        assert sum(one.nfe for one in alone) / 24 == pytest.approx(whole.nfe)

    @pytest.mark.parametrize("budget", range(2, 40))
    def test_the_budget_is_a_cap(self, budget):
        assert sample("dpm:mode=adaptive", self.truth, VP, self.x, nfe=budget).nfe <= budget

    def test_it_ends_on_nan(self):
        with pytest.raises(BadSample, match="NaN or infinite values in 3 of 24"):
            sample("dpm:mode=adaptive", self.nan_in_three, VP, self.x, steps=1)

    def nan_in_three(self, x, t):
        eps = self.truth(x, t)
        bad = (x[:, 0, 0, None] == self.x[:3, 0, 0]).any(1)
        eps[bad] = float("nan")
        return eps


@pytest.mark.parametrize("order", [2, 3])
def test_fast_spends_every_budget_whole(order):
    truth, x = GaussianMixture(LINEAR), x_T(2)
    for budget in range(1, 40):
        assert sample(f"dpm:mode=fast:order={order}", truth, LINEAR, x, nfe=budget).nfe == budget


def test_fast_on_listed_outer_times_ends_as_its_budget_says():
    """The authors take 10, 11 and 12 evaluations by orders 3 3 3 1, 3 3 3 2 and 3 3 3 2 1."""
    truth, x, spec = GaussianMixture(LINEAR), x_T(2), "dpm:mode=fast:order=3"
    four, five = [1000, 600, 300, 100, 1], [1000, 600, 300, 100, 30, 1]
    results = [sample(spec, truth, LINEAR, x, times=times, nfe=n) for times, n in ((four, 10), (four, 11), (five, 12))]
    assert [result.nfe for result in results] == [10, 11, 12]
    assert torch.equal(sample(spec, truth, LINEAR, x, times=four).x0, results[1].x0)
    assert not torch.equal(results[0].x0, results[1].x0)


def test_thresholding_keeps_x0_in_range():
    def eps(x, t):
        return -5 * torch.ones_like(x)

    assert sample("dpm:thresholding=true:final=zero", eps, LINEAR, x_T(5, 50), steps=3).x0.abs().max() <= 1
    assert sample("dpm:final=zero", eps, LINEAR, x_T(5, 50), steps=3).x0.abs().max() > 1


def test_labels_of_type_two_are_scaled():
    asked = []

    class Network(torch.nn.Module):
        def forward(self, x, label):
            asked.append(float(label[0]))
            return x / 2

    epsilon = ModelEpsilon(NoisePredictor(Network(), "v"), LINEAR)
    one = sample("dpm:labels=type-2:final=denoise", epsilon, LINEAR, x_T(2).float(), times=[1000, 500, 1])
    assert asked == pytest.approx([999, 0.999 * 500, 0.999])
    # the label alone is another: of a network that ignores it the samples are the same
    assert torch.equal(one.x0, sample("dpm:final=denoise", epsilon, LINEAR, x_T(2).float(), times=[1000, 500, 1]).x0)
    with pytest.raises(UserError, match="this ε function takes none"):
        sample("dpm:labels=type-2", lambda x, t: x, LINEAR, x_T(2), times=[1000, 500, 1])
