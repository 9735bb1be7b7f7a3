"""The evidence lower bound of a variational autoencoder (Kingma & Welling 2014, eq. 3), in nats an image:

    log p(x) >= E_q(z|x) log p(x|z) - KL(q(z|x) ‖ N(0, 1))

p(x|z) is a distribution over 8-bit images, so this bounds the code length of such images.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["Coder", "Elbo", "bits_per_dim", "elbo", "kl_to_standard_normal"]


class Coder(Protocol):
    """What a bound is computed of; see `VAE`."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]: ...

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]: ...

    def log_likelihood(self, images: Tensor, decoded: tuple[Tensor, Tensor]) -> Tensor: ...


class Elbo(NamedTuple):
    """The two parts of the bound, in nats, [B] each: `reconstruction` is -log p(x|z) of one z drawn from q(z|x), `kl`
    is exact. The bound is minus their sum.
    """

    reconstruction: Tensor
    kl: Tensor


def elbo(network: Coder, images: Tensor, noise: Tensor) -> Elbo:
    """images: uint8 [B, C, H, W]. noise: standard normal, [B, c, h, w], which z is made with."""
    mean, log_variance = network.encode(images.to(noise.dtype) / 127.5 - 1)
    z = mean + (0.5 * log_variance).exp() * noise
    return Elbo(-network.log_likelihood(images, network.decode(z)), kl_to_standard_normal(mean, log_variance))


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) ‖ N(0, 1)) in nats, [B], summed over all elements of each."""
    each = 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance)
    return each.flatten(1).sum(dim=1)


def bits_per_dim(nats: float, dimensions: int) -> float:
    """Nats an image as bits a dimension."""
    return nats / (dimensions * math.log(2))
