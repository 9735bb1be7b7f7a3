"""The variational bound where everything is Gaussian and known."""

import math

import numpy as np
import pytest
import torch

from samplerbench import NoiseSource, UserError, linear_schedule
from samplerbench.diffusion.denoiser import Denoiser, Meter
from samplerbench.diffusion.grid import TimeGrid
from samplerbench.metrics.bound import _log_grey_level, bound_terms, joint_terms
from samplerbench.models.elbo import elbo
from samplerbench.models.networks.vae import VAE, VAEConfig
from samplerbench.models.vae import load_vae, save_vae
from samplerbench.plugins import load_plugins

SPREAD = 0.3
SHAPE = (1, 8, 8)


def epsilon_of(schedule):
    """The exact ε of data N(0, SPREAD²)."""

    def epsilon(x, t):
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        return sigma / (alpha**2 * SPREAD**2 + sigma**2) * x

    return epsilon


def expected_steps(grid, variance):
    """E over x_0 and x_t of Σ L_{t-1}, bits a dimension: the posterior's mean misses x_0 by its known variance."""
    total = 0.0
    for i in range(grid.steps - 1):
        a, s, b, r = grid.alpha[i], grid.sigma[i], grid.alpha[i + 1], grid.sigma[i + 1]
        beta = 1 - (a / b) ** 2
        width = beta * r**2 / s**2
        error = SPREAD**2 * s**2 / (a**2 * SPREAD**2 + s**2)  # Var(x_0 | x_t)
        chosen = beta if variance == "fixed-large" else width
        gap = (b * beta / s**2) ** 2 * error / chosen
        total += 0.5 * (gap + width / chosen - 1 - math.log(width / chosen)) / math.log(2)
    return total


@pytest.mark.parametrize("variance", ["fixed-small", "fixed-large"])
def test_the_terms_of_gaussian_data_are_the_known_ones(variance):
    schedule = linear_schedule()
    sampler = load_plugins().sampler(f"ddpm:clip=none:variance={variance}")
    grid = TimeGrid.make(schedule, 50)
    x0 = SPREAD * NoiseSource(7, range(400), SHAPE).x_T()
    terms = bound_terms(sampler, epsilon_of(schedule), grid, x0, NoiseSource(0, range(400), SHAPE))
    error = float(terms.steps.std()) / 400**0.5
    assert abs(float(terms.steps.mean()) - expected_steps(grid, variance)) < 4 * error
    a, s = grid.alpha[0], grid.sigma[0]
    prior = 0.5 * (a**2 * SPREAD**2 + s**2 - 1 - 2 * math.log(s)) / math.log(2)
    assert abs(float(terms.prior.mean()) - prior) < 4 * float(terms.prior.std()) / 400**0.5


class OwnEnd:
    """ddpm with β as the variance of the last step, too."""

    def __init__(self):
        self.ddpm = load_plugins().sampler("ddpm:clip=none:variance=fixed-large")

    def transition(self, eps, grid, i, x):
        mean, variance = self.ddpm.transition(eps, grid, i, x)
        return mean, 1 - grid.alpha[i] ** 2 if i + 1 == grid.steps else variance


def test_many_steps_bound_the_likelihood_closely():
    """With T steps, the exact ε and β as variance, of the last step too, hardly anything is lost."""
    schedule = linear_schedule()
    levels = ((SPREAD * NoiseSource(7, range(200), SHAPE).x_T() + 1) * 127.5).round().clamp(0, 255)
    x0 = levels / 127.5 - 1
    grid = TimeGrid.make(schedule, 1000)
    terms = bound_terms(OwnEnd(), epsilon_of(schedule), grid, x0, NoiseSource(0, range(200), SHAPE))
    density = torch.distributions.Normal(0.0, SPREAD).log_prob(x0.double()) + math.log(2 / 255)
    nll = -density.flatten(1).mean(dim=1) / math.log(2)
    gap = (terms.total - nll).numpy()
    error = np.std(gap) / 200**0.5
    assert error < 0.02
    assert abs(gap.mean()) < 4 * error


