"""What a run compares with: the model's own statistics, a file of statistics or of images, or a dataset by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..code import code_sha256
from ..data import Images, dataset_name, load_images
from ..errors import UserError, one_line
from ..files import content_key
from ..folders import shard_cache
from ..metrics.extractor import shape_text
from ..metrics.extractors import LoadedExtractor
from ..metrics.reference import Reference, load_reference, make_reference, provenance_of, save_reference
from ..models.model import Model

if TYPE_CHECKING:
    from .plan import RunConfig

__all__ = ["find_reference"]

BATCH = 64


def find_reference(
    config: RunConfig, model: Model, extractor: LoadedExtractor, device: str, notice: Callable[[str], None]
) -> Reference:
    """The reference of a run. Statistics of images are made once, and kept in the cache by their content: images,
    extractor, code. `notice` is told what the user should know.

    Raises UserError for what is neither a file nor a dataset, and for a reference of another extractor or resolution.
    """
    given = config.reference or (None if model.reference is None else str(model.reference))
    if given is None:
        raise UserError(
            f"model '{model.name}' has no reference statistics; name a file or a dataset with --reference, like cifar10"
        )
    path = Path(given)
    if path.is_dir():
        raise UserError(f"--reference {given} is a folder; make a file of it with `samplerbench reference`")
    if path.exists():
        images = _images_in(path, extractor)
    elif path.suffix or len(path.parts) > 1:
        raise UserError(f"--reference {given}: no such file")
    else:
        name = dataset_name(given)
        given, images = f"{name}, training images", load_images(name, config.data_root)
    if images is None:
        reference = load_reference(path, extractor, model.image_shape)
        if reference.unknowns:
            notice(f"{path} does not say its {', '.join(reference.unknowns)}: shown as unknown")
        if reference.unused:
            notice(f"{path}: mu and sigma are used; {', '.join(reference.unused)} are not")
        return reference
    shape = tuple(images.images.shape[1:])
    if shape != model.image_shape:
        raise UserError(f"{given} has images of {shape_text(shape)}, the model's are {shape_text(model.image_shape)}")
    return _made(given, images, config, extractor, device, notice)


def _images_in(path: Path, extractor: LoadedExtractor) -> Images | None:
    """The images of an npz file; None where its statistics are what counts: it has some, and they have as many features
    as the extractor.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = set(arrays)
            if not names & {"images", "arr_0"} or ("mu" in names and len(arrays["mu"]) == extractor.dimension):
                return None
    except Exception as error:  # whatever a damaged archive makes zipfile, zlib and numpy say
        raise UserError(f"{path} is not a reference statistics file: {one_line(error)}") from None
    return load_images("npz", path)


def _made(
    what: str,
    images: Images,
    config: RunConfig,
    extractor: LoadedExtractor,
    device: str,
    notice: Callable[[str], None],
) -> Reference:
    """The reference of images, from the cache where it is there."""
    identity = {
        "images": images.sha256,
        "extractor": [extractor.spec, extractor.layer, extractor.sha256, extractor.code],
        "code": code_sha256("samplerbench.metrics.reference"),
        "torch": torch.__version__,
        "device": device.partition(":")[0],
    }
    path = (config.cache or shard_cache()) / "references" / f"{content_key(identity)}.npz"
    shape = tuple(images.images.shape[1:])
    if path.exists() and not config.fresh:
        try:
            return load_reference(path, extractor, shape)
        except UserError as error:
            notice(f"{error}; it is made again")
    notice(f"reference statistics are made of {len(images.images)} images of {what}, with {extractor.spec}")
    batches = (batch.to(device) for batch in images.images.split(BATCH))
    provenance = provenance_of(extractor, what, images.sha256, shape)
    try:
        save_reference(path, *make_reference(batches, extractor), provenance)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}; choose a folder with --cache") from None
    return load_reference(path, extractor, shape)
