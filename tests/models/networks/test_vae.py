"""A VAE's likelihood and its bound, against computations that share nothing with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from samplerbench.models.elbo import bits_per_dim, elbo, kl_to_standard_normal
from samplerbench.models.networks.vae import VAE, Down, Up, VAEConfig, log_probability


def config(**changes):
    return VAEConfig(
        **{"image_shape": (1, 8, 8), "latent_channels": 2, "channels": (8, 16), "blocks": (1, 1)} | changes
    )


def test_shapes():
    network = VAE(config(image_shape=(3, 8, 12), latent_channels=5))
    assert network.config.latent_shape == (5, 2, 3)
    mean, log_variance = network.encode(torch.zeros(2, 3, 8, 12))
    assert mean.shape == log_variance.shape == (2, 5, 2, 3)
    assert [part.shape for part in network.decode(mean)] == [(2, 3, 8, 12), (3, 1, 1)]


def test_a_change_of_resolution_begins_near_one_without_weights():
    """Up after Down gives the means over what was put together: 8 channels of 4 pixels into 16."""
    down, up = Down(8, 16), Up(16, 8)
    for layer in (down.conv, up.conv):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    x = torch.randn(2, 8, 4, 6)
    back = up(down(x))
    rows = x.view(2, 8, 4, 3, 2).mean(dim=4, keepdim=True).expand(-1, -1, -1, -1, 2).reshape(x.shape)
    assert torch.allclose(back, rows, atol=1e-6)


class TestLikelihood:
    levels = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)

    @pytest.mark.parametrize("log_scale", [-7.0, -5.0, -2.0, 0.0, 2.0])
    @pytest.mark.parametrize("mean", [-1.3, -1.0, -0.2, 0.777, 1.0, 2.0])
    def test_the_levels_sum_to_one(self, mean, log_scale):
        log = log_probability(self.levels, torch.tensor(mean).double(), torch.tensor(log_scale).double())
        assert float(log.exp().sum()) == pytest.approx(1, abs=1e-12)

    def test_it_is_the_logistic_distribution_between_the_cuts(self):
        mean, scale = 0.1, 0.3
        cuts = (np.arange(255) + 0.5) * 2 / 255 - 1
        cumulative = np.concatenate([[0], 1 / (1 + np.exp(-(cuts - mean) / scale)), [1]])
        log = log_probability(
            self.levels, torch.tensor(mean, dtype=torch.float64), torch.tensor(scale, dtype=torch.float64).log()
        )
        assert log.flatten().exp().numpy() == pytest.approx(np.diff(cumulative), rel=1e-10)

    def test_it_is_finite_far_from_its_mean(self):
        mean = torch.tensor(-1.0).requires_grad_()
        log = log_probability(self.levels, mean, torch.tensor(-7.0))
        log.sum().backward()
        assert log.isfinite().all()
        assert mean.grad.isfinite()
        # (2 - 1/255) / e^-7 below the cut: the logistic's tail is exp(-that)
        assert float(log.detach()[255]) == pytest.approx(-(2 - 1 / 255) * math.exp(7), rel=1e-5)


def test_kl_is_that_of_torchs_distributions():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(3, 2, 4, 4).double(), 3 * torch.randn(3, 2, 4, 4).double()
    q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(dim=(1, 2, 3))
    assert torch.allclose(kl_to_standard_normal(mean, log_variance), expected, rtol=1e-12)


class LinearGaussian:
    """x = W z + b + N(0, s²), z ~ N(0, 1): p(x) = N(b, W Wᵀ + s²) is known, and so is p(z|x) = N(m, V). For W of
    orthogonal columns V is diagonal, so q can be it.
    """

    def __init__(self, wrong=0.0):
        rng = np.random.default_rng(0)
        basis = np.linalg.qr(rng.normal(size=(16, 3)))[0]
        self.weight, self.bias, self.s = basis * [0.5, 0.3, 0.2], rng.normal(size=16) * 0.1, 0.15
        self.variance = 1 / (1 + np.square(self.weight).sum(axis=0) / self.s**2)
        self.wrong = wrong

    def encode(self, x):
        mean = (x.flatten(1).numpy() - self.bias) @ self.weight / self.s**2 * self.variance + self.wrong
        return (torch.from_numpy(part).view(len(x), 3, 1, 1) for part in (mean, np.log(self.variance) + 0 * mean))

    def decode(self, z):
        mean = torch.from_numpy(z.flatten(1).numpy() @ self.weight.T + self.bias)
        return mean, torch.full_like(mean, math.log(self.s))

    def log_likelihood(self, images, decoded):
        x, (mean, log_s) = images.double().flatten(1) / 127.5 - 1, decoded
        return (-0.5 * ((x - mean) / log_s.exp()).square() - log_s - 0.5 * math.log(2 * math.pi)).sum(dim=1)

    def evidence(self, images):
        x = images.double().flatten(1) / 127.5 - 1
        covariance = torch.from_numpy(self.weight @ self.weight.T + self.s**2 * np.eye(16))
        return torch.distributions.MultivariateNormal(torch.from_numpy(self.bias), covariance).log_prob(x)


@pytest.mark.parametrize("wrong", [0.0, 0.4])
def test_the_bound_of_a_linear_gaussian_case_is_its_evidence(wrong):
    """With q = p(z|x) the bound is log p(x); with means that are wrong it is less by KL(q ‖ p(z|x)).

    -log p(x|z) is quadratic in the noise, so its mean over the six points ±√3 e_i is its expectation.
    """
    coder = LinearGaussian(wrong)
    image = torch.randint(90, 170, (1, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    noise = math.sqrt(3) * torch.cat([torch.eye(3), -torch.eye(3)]).double().view(6, 3, 1, 1)
    reconstruction, kl = elbo(coder, image.expand(6, -1, -1, -1), noise)
    bound = -reconstruction.mean() - kl[0]
    short = 0.5 * wrong**2 * (1 / coder.variance).sum()
    assert float(bound) == pytest.approx(float(coder.evidence(image)[0]) - short, rel=1e-10)


def test_the_bound_of_8_bit_images_is_below_their_evidence():
    """One latent and two pixels: log p(x) - KL(q ‖ p(z|x)), both by sums over a fine grid of z, is the bound."""

    class One:
        def encode(self, x):
            return 0.5 * x.mean(dim=(1, 2, 3)).view(-1, 1, 1, 1), torch.full((len(x), 1, 1, 1), -1.0).double()

        def decode(self, z):
            mean = torch.cat([torch.tanh(z), 0.5 * z.square() - 1], dim=3)
            return mean, -2 + 0.3 * mean

        def log_likelihood(self, images, decoded):
            return log_probability(images, *decoded).sum(dim=(1, 2, 3))

    coder, image = One(), torch.tensor([200, 40], dtype=torch.uint8).view(1, 1, 1, 2)
    z = np.linspace(-12, 12, 40_001)
    step, normal = z[1] - z[0], lambda m, v: -0.5 * (z - m) ** 2 / v - 0.5 * math.log(2 * math.pi * v)
    grid = torch.from_numpy(z).view(-1, 1, 1, 1)
    given = coder.log_likelihood(image.expand(len(z), -1, -1, -1), coder.decode(grid)).numpy()
    evidence = math.log(np.exp(given + normal(0, 1)).sum() * step)
    x = image.double() / 127.5 - 1
    q = normal(float(coder.encode(x)[0]), math.exp(-1))
    gap = (np.exp(q) * (q - (given + normal(0, 1) - evidence))).sum() * step
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    noise = torch.from_numpy(nodes).view(-1, 1, 1, 1)
    reconstruction, kl = elbo(coder, image.expand(60, -1, -1, -1), noise)
    expected = float((reconstruction.numpy() * weights).sum() / weights.sum() + kl[0])
    assert gap > 0.1
    assert -expected == pytest.approx(evidence - gap, abs=1e-4)


def test_bits_per_dim():
    assert bits_per_dim(784 * 8 * math.log(2), 784) == pytest.approx(8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_shape": (8, 8)}, r"image_shape is \[C, H, W\], got \[8, 8\]"),
        ({"image_shape": (1, 8, 6)}, r"not divisible by 4"),
        ({"channels": ()}, "channels has a width for each resolution"),
        ({"channels": (12, 16)}, "must be multiples of 8"),
        ({"channels": (8, 24)}, r"channels \(8, 24\): each divides 4 times the one before it"),
        ({"blocks": 2}, "blocks holds whole numbers"),
        ({"blocks": (1,)}, "a number for the encoder and one for the decoder"),
        ({"latent_channels": 0}, "latent_channels holds whole numbers from 1"),
        ({"patch": 1.0}, "patch holds whole numbers"),
    ],
)
def test_what_no_network_can_be(changes, message):
    with pytest.raises(ValueError, match=message):
        config(**changes)
