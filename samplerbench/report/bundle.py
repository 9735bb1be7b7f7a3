"""A run in one file, to be sent to a colleague: rows, conditions, what pairs them, and a strip of pictures.

A bundle is a zip file of the layout of a run's folder, and of `manifest.json`, which has the checksum of every other
file. The manifest's own checksum is the file's comment. They show what happens on the way and by mistake; whoever means
to forge a bundle can write new ones.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import json
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from .. import __version__
from ..errors import UserError, one_line

__all__ = ["FOLDERS", "SINGLE", "packed", "results_file"]

FORMAT = 1
MANIFEST = "manifest.json"
SINGLE = ("results.csv", "run.json", "floors.json")
FOLDERS = ("influences", "samples", "trajectories")
LARGEST = 8 * 10**9  # bytes of all files of a bundle
LONGEST = 10**8  # bytes of the manifest, which has a line a file


def packed(files: Mapping[str, bytes]) -> bytes:
    """The bundle of files by their names; the same files make the same bytes."""
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    manifest = json.dumps({"format": FORMAT, "samplerbench": __version__, "files": sums}, indent=1).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in [(MANIFEST, manifest), *sorted(files.items())]:
            bundle.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        bundle.comment = hashlib.sha256(manifest).hexdigest().encode()
    return buffer.getvalue()


def results_file(path: Path) -> Path:
    """The CSV file that a path means: itself, that of a run's folder, or that of a bundle, which is unpacked.

    Raises UserError where there is none, and for a bundle that was cut or edited.
    """
    if path.is_dir():
        file = path / "results.csv"
    elif path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)):
        state = path.stat()
        file = _unpacked(path, state.st_mtime_ns, state.st_size) / "results.csv"
    else:
        file = path
    if not file.is_file():
        raise UserError(f"no results at {path}: expected a CSV file, a run's folder with results.csv, or a bundle")
    return file


@lru_cache(maxsize=64)
def _unpacked(path: Path, modified: int, size: int) -> Path:
    """A folder, until the program ends, with the files of a bundle; `modified` and `size` tell its versions apart."""
    folder = Path(tempfile.mkdtemp(prefix="samplerbench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(path) as bundle:
            _unpack(path, bundle, folder)
    except (zipfile.BadZipFile, zlib.error, struct.error) as error:
        raise UserError(f"{path} is no whole bundle: it was cut off or damaged on the way ({error})") from None
    except (OSError, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        raise UserError(f"{path} cannot be unpacked: {one_line(error)}") from None
    return folder


def _unpack(path: Path, bundle: zipfile.ZipFile, folder: Path) -> None:
    entries = {entry.filename: entry for entry in bundle.infolist()}
    if len(entries) < len(bundle.infolist()) or sum(entry.file_size for entry in entries.values()) > LARGEST:
        raise UserError(f"{path} is no bundle of results: it holds a file twice, or more than {LARGEST / 1e9:.0f} GB")
    if MANIFEST not in entries:
        raise UserError(
            f"{path} is no bundle of results: it has no {MANIFEST}; `samplerbench export-results` makes one"
        )
    if entries[MANIFEST].file_size > LONGEST:
        raise UserError(f"{path} is no bundle of results: its {MANIFEST} has more than {LONGEST / 1e6:.0f} MB")
    manifest = bundle.read(MANIFEST)
    if hashlib.sha256(manifest).hexdigest().encode() != bundle.comment:
        raise UserError(f"{path} was cut or edited: its {MANIFEST} is not the one that it was made with")
    sums = _sums(path, manifest)
    if odd := sorted(set(sums) ^ (set(entries) - {MANIFEST})):
        verb = "lacks" if odd[0] in sums else "holds besides"
        raise UserError(f"{path} was edited: it {verb} {odd[0]}")
    for name, expected in sums.items():
        parent, _, plain = name.rpartition("/")
        known = name in SINGLE or (parent in FOLDERS and plain and not plain.startswith(".") and "\\" not in plain)
        if not known:
            raise UserError(f"{path} is no bundle of results: it holds {name!r}")
        target, digest = folder / name, hashlib.sha256()
        target.parent.mkdir(exist_ok=True)
        with bundle.open(name) as source, target.open("wb") as copy:
            while block := source.read(1 << 20):
                digest.update(block)
                copy.write(block)
        if digest.hexdigest() != expected:
            raise UserError(f"{path} was edited: {name} is not the file that it was made with")


def _sums(path: Path, manifest: bytes) -> dict[str, str]:
    """The checksums of files by their names. Raises UserError for a manifest that `packed` does not make."""
    try:
        said = json.loads(manifest)
    except (ValueError, RecursionError):
        said = None
    form = said.get("format") if isinstance(said, dict) else None
    if form is not None and form != FORMAT:
        raise UserError(f"{path} is a bundle of format {form!r}, of another version; expected format {FORMAT}")
    sums = said.get("files") if isinstance(said, dict) else None
    if form is None or not isinstance(sums, dict) or not all(isinstance(one, str) for one in sums.values()):
        raise UserError(f"{path} is no bundle of results: its {MANIFEST} does not say its format and files")
    return sums
