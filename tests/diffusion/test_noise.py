import math
import random

import numpy as np
import pytest
import torch

from samplerbench import NoiseSource, UserError
from samplerbench.diffusion.philox import philox, words

MASK = 2**64 - 1


def philox4x64(counter, key):
    """Philox4x64-10 written from the paper (Salmon et al. 2011, §4.3), to compare with."""
    a, b, c, d = counter
    k, m = key
    for _ in range(10):
        low, high = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = (high >> 64) ^ b ^ k, high & MASK, (low >> 64) ^ d ^ m, low & MASK
        k, m = (k + 0x9E3779B97F4A7C15) & MASK, (m + 0xBB67AE8584CAA73B) & MASK
    return [a, b, c, d]


def test_the_generator_is_philox():
    known = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert philox4x64([0, 0, 0, 0], [0, 0]) == known  # of the Random123 distribution
    source = NoiseSource(99, [0], (8,))
    # the generator counts up before it gives the first block
    expected = philox4x64([1, 0, 5, 1234], [99, 0]) + philox4x64([2, 0, 5, 1234], [99, 0])
    assert source._raw(index=1234, draw=5, count=8).tolist() == expected


KNOWN = [  # counter, key and block, of the Random123 distribution
    ("0 0 0 0", "0 0", "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
    (
        "ffffffffffffffff ffffffffffffffff ffffffffffffffff ffffffffffffffff",
        "ffffffffffffffff ffffffffffffffff",
        "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0",
    ),
    (
        "243f6a8885a308d3 13198a2e03707344 a4093822299f31d0 082efa98ec4e6c89",
        "452821e638d01377 be5466cf34e90c6c",
        "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6",
    ),
]


@pytest.mark.parametrize(("counter", "key", "block"), [[[int(w, 16) for w in t.split()] for t in row] for row in KNOWN])
def test_known_answers(counter, key, block):
    assert philox4x64(counter, key) == block
    signed = np.array(counter, dtype=np.uint64).view(np.int64)
    assert [int(word) & MASK for word in philox(tuple(torch.tensor(word) for word in signed), tuple(key))] == block


def test_torch_has_the_same_words():
    draw = random.Random(0)
    for _ in range(100):
        seed, step, count = draw.randrange(2**64), draw.randrange(2**63), draw.randrange(1, 40)
        indices = [draw.randrange(2**63) for _ in range(draw.randrange(1, 5))]
        source = NoiseSource(seed, indices, (1,))
        expected = np.stack([source._raw(index, step, count) for index in indices])
        assert np.array_equal(words(seed, indices, step, count, "cpu").numpy().view(np.uint64), expected)


def test_normals_are_box_mullers():
    bits = philox4x64([1, 0, 1, 3], [7, 0])
    radius = [math.sqrt(-2 * math.log(((b & 0xFFFFFFFF) + 0.5) / 2**32)) for b in bits]
    angle = [2 * math.pi * ((b >> 32) + 0.5) / 2**32 for b in bits]
    expected = [r * math.cos(a) for r, a in zip(radius, angle, strict=True)]
    expected += [r * math.sin(a) for r, a in zip(radius, angle, strict=True)]
    got = NoiseSource(7, [3], (2, 4), dtype=torch.float64)(0).flatten().tolist()
    assert got == pytest.approx(expected, rel=1e-14)


def test_a_sample_has_the_same_noise_in_any_batch():
    whole = NoiseSource(1, range(100), (1, 5, 5))
    for indices in ([17], range(10, 40), [99, 3, 50]):
        part = NoiseSource(1, indices, (1, 5, 5))
        assert torch.equal(part.x_T(), whole.x_T()[list(indices)])
        assert torch.equal(part(4), whole(4)[list(indices)])


def test_order_of_asking_does_not_matter():
    a, b = NoiseSource(1, range(3), (7,)), NoiseSource(1, range(3), (7,))
    first, second = a(0), a(1)
    assert torch.equal(b(1), second)
    assert torch.equal(b(0), first)
    assert torch.equal(b.x_T(), a.x_T())


def test_precisions_agree():
    single, double = (NoiseSource(1, range(3), (1, 9, 9), dtype=d).x_T() for d in (torch.float32, torch.float64))
    assert torch.equal(single, double.float())


def test_normality_and_independence():
    x = NoiseSource(5, range(4000), (49,), dtype=torch.float64)
    draws = torch.stack([x.x_T(), x(0), x(1), NoiseSource(6, range(4000), (49,), dtype=torch.float64).x_T()])
    flat = draws.flatten(1)
    n = flat.shape[1]
    assert flat.mean(1).abs().max() < 4.5 / math.sqrt(n)
    assert (flat.var(1) - 1).abs().max() < 4.5 * math.sqrt(2 / n)
    assert (flat.pow(4).mean(1) - 3).abs().max() < 4.5 * math.sqrt(96 / n)
    correlation = torch.corrcoef(flat) - torch.eye(4)
    assert correlation.abs().max() < 4.5 / math.sqrt(n)
    # Kolmogorov-Smirnov at a level of about 1e-6
    ordered = torch.special.ndtr(flat[0].sort().values).numpy()
    assert np.abs(ordered - (np.arange(n) + 0.5) / n).max() < 2.6 / math.sqrt(n)


def test_bad_seeds():
    for seed in (-1, 2**64):
        with pytest.raises(UserError, match="seed must be at least 0"):
            NoiseSource(seed, [0], (1,))
    with pytest.raises(ValueError, match="step number"):
        NoiseSource(0, [0], (1,))(-1)
