"""Real images: through torchvision's datasets, from an npz, or from image files."""

from __future__ import annotations

import csv
import gzip
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .errors import UserError, one_line, unknown
from .folders import data_cache

__all__ = ["Images", "dataset_name", "image_files", "images_of", "load_images", "read_batches"]


@dataclass(frozen=True)
class Images:
    """images: uint8 [N, C, H, W]; labels: int64 [N], or None; sha256: of the images' bytes."""

    images: Tensor
    labels: Tensor | None
    sha256: str


def load_images(dataset: str, root: Path | None, train: bool = True) -> Images:
    """The training or test images of `dataset`.

    dataset: the name of a class in torchvision.datasets; or `npz`, and `root` is a file with the arrays `images`, and
        for classifiers `labels`, `test_images` and `test_labels`.
        ADM's `arr_0` is read as `images`.
    root: where the files are: a folder in torchvision's layout, or one that holds the MNIST-like idx files themselves,
        gzipped or not. What is not there is downloaded by torchvision, by default into the user's cache (`data_cache`).
    """
    if dataset == "npz":
        return _from_npz(root, "" if train else "test_")
    from torchvision import datasets

    if dataset not in datasets.__all__:
        raise unknown("dataset", dataset, [*_datasets(), "npz"])
    folder = Path(root) if root else data_cache()
    if root and not folder.is_dir():
        raise UserError(f"--data-root {folder} is not a folder")
    if any(folder.glob("*-idx3-ubyte*")):
        folder = _idx_in_torchvision_layout(folder, dataset)
    try:
        source = getattr(datasets, dataset)(str(folder), train=train, download=True)
    except TypeError:
        raise UserError(
            f"dataset '{dataset}' has no train/test split of small images; make an npz and use dataset = \"npz\""
        ) from None
    except (OSError, RuntimeError) as error:
        why = f"{dataset} is not in {folder} and could not be downloaded ({one_line(error)})"
        raise UserError(f"{why}; name a folder that has it with --data-root") from None
    images = torch.as_tensor(np.asarray(source.data))
    labels = torch.as_tensor(np.asarray(source.targets), dtype=torch.int64)
    return _images(images, labels)


def _datasets() -> list[str]:
    """The classes of torchvision.datasets that download themselves."""
    from torchvision import datasets

    classes = {name: getattr(datasets, name) for name in datasets.__all__}
    return [name for name, cls in classes.items() if hasattr(cls, "url") or hasattr(cls, "mirrors")]


def dataset_name(text: str) -> str:
    """The dataset that a name means, whatever its capitals and dashes: 'cifar10' -> 'CIFAR10'. Raises UserError."""

    def plain(name: str) -> str:
        return name.lower().replace("-", "").replace("_", "")

    known = {plain(name): name for name in _datasets()}
    if plain(text) not in known:
        raise unknown("dataset", text, known)
    return known[plain(text)]


def images_of(data: str, root: Path | None, channels: int) -> Tensor:
    """The images, uint8 [N, C, H, W], that --data names: a folder, a CSV of paths, an npz, or a dataset's training
    images. channels: 1 or 3, of image files; others keep theirs.
    """
    path = Path(data)
    files = path.is_dir() or path.suffix in (".csv", ".npz")
    if root is not None and files:
        raise UserError(f"--data-root goes with a torchvision dataset, not with --data {data}")
    if path.suffix in (".csv", ".npz") and not path.exists():
        raise UserError(f"--data {path}: no such file")
    if path.suffix == ".npz":
        return load_images("npz", path).images
    if files:
        return torch.cat(list(read_batches(image_files(path), channels if channels == 1 else 3, 256)))
    try:
        name = dataset_name(data)
    except UserError as error:
        raise UserError(f"--data {data}: no folder, CSV or npz, and {error}") from None
    return load_images(name, root).images


