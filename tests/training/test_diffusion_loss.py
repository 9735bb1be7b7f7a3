"""The loss of Algorithm 1: which times are drawn, and what the error is weighed by."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
import torch

from samplerbench import UserError, linear_schedule
from samplerbench.diffusion.vp import DiscreteSchedule
from samplerbench.models.predictor import NoisePredictor
from samplerbench.training.diffusion import DiffusionLoss, Pixels
from samplerbench.training.loop import Trainer
from samplerbench.training.recipe import DataConfig, OptimiserConfig, Recipe


def recipe(**changes):
    base = {"name": "tiny", "kind": "diffusion", "data": DataConfig("npz"), "prediction": "v"}
    return Recipe(**base | {"optimiser": OptimiserConfig(steps=1)} | changes)


def test_a_span_bounds_the_times_drawn():
    schedule, seen = linear_schedule(), []

    class Record(torch.nn.Module):
        def forward(self, x, label):
            seen.append(label)
            return torch.zeros_like(x)

    data = torch.full((10, 1, 4, 4), 128, dtype=torch.uint8)
    plan = recipe(times="lognormal", optimiser=OptimiserConfig(steps=1, batch_size=500))
    for span in ((0, 200), (200, 1000)):
        DiffusionLoss(NoisePredictor(Record()), schedule, Pixels(data), plan, torch.device("cpu"), span, seed=5)(0)
        assert span[0] <= seen[-1].min() < span[0] + 20
        assert span[1] - 20 < seen[-1].max() + 1 <= span[1]


def test_algorithm_1_draws_what_the_paper_says():
    """x_t = α x_0 + σ ε with ε standard normal and t uniform over 1..T; a network that outputs ε has loss 0."""
    schedule, device = linear_schedule(), torch.device("cpu")
    data = torch.full((10, 1, 4, 4), 255, dtype=torch.uint8)
    labels, inputs = [], []

    class Record(torch.nn.Module):
        def forward(self, x, label):
            labels.append(label)
            inputs.append(x)
            alpha = torch.from_numpy(schedule.alpha(label.numpy() + 1)).float()
            sigma = torch.from_numpy(schedule.sigma(label.numpy() + 1)).float()
            return (x - alpha.view(-1, 1, 1, 1)) / sigma.view(-1, 1, 1, 1)

    plan = recipe(prediction="epsilon", optimiser=OptimiserConfig(steps=1, batch_size=500))
    loss = DiffusionLoss(NoisePredictor(Record(), "epsilon"), schedule, Pixels(data), plan, device)
    values = [float(loss(step)) for step in range(20)]
    assert max(values) < 1e-3  # float32 rounding at σ = 0.01
    label = torch.cat(labels)
    assert label.min() == 0
    assert label.max() == 999
    assert abs(label.mean() - 499.5) < 4 * 289 / len(label) ** 0.5
    eps = Record().forward(torch.cat(inputs), label)
    assert abs(eps.mean()) < 0.02
    assert abs(eps.std() - 1) < 0.02
    assert float(loss(3)) == values[3]


def test_v_weighting_divides_by_alpha_squared():
    schedule, device = linear_schedule(), torch.device("cpu")
    data = torch.full((10, 1, 4, 4), 128, dtype=torch.uint8)

    class Zero(torch.nn.Module):
        def forward(self, x, label):
            return torch.zeros_like(x)

    def value(weighting):
        plan = recipe(weighting=weighting, optimiser=OptimiserConfig(steps=1, batch_size=2000))
        return float(DiffusionLoss(NoisePredictor(Zero(), "v"), schedule, Pixels(data), plan, device)(0))

    # ε - σ x_t = α (α ε - σ x_0): the error of v = 0 is E[v²] = E[α²] (the images are grey, x_0 = 0)
    times = np.arange(1, 1001)
    alpha = schedule.alpha(times)
    assert value("v") == pytest.approx(np.mean(alpha**2), rel=0.05)
    assert value("epsilon") == pytest.approx(np.mean(alpha**4), rel=0.05)


class TestZeroTerminalSNR:
    """A path that ends at α = 0, where log(σ/α) = ∞."""

    def drawn(self, schedule, **changes):
        seen = []

        class Zero(torch.nn.Module):
            def forward(self, x, label):
                seen.append(label)
                return torch.zeros_like(x)

        data = torch.full((10, 1, 4, 4), 255, dtype=torch.uint8)
        plan = recipe(optimiser=OptimiserConfig(steps=1, batch_size=4000), **changes)
        return float(
            DiffusionLoss(NoisePredictor(Zero(), "v"), schedule, Pixels(data), plan, torch.device("cpu"))(0)
        ), seen[0]

    def test_lognormal_times(self):
        """A quarter is uniform; of the rest the share below a time is the normal distribution's."""
        schedule = linear_schedule(zero_terminal_snr=True)
        value, label = self.drawn(schedule, times="lognormal")
        assert np.isfinite(value)
        for t in (100, 300, 600, 900):
            normal = NormalDist(-0.9, 1.3)
            first, below = (normal.cdf(-float(schedule.half_log_snr(x + 0.5))) for x in (0.5, t))
            share = 0.75 * (below - first) / (1 - first) + 0.25 * t / 1000
            assert float((label < t).float().mean()) == pytest.approx(share, abs=2e-3)
        assert float((label == 999).float().mean()) < 2 / 1000

    @pytest.mark.parametrize("steps", [2, 3])
    def test_lognormal_times_of_short_chains(self, steps):
        _, label = self.drawn(linear_schedule(steps, zero_terminal_snr=True), times="lognormal")
        assert sorted(label.unique().tolist()) == list(range(steps))

    def test_v_weighting_is_the_error_of_v(self):
        """Of a network that says v = 0 it is v² = (α ε - σ x_0)², also at α = 0: α² + σ² where x_0 is 1."""
        value, label = self.drawn(linear_schedule(zero_terminal_snr=True), weighting="v")
        assert label.max() == 999
        assert value == pytest.approx(1, rel=0.01)

    @pytest.mark.parametrize("prediction", ["v", "x0"])
    def test_the_gradient_at_the_end_is_finite(self, prediction):
        weight = torch.nn.Parameter(torch.zeros(()))

        class Constant(torch.nn.Module):
            def forward(self, x, label):
                return weight.expand_as(x)

        data = torch.full((10, 1, 4, 4), 255, dtype=torch.uint8)
        plan = recipe(weighting="v", optimiser=OptimiserConfig(steps=1, batch_size=8))
        schedule, predictor = linear_schedule(zero_terminal_snr=True), NoisePredictor(Constant(), prediction)
        DiffusionLoss(predictor, schedule, Pixels(data), plan, torch.device("cpu"), span=(999, 1000))(0).backward()
        # v = -x_0 at α = 0, and x_0 = 1: the loss is (w + 1)² or (w - 1)²
        assert float(weight.grad) == pytest.approx(2 if prediction == "v" else -2)

    @pytest.mark.parametrize(("prediction", "weighting"), [("epsilon", "v"), ("edm", "epsilon")])
    def test_no_finite_loss(self, prediction, weighting):
        schedule = DiscreteSchedule([1e-4] * 9 + [1 - 1e-16] * 4)
        data, plan = torch.zeros(1, 1, 4, 4, dtype=torch.uint8), recipe(weighting=weighting)
        with pytest.raises(
            UserError, match=f"prediction '{prediction}' with .* gives no finite loss at time 1[0-3], where"
        ):
            DiffusionLoss(
                NoisePredictor(torch.nn.Identity(), prediction), schedule, Pixels(data), plan, torch.device("cpu")
            )


def test_a_loss_that_is_nan_at_once_is_not_the_learning_rates(tmp_path):
    network = torch.nn.Linear(1, 1)
    trainer = Trainer(network, lambda step: network.weight.sum() * float("nan"), OptimiserConfig(steps=1), tmp_path, {})
    with pytest.raises(UserError, match="nan at the first step, before any weight moved"):
        trainer.run()
