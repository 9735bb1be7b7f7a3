"""Reference files that are none, and those that only look odd."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from samplerbench import UserError
from samplerbench.metrics.frechet import Statistics, frechet_distance
from samplerbench.metrics.reference import load_reference
from samplerbench.plugins import load_plugins

GREY, D = (1, 28, 28), 224
RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(1, 0.5, (500, D))
GOOD = {"mu": FEATURES.mean(axis=0), "sigma": np.cov(FEATURES, rowvar=False)}


@pytest.fixture(scope="module")
def extractor():
    return load_plugins().extractor("fashion-mnist-cnn")


def changed(name, index, value, dtype=None):
    array = GOOD[name].astype(dtype or GOOD[name].dtype)
    array[index] = value
    return {name: array}


def rotated(eigenvalues):
    """A symmetric matrix with these eigenvalues."""
    basis = np.linalg.qr(RANDOM.normal(size=(D, D)))[0]
    sigma = (basis * np.asarray(eigenvalues)) @ basis.T
    return (sigma + sigma.T) / 2


BAD = {
    "indefinite": (
        {"sigma": rotated([-1e-3, *[1.0] * (D - 1)])},
        "sigma is no covariance: it has an eigenvalue of -0.001",
    ),
    "negative": ({"sigma": -GOOD["sigma"]}, "sigma is no covariance: it has an eigenvalue of"),
    "asymmetric": (changed("sigma", (3, 5), 0.2), "sigma is not symmetric"),
    "zero": ({"sigma": np.zeros((D, D))}, "sigma is 0, as if all images were the same"),
    "complex sigma": ({"sigma": GOOD["sigma"] + 0j}, "expected real numbers in sigma, got complex128"),
    "complex mu": ({"mu": GOOD["mu"] + 1j}, "expected real numbers in mu, got complex128"),
    "text": ({"mu": np.array(["1"] * D)}, "expected real numbers in mu, got <U1"),
    "NaN mu": (changed("mu", 7, np.nan), "mu has values that are not finite"),
    "infinite mu": (changed("mu", 7, np.inf), "mu has values that are not finite"),
    "huge mu": (changed("mu", 7, 1e200), "mu has values that are not finite, or beyond"),
    "NaN sigma": (changed("sigma", (7, 7), np.nan), "sigma has values that are not finite"),
    "infinite sigma": (changed("sigma", (7, 7), -np.inf), "sigma has values that are not finite"),
    "mu in a row": ({"mu": GOOD["mu"][None]}, r"expected mu \[D\], sigma \[D, D\]"),
    "mu is a number": ({"mu": np.float64(3)}, r"expected mu \[D\], sigma \[D, D\]"),
    "empty": ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, r"expected mu \[D\], sigma \[D, D\]"),
    "sigma a vector": ({"sigma": GOOD["mu"]}, r"expected mu \[D\], sigma \[D, D\]"),
    "count 1": ({"count": np.int64(1)}, "count >= 2"),
    "count 2.5": ({"count": np.float64(2.5)}, "is not a reference statistics file"),
    "counts": ({"count": np.arange(3)}, "is not a reference statistics file"),
    "NaN features": ({"features": np.full((9, D), np.nan)}, "features has values that are not finite"),
    "complex features": ({"features": FEATURES + 0j}, "expected real numbers in features, got complex128"),
    "narrow features": ({"features": FEATURES[:, 1:]}, r"expected features \[m, 224\], got \[500, 223\]"),
    "no features": ({"features": FEATURES[:0]}, r"expected features \[m, 224\], got \[0, 224\]"),
    "features of others": (
        {"features": FEATURES + 1},
        r"of mu and sigma: the mean of feature 0 is 2\.\d+, expected 1\.\d",
    ),
    "features in another order": (
        {"features": FEATURES * np.linspace(0.5, 1.5, D)[::-1]},
        "the mean of feature 0 is 1.5",
    ),
    "features that spread less": (
        {"features": GOOD["mu"] + 0.5 * (FEATURES - GOOD["mu"])},
        "their mean squared distance to mu is 1[34]",
    ),
    "provenance a list": ({"provenance": np.array("[1]")}, "is not a reference statistics file"),
    "provenance of numbers": ({"provenance": np.array(json.dumps({"extractor": 5}))}, "expected a provenance of texts"),
    "provenance with more": (
        {"provenance": np.array(json.dumps({"colour": "red"}))},
        "not a reference statistics file",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_cannot_be_statistics_is_refused_with_the_reason(fault, tmp_path, extractor):
    arrays, message = BAD[fault]
    path = tmp_path / "reference.npz"
    np.savez(path, **GOOD | arrays)
    with pytest.raises(UserError, match=message) as refusal:
        load_reference(path, extractor, GREY)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "npy", "folder", "text"])
def test_files_that_are_no_archives_are_refused(damage, tmp_path, extractor):
    path = tmp_path / "reference.npz"
    np.savez_compressed(path, **GOOD)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2 : len(data) // 2 + 50] = b"\xff" * 50
    whole = {"truncated": data[:-300], "flipped": data, "empty": b"", "npy": b"\x93NUMPY", "text": b"mu,sigma\n"}
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(whole[damage])
    with pytest.raises(UserError, match="is not a reference statistics file") as refusal:
        load_reference(path, extractor, GREY)
    assert "\n" not in str(refusal.value)


def odd(name):
    """Covariances that other projects write."""
    features = FEATURES.astype(np.float32)
    return {
        "float32": np.cov(features, rowvar=False, dtype=np.float32),
        "difference of float32 sums": features.T @ features / np.float32(500)
        - np.outer(features.mean(0), features.mean(0)),
        "singular": np.cov(FEATURES[:50], rowvar=False),
        "singular float32": np.cov(features[:50], rowvar=False, dtype=np.float32),
        "constant feature": np.cov(FEATURES * np.r_[0, np.ones(D - 1)], rowvar=False),
        "slightly asymmetric": GOOD["sigma"] * (1 + 1e-7 * np.triu(np.ones((D, D)))),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "float32",
        "difference of float32 sums",
        "singular",
        "singular float32",
        "constant feature",
        "slightly asymmetric",
    ],
)
def test_what_rounding_and_few_images_leave_is_read(name, tmp_path, extractor):
    path, sigma = tmp_path / "reference.npz", odd(name)
    np.savez(path, mu=GOOD["mu"], sigma=sigma)
    read = load_reference(path, extractor, GREY).statistics
    assert np.array_equal(read.sigma, sigma)
    assert frechet_distance(read, Statistics(GOOD["mu"], np.asarray(sigma, np.float64), None)) < 1e-4


def test_what_is_read_is_what_was_written(tmp_path, extractor):
    path = tmp_path / "reference.npz"
    sigma = rotated(np.linspace(0, 0.5, D))
    np.savez(path, mu=GOOD["mu"], sigma=sigma, features=FEATURES.astype(np.float16))
    read = load_reference(path, extractor, GREY)
    assert np.array_equal(read.statistics.sigma, sigma)
    assert torch.equal(read.features, torch.from_numpy(FEATURES.astype(np.float16)).float())


def test_features_of_the_same_images_are_taken(tmp_path, extractor):
    """Few, in float16, with rare values."""
    rare = FEATURES.copy()
    rare[:, 0] = 0
    rare[7, 0] = 50
    np.savez(
        tmp_path / "r.npz",
        mu=rare.mean(axis=0),
        sigma=np.cov(rare, rowvar=False),
        features=rare[[3, 7, 100, 200, 300]].astype(np.float16),
    )
    assert load_reference(tmp_path / "r.npz", extractor, GREY).features.shape == (5, D)