def _images(images: Tensor, labels: Tensor | None) -> Images:
    if images.dtype != torch.uint8 or images.ndim not in (3, 4):
        raise UserError(f"images must be uint8 [N, H, W] or [N, H, W, C], got {images.dtype} {tuple(images.shape)}")
    if not images.numel():
        raise UserError(f"there are no images: got {tuple(images.shape)}")
    images = (images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)).contiguous()
    return Images(images, labels, hashlib.sha256(images.numpy().tobytes()).hexdigest())


def _from_npz(path: Path | None, prefix: str) -> Images:
    if path is None or not Path(path).is_file():
        raise UserError(f"dataset 'npz' needs --data-root to name an npz file, got {path}")
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            where = "arr_0" if not prefix and "images" not in arrays and "arr_0" in arrays else f"{prefix}images"
            if where not in arrays:
                raise UserError(f"{path} has no array '{where}' (it has {', '.join(arrays)})")
            images = torch.from_numpy(arrays[where])
            name = f"{prefix}labels"
            labels = torch.from_numpy(arrays[name].astype(np.int64)) if name in arrays else None
    except UserError:
        raise
    except Exception as error:  # whatever a damaged archive makes zipfile, zlib and numpy say
        raise UserError(f"{path} is not an npz file of arrays: {one_line(error)}") from None
    if labels is not None and (labels.ndim != 1 or len(labels) != len(images)):
        raise UserError(f"{path}: {name} is one number an image [{len(images)}], got {list(labels.shape)}")
    return _images(images, labels)


def _idx_in_torchvision_layout(folder: Path, dataset: str) -> Path:
    """Copies idx files into NAME/raw under the cache, unpacked, where torchvision looks for them: a folder for what
    they hold, so that other files are never taken for them.
    """
    files, digest = sorted(folder.glob("*-ubyte*")), hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    home = data_cache() / digest.hexdigest()[:16]
    raw = home / dataset / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for file in files:
        target = raw / file.name.removesuffix(".gz")
        part = target.with_suffix(".part")
        if not target.exists():
            with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as packed, part.open("wb") as plain:
                shutil.copyfileobj(packed, plain)
            part.replace(target)
    return home


def image_files(path: Path) -> list[Path]:
    """The images under a folder (png, jpg, jpeg, webp; subfolders too), or those that a CSV lists in a column `path`,
    relative to the CSV.
    """
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    else:
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                names = list(reader.fieldnames or [])
                rows = list(reader)
        except (OSError, ValueError, csv.Error) as error:
            raise UserError(f"{path} is not a CSV: {one_line(error)}") from None
        if "path" not in names:
            raise UserError(f"{path} has no column 'path' (it has {', '.join(names) or 'none'})")
        for number, row in enumerate(rows, 2):
            if not row["path"]:
                raise UserError(f"{path}: row {number} has no path")
        files = [path.parent / row["path"] for row in rows]
    if not files:
        raise UserError(f"{path} has no images")
    return files


def read_batches(files: Sequence[Path], channels: int | None, batch_size: int) -> Iterator[Tensor]:
    """Image files as uint8 batches [B, C, H, W]; grey or RGB as `channels` says, or as the first of them is where it is
    None; all of one size.
    """
    from PIL import Image, UnidentifiedImageError

    shape: tuple[int, ...] | None = None
    batch: list[Tensor] = []
    for file in files:
        try:
            with Image.open(file) as image:
                channels = channels or (1 if image.mode in ("1", "L", "LA", "I", "I;16", "F") else 3)
                pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
        except (OSError, ValueError, UnidentifiedImageError) as error:
            raise UserError(f"{file} is not an image: {one_line(error)}") from None
        shape = shape or pixels.shape
        if pixels.shape != shape:
            raise UserError(
                f"{file} is {pixels.shape[1]}×{pixels.shape[0]}, the images before it {shape[1]}×{shape[0]}"
            )
        batch.append(torch.from_numpy(pixels.reshape(*shape[:2], channels).copy()).permute(2, 0, 1))
        if len(batch) == batch_size:
            yield torch.stack(batch)
            batch = []
    if batch:
        yield torch.stack(batch)
