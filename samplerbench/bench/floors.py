"""Floors of FID: what real test images have, of a latent model after its encoder and decoder too, and what a model's
own samples have where its ODE is solved well.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import write_whole
from ..metrics.floor import reconstruction_floor
from ..metrics.frechet_error import frechet
from ..metrics.measured import Measured, Unmeasurable
from ..models.formats.format import Coder
from ..models.latents import through
from .execute import Listener
from .measure import real_images
from .plan import RunConfig
from .record import Record
from .run import BenchmarkRun

__all__ = ["Floor", "floors", "write_floors"]

BATCH = 256


@dataclass(frozen=True)
class Floor:
    """An FID that stands beside a model's. se: its standard error. change: how much more that is than what it is
    held `against`: of the model's own samples those of half the evaluations, from the same noise; of images through
    encoder and decoder the images themselves. The hashes are those of the rows that it stands beside; model_sha256
    is None where the model plays no part, asked_sha256 where nothing was asked for.
    """

    about: str
    samples: int
    value: float
    se: float | None
    reference_sha256: str
    extractor_sha256: str
    model_sha256: str | None = None
    asked_sha256: str | None = None
    change: float | None = None
    against: str = "half the evaluations"

    def said(self) -> dict[str, Any]:
        """As it stands in floors.json."""
        known = {name: value for name, value in vars(self).items() if name not in ("change", "against")}
        if known["asked_sha256"] is None:
            del known["asked_sha256"]
        return {"about": known.pop("about"), "metric": "fid", **known}


def floors(config: RunConfig, sizes: Sequence[int], listener: Listener) -> list[Floor]:
    """The floors of a model for cells of so many samples: of its data's first test images, where there are as many,
    as they are and of a latent model after its encoder and decoder; and of its own samples, with each guidance.

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
            found += [*_real(run, size), *_own(run)]
    return found


def _real(run: BenchmarkRun, size: int) -> list[Floor]:
    try:
        images = real_images(run.model, run.config.data_root).images
    except Unmeasurable as error:
        raise UserError(f"no floor of real images: {error}") from None
    if len(images) < size:
        return []
    images, statistics, coder = images[:size], run.reference.statistics, run.model.checkpoint.decoder
    beside = run.reference.sha256, run.extractor.sha256
    if not isinstance(coder, Coder):
        import torch

        features = torch.cat([run.extractor(batch.to(run.device)).cpu() for batch in images.split(BATCH)])
        return [Floor(REAL, size, *_of(frechet(features, statistics)), *beside)]
    coder.module.to(run.device)
    found = reconstruction_floor(images, partial(through, coder), run.extractor, statistics)
    return [
        Floor(REAL, size, *_of(found.before), *beside),
        Floor(
            f"{REAL} through its encoder and decoder",
            size,
            *_of(found.through),
            *beside,
            run.model.sha256,
            change=found.cost.delta,
            against="the images themselves",
        ),
    ]


REAL = "real test images"


def _of(fid: Measured) -> tuple[float, float | None]:
    return float(fid.value), None if fid.se is None else float(fid.se)


def _own(run: BenchmarkRun) -> list[Floor]:
    run.execute()
    found = []
    for half, record in zip(run.records[::2], run.records[1::2], strict=True):
        guided = f", guidance {record.guidance or '1'}" if record.guidance or len(run.records) > 2 else ""
        whole = _value(record)
        found.append(
            Floor(
                f"its own samples, {record.sampler} with {record.budget} evaluations{guided}",
                run.config.samples,
                whole,
                record.metric("fid").se,
                record.reference_sha256,
                record.extractor_sha256,
                record.model_sha256,
                record.asked_sha256 or None,
                change=whole - _value(half),
            )
        )
    return found


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
