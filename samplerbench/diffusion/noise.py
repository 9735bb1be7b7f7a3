"""Noise as a function of (seed, sample index, draw number) and of nothing else: not of the batch, the device, the
sampler or the order.

The bits come from the counter-based generator Philox4x64-10 (Salmon et al. 2011), keyed by the seed, with the sample
index and the draw number in its counter; normals are made from them by the Box-Muller transform in float64, on the
device that they are for. What "the same noise on every device" means: the bits are the same everywhere. The normals are
as exact as a device's logarithm, sine and cosine in float64; rounded to float32, about one in 10⁹ differs in its last
place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from .philox import words

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["NoiseSource"]

_TWO_TO_32 = float(2**32)


class NoiseSource:
    """The noise of the samples `indices`, each of shape `shape`.

    `x_T()` is draw 0. Calling the source, `noise(i)`, gives draw i + 1: a sampler uses its step number i = 0, 1, … .
    Asking twice for the same draw gives the same numbers.

    seed: at least 0 and below 2^64. indices: sample numbers, each at least 0.
    """

    def __init__(
        self,
        seed: int,
        indices: Sequence[int],
        shape: Sequence[int],
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        if not 0 <= seed < 2**64:
            raise UserError(f"seed must be at least 0 and below 2^64, got {seed}")
        import torch

        self.seed, self.indices, self.shape = seed, list(indices), tuple(shape)
        self.device, self.dtype = device, dtype or torch.float32
        self._philox = np.random.Philox(key=seed)
        self._state = self._philox.state

    def x_T(self) -> Tensor:
        """The noise that sampling starts from: [B, *shape], standard normal."""
        return self._normal(0)

    def __call__(self, step: int) -> Tensor:
        """The noise of a sampler's step `step` >= 0: [B, *shape], standard normal."""
        if step < 0:
            raise ValueError(f"a step number is at least 0, got {step}")
        return self._normal(step + 1)

    def _normal(self, draw: int) -> Tensor:
        import torch

        size = int(np.prod(self.shape, dtype=np.int64))
        bits = self._bits(draw, (size + 1) // 2)
        # the low and the high 32 bits of each word are a pair of uniforms; halves, not neighbours, so that every
        # operation is on contiguous memory
        radius = (bits & 0xFFFFFFFF).double().add_(0.5).div_(_TWO_TO_32).log_().mul_(-2.0).sqrt_()
        angle = ((bits >> 32) & 0xFFFFFFFF).double().add_(0.5).mul_(2.0 * np.pi / _TWO_TO_32)
        normal = torch.cat([angle.cos().mul_(radius), angle.sin_().mul_(radius)], dim=1)[:, :size]
        return normal.to(self.dtype).reshape(len(self.indices), *self.shape)

    def _bits(self, draw: int, count: int) -> Tensor:
        """`count` words of each sample, int64 [B, count], on the device: numpy's on a CPU, where they are faster."""
        import torch

        if torch.device(self.device).type != "cpu":
            return words(self.seed, self.indices, draw, count, self.device)
        bits = np.empty((len(self.indices), count), dtype=np.uint64)
        for row, index in enumerate(self.indices):
            bits[row] = self._raw(index, draw, count)
        return torch.from_numpy(bits.view(np.int64))

    def _raw(self, index: int, draw: int, count: int) -> np.ndarray:
        """`count` words of 64 bits from the generator's counter (0, 0, draw, index), lowest word first."""
        state = self._state
        state["state"]["counter"][:] = (0, 0, draw, index)
        state["buffer_pos"] = 4  # nothing buffered: the next word comes from the counter
        state["has_uint32"] = 0
        self._philox.state = state
        return self._philox.random_raw(count)
