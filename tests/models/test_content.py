"""Fingerprints of weights, which are taken where the weights are."""

from __future__ import annotations

import pytest
import torch

from samplerbench.models.content import fingerprint


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)
def test_every_bit_and_every_place_counts(dtype):
    values = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).mul(9).clamp(min=0).to(dtype)
    known = {int(fingerprint(values))}
    assert int(fingerprint(values.clone())) in known
    size = values.element_size()
    for at in range(35 if dtype != torch.bool else 0):
        for bit in range(8 * size):
            other = values.clone()
            other.flatten().view(torch.uint8)[at * size + bit // 8] ^= 1 << bit % 8
            known.add(int(fingerprint(other)))
    known.add(int(fingerprint(values.T)))
    known.add(int(fingerprint(values.flip(0))))
    assert len(known) == (3 if dtype == torch.bool else 3 + 35 * 8 * size)
