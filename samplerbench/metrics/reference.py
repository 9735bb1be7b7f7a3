"""Reference statistics: what the samples' features are compared with, as an npz without pickle."""

from __future__ import annotations

import io
import json
import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError, one_line
from ..files import sha256, write_whole
from .extractor import shape_text
from .extractors import LoadedExtractor
from .frechet import Moments, Statistics
from .measured import Unmeasurable

__all__ = ["UNKNOWN", "Provenance", "Reference", "load_reference", "make_reference", "provenance_of", "save_reference"]

FEATURES = 4096  # kept of a reference, at random
ARRAYS = ("mu", "sigma", "count", "features", "provenance")
UNKNOWN = "unknown"
ROUNDING = (
    1e-5  # of the largest entry or eigenvalue. A covariance of 2,048 features made in float32 has eigenvalues down
)
# to -2e-8 of the largest where it was centred first, and to -1e-6 where it is a difference of float32 sums.

ERRORS = 10  # standard errors: there are many features, and their tails are heavy
HALF, SMALLEST = 2e-3, 1e-7  # how near a mean of float16 is, relatively and at all
LARGEST = 1e30  # beyond it a distance, a sum of squares, would leave what float32 can hold


@dataclass(frozen=True)
class Provenance:
    """What a reference was made from; `unknown` where the file, another project's, does not say."""

    extractor: str = UNKNOWN
    layer: str = UNKNOWN
    extractor_sha256: str = UNKNOWN
    data: str = UNKNOWN
    data_sha256: str = UNKNOWN
    image_shape: str = UNKNOWN  # '3×32×32'


def provenance_of(extractor: LoadedExtractor, data: str, data_sha256: str, image_shape: Sequence[int]) -> Provenance:
    """That of statistics of images of (C, H, W); `data` says in words what they are, the hash in bytes."""
    shape = shape_text(image_shape)
    return Provenance(extractor.spec, extractor.layer, extractor.sha256, data, data_sha256, shape)


@dataclass(frozen=True)
class Reference:
    """Statistics of real images, where they come from, the hash of the file they were read from, and the features of
    some of the images, [m, D], for metrics that need more than two moments; None where the file has none. `unused`
    names what else the file holds.
    """

    statistics: Statistics
    provenance: Provenance
    sha256: str
    features: Tensor | None = None
    unused: tuple[str, ...] = ()

    def some_features(self, metric: str) -> Tensor:
        """The features. Raises Unmeasurable where there are none."""
        if self.features is None:
            raise Unmeasurable(f"{metric} needs features of real images, and the reference holds statistics only")
        return self.features

    @property
    def unknowns(self) -> list[str]:
        """What the file does not say."""
        said = {**asdict(self.provenance), "count": UNKNOWN if self.statistics.count is None else "known"}
        return [name for name, value in said.items() if value == UNKNOWN]


def make_reference(batches: Iterable[Tensor], extractor: LoadedExtractor) -> tuple[Statistics, Tensor]:
    """Statistics of real images in batches, uint8 [B, C, H, W], and the features of at most 4,096 of them, float16,
    chosen at random with a fixed seed.
    """
    moments, draw = None, np.random.default_rng(0)
    for batch in batches:
        features = extractor(batch).cpu()
        if moments is None:
            moments, kept, ranks = Moments(features.shape[1]), features[:0].half(), np.empty(0)
        moments.add(features)
        kept, ranks = torch.cat([kept, features.half()]), np.concatenate([ranks, draw.random(len(features))])
        if len(kept) > FEATURES:
            lowest = np.sort(np.argpartition(ranks, FEATURES)[:FEATURES])
            kept, ranks = kept[torch.from_numpy(lowest)], ranks[lowest]
    if moments is None:
        raise UserError("there are no images to make reference statistics of")
    if not torch.isfinite(kept).all():
        raise UserError("the features of real images are too large for float16")
    return moments.statistics(), kept


def save_reference(path: Path, statistics: Statistics, features: Tensor, provenance: Provenance) -> None:
    """Writes mu, sigma, count, features and the provenance, whole or not at all. Raises OSError."""
    file = io.BytesIO()
    np.savez_compressed(
        file,
        mu=statistics.mu,
        sigma=statistics.sigma,
        count=np.int64(statistics.count or 0),
        features=features.half().numpy(),
        provenance=np.array(json.dumps(asdict(provenance))),
    )
    write_whole(path, file.getvalue())


