"""Reference statistics: what the samples' features are compared with, as an npz without pickle."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..files import sha256
from .extractors import Extractor
from .frechet import Moments, Statistics
from .measured import Unmeasurable

__all__ = ["UNKNOWN", "Provenance", "Reference", "load_reference", "make_reference", "save_reference"]

FEATURES = 4096  # kept of a reference, at random
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Provenance:
    """What a reference was made from; `unknown` where the file, another project's, does not say."""

    extractor: str = UNKNOWN
    layer: str = UNKNOWN
    extractor_sha256: str = UNKNOWN
    data: str = UNKNOWN
    data_sha256: str = UNKNOWN


@dataclass(frozen=True)
class Reference:
    """Statistics of real images, where they come from, the hash of the file they were read from, and the features of
    some of the images, [m, D], for metrics that need more than two moments; None where the file has none.
    """

    statistics: Statistics
    provenance: Provenance
    sha256: str
    features: Tensor | None = None

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


def make_reference(batches: Iterable[Tensor], extractor: Extractor) -> tuple[Statistics, Tensor]:
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
    """Writes mu, sigma, count, features and the provenance."""
    np.savez_compressed(
        path,
        mu=statistics.mu,
        sigma=statistics.sigma,
        count=np.int64(statistics.count or 0),
        features=features.half().numpy(),
        provenance=np.array(json.dumps(asdict(provenance))),
    )


def load_reference(path: Path, extractor: Extractor, image_shape: Sequence[int]) -> Reference:
    """The reference at `path`. A file of another project's (mu and sigma alone: EDM, DDIM, pytorch-fid) is read with
    the rest unknown. Raises UserError where it is none, or was made with another extractor.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            mu, sigma = arrays["mu"].astype(np.float64), arrays["sigma"].astype(np.float64)
            count = int(arrays["count"]) if "count" in arrays else None
            provenance = Provenance(**(json.loads(str(arrays["provenance"])) if "provenance" in arrays else {}))
            features = torch.from_numpy(arrays["features"]).float() if "features" in arrays else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a reference statistics file: {error}") from None
    said = (provenance.extractor, provenance.extractor_sha256)
    if UNKNOWN not in said and said != (extractor.name, extractor.sha256):
        raise UserError(
            f"{path} was made with extractor '{provenance.extractor}' ({provenance.extractor_sha256[:12]}), "
            f"not with '{extractor.name}' ({extractor.sha256[:12]}); a distance between the two would mean nothing"
        )
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)) or (count is not None and count < 2):
        shapes = f"{list(mu.shape)}, {list(sigma.shape)} and {count}"
        raise UserError(f"{path}: expected mu [D], sigma [D, D] and count >= 2, got {shapes}")
    if not torch.isfinite(torch.from_numpy(sigma)).all():
        raise UserError(f"{path}: sigma has values that are not finite")
    dimension = extractor.dimension(image_shape) if UNKNOWN in said else len(mu)
    if len(mu) != dimension:
        raise UserError(f"{path} has {len(mu)} features, extractor '{extractor.name}' {dimension}: it is of another")
    if features is not None and (features.ndim != 2 or features.shape[1] != len(mu)):
        raise UserError(f"{path}: expected features [m, {len(mu)}], got {list(features.shape)}")
    return Reference(Statistics(mu, sigma, count), provenance, sha256(path), features)