def test_the_joint_bound_is_the_vaes_own_where_latents_are_normal(tmp_path):
    """With ε exact for the prior that the VAE was trained by, and many steps, hardly anything is lost against the ELBO
    with the KL of two Gaussians. The latents that the chain sees are shifted and scaled.
    """
    torch.manual_seed(0)
    network = VAE(VAEConfig((1, 8, 8), latent_channels=2, patch=2, channels=(8,), blocks=(1, 1)))
    shift, scale = torch.tensor([0.5, -0.3]), torch.tensor([0.8, 1.5])
    save_vae(tmp_path, network, shift, scale)
    coder, schedule = load_vae(tmp_path), linear_schedule()
    mean, variance = (-shift / scale).view(-1, 1, 1), (1 / scale**2).view(-1, 1, 1)

    def epsilon(x, t):
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        return sigma * (x - alpha * mean) / (alpha**2 * variance + sigma**2)

    images = torch.randint(0, 256, (400, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    noise = NoiseSource(0, range(400), coder.latent_shape)
    grid = TimeGrid.make(schedule, 1000)
    terms = joint_terms(OwnEnd(), epsilon, grid, coder, images, noise.x_T(), noise)
    expected = elbo(coder.network, images, noise.x_T())
    nats = torch.stack(terms).sum(dim=0) * 64 * math.log(2)
    assert torch.allclose(nats, terms.total * 64 * math.log(2))
    assert torch.allclose(terms.reconstruction * 64 * math.log(2), expected.reconstruction.double(), rtol=1e-4)
    gap = (nats - expected.reconstruction - expected.kl).numpy()
    error = np.std(gap) / 400**0.5
    assert error < 0.5  # of 820 nats
    assert abs(gap.mean()) < 4 * error


@pytest.mark.parametrize("steps", [1000, 50])
def test_the_decoder_has_the_authors_variance(steps):
    """Ho et al. and Nichol & Dhariwal: the posterior's of the (respaced) chain's second step; Bao et al.: of the whole
    chain's.
    """
    schedule = linear_schedule()
    grid = TimeGrid.make(schedule, steps)
    denoiser = Denoiser(Meter(WithMeanSquare(epsilon_of(schedule), 0.0), 2, schedule=schedule))
    x = torch.zeros(2, *SHAPE)
    kept = np.concatenate([[1.0], np.cumprod(1 - schedule.betas)])[np.round(grid.times[::-1]).astype(int)]
    respaced = (1 - kept[2] / kept[1]) * (1 - kept[1]) / (1 - kept[2])
    bars = np.cumprod(1 - schedule.betas)
    whole = schedule.betas[1] * (1 - bars[0]) / (1 - bars[1])
    wanted = {"ddpm": respaced, "ddpm:variance=fixed-large": respaced, "analytic-ddpm": whole}
    for spec, variance in wanted.items():
        _, found = load_plugins().sampler(spec).transition(denoiser, grid, steps - 1, x)
        assert found == pytest.approx(variance, rel=1e-9)
    assert (steps == 1000) == (whole == pytest.approx(respaced))


class WithMeanSquare:
    """ε with the mean square that analytic-ddpm asks for."""

    def __init__(self, exact, mean_square):
        self.exact, self.value = exact, mean_square

    def __call__(self, x, t):
        return self.exact(x, t)

    def mean_square(self, t):
        return self.value


def test_a_learned_range_that_stays_at_one_end_is_that_variance():
    schedule, x0 = linear_schedule(), SPREAD * NoiseSource(7, range(20), SHAPE).x_T()
    exact, grid = epsilon_of(schedule), TimeGrid.make(schedule, 20)

    class Ranged:
        def __init__(self, place):
            self.place = place

        def with_range(self, x, t):
            return exact(x, t), torch.full_like(x, self.place)

    registry = load_plugins()

    def steps(variance, epsilon):
        sampler = registry.sampler(f"ddpm:clip=none:variance={variance}")
        return bound_terms(sampler, epsilon, grid, x0, NoiseSource(0, range(20), SHAPE)).steps

    for place, variance in ((-1.0, "fixed-small"), (1.0, "fixed-large")):
        assert torch.allclose(steps("learned-range", Ranged(place)), steps(variance, exact), rtol=1e-5)
    with pytest.raises(UserError, match="gives no range of variances"):
        steps("learned-range", exact)


def test_grey_levels_add_up_to_one():
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    for mean, deviation in ((0.3, 0.01), (-0.99, 0.05), (1.0, 0.5), (-1.4, 0.1)):
        total = _log_grey_level(levels, torch.full_like(levels, mean), torch.tensor(deviation)).exp().sum()
        assert float(total) == pytest.approx(1, abs=1e-9)
