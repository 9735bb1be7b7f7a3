"""Guidance on data whose classes are Gaussians: ε of a class, and of no class, is exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from samplerbench import UserError, linear_schedule
from samplerbench.check.mixture import GaussianMixture
from samplerbench.diffusion.denoiser import BadNoise, Meter, x0_of
from samplerbench.diffusion.guidance import Autoguidance, ClassifierFree, Guided
from samplerbench.diffusion.noise import NoiseSource
from samplerbench.drawing import draw
from samplerbench.options import make, parse_spec
from samplerbench.plugins import load_plugins
from samplerbench.sampling import plan_grid

PATH = linear_schedule()
MEANS, DEVIATIONS, WEIGHTS = (-1.0, 0.2, 1.1), (0.2, 0.3, 0.25), (0.3, 0.5, 0.2)
ALL = GaussianMixture(PATH, MEANS, DEVIATIONS, WEIGHTS)
OF_CLASS = [GaussianMixture(PATH, MEANS[k : k + 1], DEVIATIONS[k : k + 1], (1.0,)) for k in range(3)]


class Classes:
    """The exact ε of each sample's own class; `rows` counts."""

    def __init__(self, labels, counter):
        self.labels, self.counter = torch.as_tensor(labels), counter

    def __call__(self, x, t):
        assert len(x) == len(self.labels)
        self.counter[0] += len(x)
        times = t if isinstance(t, torch.Tensor) else [t] * len(x)
        each = zip(x, times, self.labels.tolist(), strict=True)
        return torch.cat([OF_CLASS[k].exact(one[None], float(time)) for one, time, k in each])

    def x0(self, x, t):
        return x0_of(x, self(x, t), PATH, t)

    def of_rows(self, rows):
        return Classes(self.labels[rows], self.counter)


class NoClass:
    """The exact ε of the whole mixture."""

    def __init__(self, counter):
        self.counter = counter

    def __call__(self, x, t):
        self.counter[0] += len(x)
        return ALL.exact(x, t)

    def x0(self, x, t):
        return x0_of(x, self(x, t), PATH, t)

    def of_rows(self, rows):
        return self


LABELS = [0, 1, 2, 1, 0]


def guided(guider, labels=LABELS, counter=None):
    counter = [0] if counter is None else counter
    return Guided(guider, PATH, Classes(labels, counter), NoClass(counter))


@pytest.fixture
def x():
    return torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("t", [1.0, 300.5, 1000.0])
def test_classifier_free_guidance_is_that_of_the_formula(x, scale, t):
    asked, nothing = Classes(LABELS, [0])(x, t), ALL.exact(x, t)
    epsilon = guided(ClassifierFree(scale=scale))
    torch.testing.assert_close(epsilon(x, t), nothing + scale * (asked - nothing))
    expected = x0_of(x, nothing + scale * (asked - nothing), PATH, t)
    torch.testing.assert_close(epsilon.x0(x, t), expected)


def test_a_scale_of_one_is_no_guidance():
    assert ClassifierFree(scale=1).idle
    assert ClassifierFree(scale=1, rescale=0.7).idle  # there is nothing to be taken back
    assert not ClassifierFree(scale=0).idle


def test_rescaling_gives_back_the_deviation(x):
    """Lin et al. 2024, eq. 15 and 16, over each sample."""
    asked, plain = Classes(LABELS, [0])(x, 400.0), guided(ClassifierFree(scale=4))(x, 400.0)
    whole = guided(ClassifierFree(scale=4, rescale=1))(x, 400.0)
    torch.testing.assert_close(whole.flatten(1).std(dim=1), asked.flatten(1).std(dim=1))
    part = guided(ClassifierFree(scale=4, rescale=0.7))(x, 400.0)
    torch.testing.assert_close(part, 0.7 * whole + 0.3 * plain)


def ratio(t):
    return float(np.exp(-PATH.half_log_snr(t)))


def test_outside_its_interval_only_what_is_asked_for_is_evaluated(x):
    counter = [0]
    epsilon = guided(ClassifierFree(scale=3, low=ratio(200), high=ratio(600)), counter=counter)
    for t, each in ((100.0, 1), (200.0, 2), (600.0, 2), (601.0, 1)):
        counter[0] = 0
        found, other = epsilon(x, t), guided(ClassifierFree(scale=3 if each == 2 else 1))(x, t)
        torch.testing.assert_close(found, other)
        assert epsilon.passes(t) == each
        assert counter[0] == each * len(x)


def test_times_of_their_own_are_in_the_interval_or_not(x):
    counter = [0]
    epsilon = guided(ClassifierFree(scale=3, high=ratio(500)), counter=counter)
    times = torch.tensor([900.0, 400.0, 500.0, 501.0, 10.0], dtype=torch.float64)
    found = epsilon(x, times)
    assert counter[0] == 5 + 3
    assert epsilon.passes(times).tolist() == [1, 2, 2, 1, 2]
    for i, t in enumerate(times.tolist()):
        alone = guided(ClassifierFree(scale=3, high=ratio(500)), LABELS[i : i + 1])
        torch.testing.assert_close(found[i : i + 1], alone(x[i : i + 1], t))


