"""Floors of FID: what real test images have, and what a model's own samples have where its ODE is solved well."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import write_whole
from ..metrics.frechet_error import frechet
from ..metrics.measured import Unmeasurable
from .execute import Listener
from .measure import real_images
from .plan import RunConfig
from .record import Record
from .run import BenchmarkRun

__all__ = ["Floor", "floors", "write_floors"]

BATCH = 256


@dataclass(frozen=True)
class Floor:
    """An FID that stands beside a model's. se: its standard error. change: of the model's own samples, how much half
    the evaluations change it, from the same noise. The hashes are those of the rows that it stands beside;
    model_sha256 is None where the model plays no part.
    """

    about: str
    samples: int
    value: float
    se: float | None
    reference_sha256: str
    extractor_sha256: str
    model_sha256: str | None = None
    change: float | None = None

    def said(self) -> dict[str, Any]:
        """As it stands in floors.json."""
        known = {name: value for name, value in vars(self).items() if name != "change"}
        return {"about": known.pop("about"), "metric": "fid", **known}


def floors(config: RunConfig, sizes: Sequence[int], listener: Listener) -> list[Floor]:
    """The floors of a model for cells of so many samples: of its data's first test images, where there are as many,
    and of its own samples.

    config: model, device, where data are, and so on; its sampler and its first value, a number of evaluations, are how
    the ODE is solved. The same is done with half the evaluations, to see how near the end of the road that is.

    Raises UserError where the model's data cannot be had, and where a sampler fails.
    """
    if len(config.samplers) != 1 or len(config.values) != 1 or config.axis != "nfe" or config.values[0] < 2:
        raise UserError("floors are of one sampler with one number of evaluations, 2 or more")
    if not sizes:
        raise UserError("no number of samples was given")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        half = max(1, config.values[0] // 2)
        for size in sizes:
            asked = replace(config, samples=size, values=(half, config.values[0]), metrics=("fid",))
            run = BenchmarkRun(asked, Path(folder) / str(size), listener)
            found += [*_real(run, size), _own(run)]
    return found


def _real(run: BenchmarkRun, size: int) -> list[Floor]:
    try:
        images = real_images(run.model, run.config.data_root).images
    except Unmeasurable as error:
        raise UserError(f"no floor of real images: {error}") from None
    if len(images) < size:
        return []
    import torch

    features = torch.cat([run.extractor(batch.to(run.device)).cpu() for batch in images[:size].split(BATCH)])
    fid = frechet(features, run.reference.statistics)
    se = None if fid.se is None else float(fid.se)
    return [Floor("real test images", size, float(fid.value), se, run.reference.sha256, run.extractor.sha256)]


def _own(run: BenchmarkRun) -> Floor:
    run.execute()
    half, whole = (_value(record) for record in run.records)
    record = run.records[-1]
    about = f"its own samples, {record.sampler} with {record.budget} evaluations"
    return Floor(
        about,
        run.config.samples,
        whole,
        record.metric("fid").se,
        record.reference_sha256,
        record.extractor_sha256,
        record.model_sha256,
        change=whole - half,
    )


def _value(record: Record) -> float:
    value = record.metric("fid").value
    if value is None:
        raise UserError(f"no floor of {record.model}: {record.sampler} at {record.budget}: {record.reason}")
    return value


def write_floors(path: Path, found: Sequence[Floor]) -> None:
    """floors.json, which `samplerbench report` draws. Raises UserError where it cannot be written."""
    text = json.dumps({"floors": [floor.said() for floor in found]}, indent=1) + "\n"
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
