"""`samplerbench reference`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UserError
from .help import Command
from .options import data_root_option, device_option, plugin_option

if TYPE_CHECKING:
    from torch import Tensor


@click.command(
    cls=Command, examples=["samplerbench reference --data photos/ --extractor inception-v3-compat --out photos.npz"]
)
@click.option(
    "--data", required=True, metavar="FOLDER|CSV|NPZ|DATASET", help="Real images: files, or a torchvision dataset."
)
@data_root_option()
@click.option(
    "--extractor",
    required=True,
    metavar="NAME[:key=value]…",
    help="Feature extractor, see `samplerbench list extractors`.",
)
@click.option(
    "--extractor-weights", type=click.Path(path_type=Path), help="Its weights, where they are not to be downloaded."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The npz file to write.")
@plugin_option("Feature extractors of your own.")
@device_option
def reference(
    data: str,
    data_root: Path | None,
    extractor: str,
    extractor_weights: Path | None,
    out: Path,
    plugins: tuple[str, ...],
    device: str,
) -> None:
    """Make a reference file: the statistics of real images that samples are compared with.

    Of a folder, or of a CSV with a column `path`, every image counts; of a dataset or an npz, the training images.
    """
    import hashlib

    from ..data import dataset_name, image_files, load_images, read_batches
    from ..devices import resolve_device
    from ..metrics.reference import make_reference, provenance_of, save_reference
    from ..plugins import load_plugins

    if out.suffix != ".npz":
        raise UserError(f"--out is the name of an npz file, got {out}")
    place, path = resolve_device(device), Path(data)
    if data_root is not None and (path.is_dir() or path.suffix in (".csv", ".npz")):
        raise UserError(f"--data-root goes with a torchvision dataset, not with --data {data}")
    if path.suffix in (".csv", ".npz") and not path.exists():
        raise UserError(f"--data {path}: no such file")
    if not (path.is_dir() or path.suffix in (".csv", ".npz")):
        try:
            dataset = dataset_name(data)
        except UserError as error:
            raise UserError(f"--data {data}: no folder, CSV or npz, and {error}") from None
    registry = load_plugins(plugins)
    ready = registry.extractor(extractor, extractor_weights, place)
    shape: tuple[int, ...] = ()
    if path.is_dir() or path.suffix == ".csv":
        files = image_files(path)
        digest = hashlib.sha256()
        for file in files:
            digest.update(file.read_bytes() if file.is_file() else b"")
        channels = 1 if ready.extractor.channels == "repeat" else ready.extractor.takes[0]
        batches, sha256 = read_batches(files, channels, 64), digest.hexdigest()
    else:
        images = load_images("npz", path) if path.suffix == ".npz" else load_images(dataset, data_root)
        batches, sha256 = iter(images.images.split(64)), images.sha256

    def placed() -> Iterator[Tensor]:
        nonlocal shape
        for batch in batches:
            shape = tuple(batch.shape[1:])
            yield batch.to(place)

    statistics, features = make_reference(placed(), ready)
    provenance = provenance_of(ready, data, sha256, shape)
    try:
        save_reference(out, statistics, features, provenance)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}") from None
    click.echo(f"{out}: {statistics.count} images, {len(statistics.mu)} features of {ready.spec}")
