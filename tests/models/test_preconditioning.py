"""A network's convention: whatever it predicts, is given and is told, the trajectory is the same."""

from math import inf, nan

import numpy as np
import pytest
import torch

from samplerbench import (
    EDMSchedule,
    FlowSchedule,
    Label,
    NoiseSchedule,
    Preconditioning,
    SubVPSchedule,
    UserError,
    VESchedule,
    VPSchedule,
    linear_schedule,
    sample,
)
from samplerbench.check.mixture import GaussianMixture
from samplerbench.models.preconditioning import INPUTS, PREDICTIONS
from samplerbench.models.predictor import ModelEpsilon, NoisePredictor

PATHS = {
    "linear": linear_schedule(),
    "vp": VPSchedule(),
    "sub-vp": SubVPSchedule(),
    "edm": EDMSchedule(),
    "ve": VESchedule(),
    "flow": FlowSchedule(shift=2.0),
    "flow to .999": FlowSchedule(shift=2.0, t_max=0.999),
}


class Exact(torch.nn.Module):
    """The exact ε of a mixture behind a network's convention, written as the convention's source has it: in the path's
    own x and its own α and σ.
    """

    def __init__(self, path: NoiseSchedule, preconditioning: Preconditioning) -> None:
        super().__init__()
        self.path, self.convention, self.truth = path, preconditioning, GaussianMixture(path)

    def forward(self, given: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        t = self.asked
        scale, alpha, sigma = (
            torch.as_tensor(f(t)).view(-1, 1) for f in (self.path.scale, self.path.alpha, self.path.sigma)
        )
        alpha, sigma = scale * alpha, scale * sigma
        s, d = sigma / alpha, self.convention.sigma_data
        native = {"native": 1.0, "unit": scale, "edm": alpha * (s**2 + d**2) ** 0.5}[self.convention.input] * given
        eps = self.truth.exact(native / scale, t)
        x0 = (native - sigma * eps) / alpha if alpha.min() > 0 else self.truth.x0(native / scale, t)
        exploding = native / alpha  # x_0 + s ε
        return {
            "epsilon": eps,
            "x0": x0,
            "v": (alpha * eps - sigma * x0) / scale,
            "score": -eps / sigma,
            "velocity": eps - x0,
            "velocity-to-data": x0 - eps,
            "edm": (x0 - d**2 / (s**2 + d**2) * exploding) / (s * d / (s**2 + d**2) ** 0.5),
        }[self.convention.prediction]


@pytest.mark.parametrize("spec", ["dpm:order=3", "dpm:mode=adaptive"])
@pytest.mark.parametrize("name", PATHS)
def test_every_parameterisation_gives_the_same_trajectory(name, spec):
    path, x = PATHS[name], torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    options = {"nfe": 40 if "adaptive" in spec else 12, "seed": 2}
    wanted = sample(spec, GaussianMixture(path), path, x, **options)
    checked = 0
    for prediction in PREDICTIONS:
        for given in INPUTS:
            convention = Preconditioning(prediction, given, Label("time", 1.0), sigma_data=0.7)
            if convention.problem(path) or (given == "edm" and path.reaches_pure_noise):
                assert prediction.startswith("velocity") or path.reaches_pure_noise
                continue
            network = Exact(path, convention)
            got = sample(spec, Asked(network, path), path, x, **options)
            assert float((got.x0 - wanted.x0).abs().max()) < 1e-10, (prediction, given)
            assert got.nfe == wanted.nfe
            checked += 1
    assert checked >= (8 if path.reaches_pure_noise else 15)


class Asked(ModelEpsilon):
    """A model's ε whose network is told the exact time it is asked at, beside its label of float32."""

    def __init__(self, network: Exact, path: NoiseSchedule) -> None:
        super().__init__(NoisePredictor(network, network.convention), path, "float64")
        self.network = network

    def level(self, x, t):
        self.network.asked = t
        return super().level(x, t)


@pytest.mark.parametrize(
    ("path", "label", "t", "told"),
    [
        ("linear", Label("index"), 700.0, 699.0),
        ("linear", Label("index", between="round"), 699.6, 699.0),
        ("linear", Label("index", factor=0.25), 401.0, 100.0),
        ("vp", Label("time", factor=999.0), 0.5, 499.5),
        ("edm", Label("log-sigma", factor=0.25), 2.0, np.log(2) / 4),
        ("edm", Label("log-sigma", offset=-np.log(2)), 3.0, np.log(1.5)),
        ("ve", Label("sigma"), 0.5, 0.01 * 5000**0.5),
        ("flow", Label("flow-time", factor=1000.0), 0.5, 1000 * 2 / 3),
    ],
)
def test_labels(path, label, t, told):
    assert float(label(PATHS[path], t)) == pytest.approx(told)


@pytest.mark.parametrize(
    ("path", "convention", "message"),
    [
        (linear_schedule(zero_terminal_snr=True), Preconditioning("epsilon"), "zero terminal SNR goes with v, x0"),
        (FlowSchedule(), Preconditioning("score", label=Label("time")), "'score' says nothing of x_0 at the start"),
        (VPSchedule(), Preconditioning("velocity", label=Label("time")), "belongs to a flow"),
        (EDMSchedule(), Preconditioning("edm"), "label 'index' belongs to a discrete schedule"),
    ],
)
def test_conventions_that_cannot_be_on_a_path(path, convention, message):
    assert message in convention.problem(path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"prediction": "velocty"}, "did you mean 'velocity'"),
        ({"prediction": None}, "unknown prediction"),
        ({"input": "nativ"}, "did you mean 'native'"),
        *(
            ({"sigma_data": value}, "sigma_data is a finite number above 0")
            for value in (0, True, "1", inf, nan, 10**400)
        ),
        ({"label": "t"}, "label is a JSON object"),
        ({"label": {"kind": "indx"}}, "did you mean 'index'"),
        ({"label": {"factor": 0}}, "factor of a label is not 0"),
        ({"label": {"between": "up"}}, "unknown between"),
        ({"label": {"offset": "1"}}, "offset of a label is a finite number"),
        ({"lable": {}}, "did you mean 'label'"),
    ],
)
def test_conventions_that_cannot_be(config, message):
    with pytest.raises(UserError, match=message):
        Preconditioning.from_config(config)


def test_a_convention_is_its_config():
    convention = Preconditioning("edm", "edm", Label("log-sigma", 0.25), sigma_data=0.7)
    assert Preconditioning.from_config(convention.config()) == convention


def test_rounded_labels_are_whole_in_the_networks_own_unit():
    """On a discrete path the index is, before its factor; on another the label itself."""
    flow, linear = FlowSchedule(), linear_schedule(4000)
    label = Label("flow-time", factor=1000, between="round")
    assert label(flow, [0.0014, 0.25, 0.5004]).tolist() == [1, 250, 500]
    rescaled = Label("index", factor=0.25, between="round")
    assert rescaled(linear, [1, 2.4, 4000]).tolist() == [0, 0.25, 999.75]
    for bad, why in (
        (Label("log-sigma", factor=0.25, between="round"), "is no count, so nothing is to be rounded"),
        (Label("flow-time", between="round"), "this label needs a factor, such as 1000"),
    ):
        assert why in Preconditioning("velocity", label=bad).problem(flow)
    assert not Preconditioning("velocity", label=label).problem(flow)
