"""Reference statistics: what the samples' features are compared with, as an npz without pickle."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..files import sha256
from .extractors import Extractor
from .frechet import Moments, Statistics

__all__ = ["Provenance", "Reference", "load_reference", "make_reference", "save_reference"]


@dataclass(frozen=True)
class Provenance:
    """What a reference was made from."""

    extractor: str
    layer: str
    extractor_sha256: str
    data: str
    data_sha256: str


@dataclass(frozen=True)
class Reference:
    """Statistics of real images, where they come from, and the hash of the file they were read from."""

    statistics: Statistics
    provenance: Provenance
    sha256: str


def make_reference(batches: Iterable[Tensor], extractor: Extractor) -> Statistics:
    """Statistics of real images in batches, uint8 [B, C, H, W]."""
    moments = None
    for batch in batches:
        features = extractor(batch)
        moments = moments or Moments(features.shape[1])
        moments.add(features)
    if moments is None:
        raise UserError("there are no images to make reference statistics of")
    return moments.statistics()


def save_reference(path: Path, statistics: Statistics, provenance: Provenance) -> None:
    """Writes mu, sigma, count and the provenance."""
    text = np.array(json.dumps(asdict(provenance)))
    np.savez_compressed(
        path, mu=statistics.mu, sigma=statistics.sigma, count=np.int64(statistics.count), provenance=text
    )


def load_reference(path: Path, extractor: Extractor) -> Reference:
    """The reference at `path`. Raises UserError where it is not one, or was made with another extractor."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            mu, sigma = arrays["mu"].astype(np.float64), arrays["sigma"].astype(np.float64)
            count = int(arrays["count"])
            provenance = Provenance(**json.loads(str(arrays["provenance"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a reference statistics file: {error}") from None
    if provenance.extractor != extractor.name or provenance.extractor_sha256 != extractor.sha256:
        raise UserError(
            f"{path} was made with extractor '{provenance.extractor}' ({provenance.extractor_sha256[:12]}), "
            f"not with '{extractor.name}' ({extractor.sha256[:12]}); a distance between the two would mean nothing"
        )
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)) or count < 2:
        shapes = f"{list(mu.shape)}, {list(sigma.shape)} and {count}"
        raise UserError(f"{path}: expected mu [D], sigma [D, D] and count >= 2, got {shapes}")
    if not torch.isfinite(torch.from_numpy(sigma)).all():
        raise UserError(f"{path}: sigma has values that are not finite")
    return Reference(Statistics(mu, sigma, count), provenance, sha256(path))