def test_autoguidance_leans_away_from_the_other_model(x):
    worse = GaussianMixture(PATH, (0.0,), (1.0,), (1.0,))
    epsilon = Guided(Autoguidance(scale=2.5), PATH, ALL, worse)
    expected = worse.exact(x, 300.0) + 2.5 * (ALL.exact(x, 300.0) - worse.exact(x, 300.0))
    torch.testing.assert_close(epsilon(x, 300.0), expected)
    assert epsilon.passes(300.0) == 2


SPECS = ["ddim", "ddim:eta=1", "dpm:order=2", "heun", "pndm", "dpm-solver:mode=adaptive:final=none", "unipc", "ddpm"]


@pytest.mark.parametrize("spec", SPECS)
def test_every_kind_of_sampler_keeps_samples_and_what_they_are_asked_for_together(spec):
    """A sample in a batch is what it is alone; evaluations and passes are counted, and are what was run."""
    sampler = load_plugins().sampler(spec)
    grid = plan_grid(sampler, PATH, nfe=24)
    counter = [0]
    noise = NoiseSource(0, range(5), (2, 3), dtype=torch.float64)
    guider = ClassifierFree(scale=2, high=ratio(700))
    drawing = draw(sampler, guided(guider, counter=counter), grid, noise.x_T(), noise, 24, lambda: counter[0])
    assert counter[0] == drawing.passes.sum()
    assert (drawing.passes > drawing.evaluations).all()
    assert (drawing.passes < 2 * drawing.evaluations).all()
    for i, label in enumerate(LABELS):
        noise = NoiseSource(0, range(i, i + 1), (2, 3), dtype=torch.float64)
        alone = draw(sampler, guided(guider, [label]), grid, noise.x_T(), noise, 24)
        torch.testing.assert_close(drawing.x0[i : i + 1], alone.x0, rtol=1e-9, atol=1e-9)
        assert alone.evaluations[0] == drawing.evaluations[i]
        assert alone.passes[0] == drawing.passes[i]


def test_micro_batches_have_their_own_rows(x):
    whole, parts = (Meter(guided(ClassifierFree(scale=2)), 5, micro_batch=size) for size in (None, 2))
    for t in (300.0, torch.tensor([100.0, 200.0, 300.0, 400.0, 500.0], dtype=torch.float64)):
        torch.testing.assert_close(whole.denoiser()(x, t), parts.denoiser()(x, t))
        torch.testing.assert_close(whole.denoiser().x0(x, t), parts.denoiser().x0(x, t))
    rows = [4, 1, 2]
    torch.testing.assert_close(whole.denoiser()(x[rows], 300.0, rows), whole.denoiser()(x, 300.0)[rows])
    assert parts.passes.tolist() == [8.0] * 5
    assert whole.passes.tolist() == [10.0, 12.0, 12.0, 10.0, 12.0]


def test_who_asks_about_some_samples_says_which(x):
    with pytest.raises(UserError, match=r"asks about 2 rows of 5 samples, .* does not say whose they are"):
        Meter(guided(ClassifierFree(scale=2)), 5).denoiser()(x[:2], 300.0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("-1", "cfg: scale is a number from 0 up, 1 for no guidance, got -1"),
        ("nan", "cfg: scale is a number from 0 up, 1 for no guidance, got nan"),
        ("inf", "got inf"),
        ("cfg:scale=2:low=3:high=1", "cfg: low is at least 0 and below high, got 3 and 1"),
        ("cfg:scale=2:rescale=1.5", "rescale is from 0 to 1, got 1.5"),
        ("cgf:scale=2", "unknown guider 'cgf'; did you mean 'cfg'"),
        ("cfg:scales=2", "unknown option of cfg 'scales'; did you mean 'scale'"),
        ("strong", "unknown guider 'strong'"),
    ],
)
def test_bad_guidance_is_one_line(spec, message):
    with pytest.raises(UserError, match=message):
        load_plugins().guider(spec)


def test_an_interval_without_a_noise_level_of_the_path():
    with pytest.raises(UserError, match=r"guidance cfg:low=1000:scale=2: no σ/α of this path, 0\.01 to 157"):
        ClassifierFree(scale=2, low=1000).check(PATH)


def test_a_spec_is_read_back():
    registry = load_plugins()
    for spec in ("2", "0.1", "cfg:low=0.2:scale=2", "cfg:scale=4:rescale=0.7", "auto:scale=2:model=x"):
        assert registry.guider(spec).spec() == spec
    assert registry.guider("cfg:scale=2").spec() == "2"


@dataclass(frozen=True, kw_only=True)
class Mean(ClassifierFree):
    name = "mean"
    most: float | None = 1.0

    def combine(self, asked, other):
        return (asked + other).mean(dim=0, keepdim=True)


def test_what_is_combined_is_of_every_sample(x):
    """One for all would be spread over the samples, without a word."""
    with pytest.raises(BadNoise, match=r"guidance mean combines \[5, 2, 3\] to \[1, 2, 3\]"):
        guided(Mean(scale=2))(x, 500.0)


def test_an_option_that_is_none_is_read_back():
    assert Mean(scale=2, most=None).spec() == "mean:scale=2:most=none"
    assert make(Mean, parse_spec("mean:scale=2:most=none")[1]) == Mean(scale=2, most=None)
