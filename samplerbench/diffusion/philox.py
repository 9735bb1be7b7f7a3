"""Philox4x64-10 (Salmon et al. 2011, §4.3) in integer operations of torch, so that noise is drawn where the samples
are. numpy has the same generator, which is the faster one on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Counter = tuple[Tensor, Tensor, Tensor, Tensor]

__all__ = ["philox", "words"]

MASK_32, MASK_64 = 2**32 - 1, 2**64 - 1
FACTORS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
BUMPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)  # of the two words of the key, after each round
ROUNDS = 10


def words(seed: int, indices: Sequence[int], draw: int, count: int, device: str | torch.device) -> Tensor:
    """For each sample the first `count` words of 64 bits of the stream that numpy's Philox(key=seed) has from its
    counter (0, 0, draw, index) on: int64 [B, count], the bits of unsigned numbers.
    """
    import torch

    blocks = torch.arange(1, (count + 3) // 4 + 1, device=device)  # the counter goes up before it gives a block
    last = torch.tensor([_signed(index) for index in indices], device=device)[:, None]
    zero = torch.zeros((len(indices), len(blocks)), dtype=torch.int64, device=device)
    mixed = philox((zero + blocks, zero, zero + _signed(draw), zero + last), (seed, 0))
    return torch.stack(mixed, dim=-1).flatten(1)[:, :count]


def philox(counter: Counter, key: tuple[int, int]) -> Counter:
    """The block of a counter, four words, lowest first: int64 tensors of one shape. key: two unsigned words."""
    a, b, c, d = counter
    for turn in range(ROUNDS):
        k, m = (_signed((word + turn * bump) & MASK_64) for word, bump in zip(key, BUMPS, strict=True))
        (high_a, low_a), (high_c, low_c) = _product(FACTORS[0], a), _product(FACTORS[1], c)
        a, b, c, d = high_c ^ b ^ k, low_c, high_a ^ d ^ m, low_a
    return a, b, c, d


def _signed(word: int) -> int:
    """The int64 with the bits of an unsigned word."""
    return word - 2**64 if word >= 2**63 else word


def _shifted(x: Tensor) -> Tensor:
    """x >> 32 of the unsigned number."""
    return (x >> 32) & MASK_32


def _product(factor: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """The upper and the lower 64 bits of factor · x, all unsigned: by halves, whose products and carries fit a word."""
    high, low = factor >> 32, factor & MASK_32
    x_high, x_low = _shifted(x), x & MASK_32
    middle = x_low * high + _shifted(x_low * low)
    carry = x_high * low + (middle & MASK_32)
    return x_high * high + _shifted(middle) + _shifted(carry), x * _signed(factor)