def load_reference(path: Path, extractor: LoadedExtractor, image_shape: Sequence[int]) -> Reference:
    """The reference at `path`. A file of another project's (mu and sigma: EDM, DDIM, pytorch-fid, ADM with spatial
    statistics beside them, which are left unused) is read with the rest unknown.

    Raises UserError where it is none, was made with another extractor or of images of another shape, or holds what no
    statistics of images are: values that are complex or not finite, a sigma that is 0, asymmetric or indefinite beyond
    rounding, or features that are of other images than mu and sigma.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            mu, sigma = arrays["mu"], arrays["sigma"]
            count = operator.index(arrays["count"][()]) if "count" in arrays else None
            provenance = Provenance(**(json.loads(str(arrays["provenance"])) if "provenance" in arrays else {}))
            features = arrays.get("features")
            unused = tuple(name for name in arrays if name not in ARRAYS)
    except Exception as error:  # whatever a damaged archive makes zipfile, zlib and numpy say
        raise UserError(f"{path} is not a reference statistics file: {one_line(error)}") from None
    if not all(isinstance(value, str) for value in asdict(provenance).values()):
        raise UserError(f"{path}: expected a provenance of texts, got {asdict(provenance)}")
    said = (provenance.extractor, provenance.extractor_sha256)
    if UNKNOWN not in said and said != (extractor.spec, extractor.sha256):
        raise UserError(
            f"{path} was made with extractor '{provenance.extractor}' ({provenance.extractor_sha256[:12]}), "
            f"not with '{extractor.spec}' ({extractor.sha256[:12]}); a distance between the two would mean nothing"
        )
    if provenance.image_shape == UNKNOWN and None not in extractor.extractor.takes:
        provenance = replace(provenance, image_shape=shape_text(extractor.extractor.takes))  # it takes no others
    if provenance.image_shape not in (UNKNOWN, shape_text(image_shape)):
        raise UserError(f"{path} is of images of {provenance.image_shape}, the model's are {shape_text(image_shape)}")
    if mu.ndim != 1 or not len(mu) or sigma.shape != (len(mu), len(mu)) or (count is not None and count < 2):
        shapes = f"{list(mu.shape)}, {list(sigma.shape)} and {count}"
        raise UserError(f"{path}: expected mu [D], sigma [D, D] and count >= 2, got {shapes}")
    if len(mu) != extractor.dimension:
        what = f"{path} has {len(mu)} features, extractor '{extractor.spec}' {extractor.dimension}"
        raise UserError(f"{what}: it is of another")
    if features is not None and (features.ndim != 2 or not len(features) or features.shape[1] != len(mu)):
        raise UserError(f"{path}: expected features [m, {len(mu)}], got {list(features.shape)}")
    statistics = Statistics(_numbers(path, "mu", mu), _covariance(path, _numbers(path, "sigma", sigma)), count)
    if features is None:
        return Reference(statistics, provenance, sha256(path), None, unused)
    some = _numbers(path, "features", features)
    _compare(path, statistics, some)
    return Reference(statistics, provenance, sha256(path), torch.from_numpy(some).float(), unused)


def _compare(path: Path, statistics: Statistics, features: np.ndarray) -> None:
    """Raises UserError where features [m, D] cannot be a random choice of what mu and sigma are of: where the mean of
    one of them, or their mean squared distance to mu, is more than `ERRORS` standard errors off.
    """
    deviations, root = np.sqrt(np.clip(np.diag(statistics.sigma), 0, None)), math.sqrt(len(features))
    distances = np.square(features - statistics.mu).sum(axis=1)
    squared = float(np.square(deviations).sum())
    spreads = np.maximum(deviations, features.std(axis=0))  # the rarer a value, the more its few copies are off
    pairs = [
        *zip(features.mean(axis=0), statistics.mu, spreads, strict=True),
        (distances.mean(), squared, max(distances.std(), squared)),
    ]
    for i, (got, expected, spread) in enumerate(pairs):
        allowed = ERRORS * spread / root + HALF * abs(expected) + SMALLEST
        if abs(got - expected) > allowed:
            what = f"the mean of feature {i}" if i < len(statistics.mu) else "their mean squared distance to mu"
            raise UserError(
                f"{path}: its features are not of the images of mu and sigma: {what} is {got:.4g}, expected "
                f"{expected:.4g} ± {allowed:.2g}"
            )


def _numbers(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """A file's array as float64, of real finite numbers."""
    if array.dtype.kind not in "fiu":
        raise UserError(f"{path}: expected real numbers in {name}, got {array.dtype}")
    numbers = array.astype(np.float64)
    if not (np.abs(numbers) < LARGEST).all():
        raise UserError(f"{path}: {name} has values that are not finite, or beyond {LARGEST:g}")
    return numbers


def _covariance(path: Path, sigma: np.ndarray) -> np.ndarray:
    """sigma as it is. Raises UserError where it is no covariance, but for rounding."""
    largest = float(np.abs(sigma).max())
    if largest == 0:
        raise UserError(f"{path}: sigma is 0, as if all images were the same")
    asymmetry = float(np.abs(sigma - sigma.T).max()) / largest
    if asymmetry > ROUNDING:
        raise UserError(
            f"{path}: sigma is not symmetric (by {asymmetry:.1e} of its largest entry, {ROUNDING:g} is allowed)"
        )
    values = np.linalg.eigvalsh((sigma + sigma.T) / 2)
    if values[0] < -ROUNDING * abs(values[-1]):
        raise UserError(
            f"{path}: sigma is no covariance: it has an eigenvalue of {values[0]:.3g}, the largest is {values[-1]:.3g}"
        )
    return sigma
