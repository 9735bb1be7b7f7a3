"""The outcome of a cell: one row of results.csv."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["COLUMNS", "Record"]


@dataclass
class Record:
    """One cell's outcome and the conditions it was measured under. Fields are the columns of results.csv, described in
    `COLUMNS`.
    """

    model: str
    sampler: str
    spacing: str
    final: str
    budget: int | None
    steps: int | None
    nfe: float | None = None
    status: str = "done"
    reason: str = ""
    fid: float | None = None
    fid_se: float | None = None
    samples: int | None = None
    seed: int | None = None
    batch_size: int | None = None
    device: str = ""
    dtype: str = ""
    quantise: str = "round-half-up"
    extractor: str = ""
    reference_count: int | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    model_sha256: str = ""
    sampler_sha256: str = ""
    extractor_sha256: str = ""
    reference_sha256: str = ""
    torch: str = ""
    samplerbench: str = ""
    finished: str = ""
    cached: int | None = None
    key: str = ""

    @classmethod
    def from_row(cls, row: dict[str, str]) -> Record:
        """The record of a row as read from results.csv. Raises ValueError where a value is not of its column's type."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            text, kind = row[field.name], str(field.type)
            if kind == "str":
                values[field.name] = text
            else:
                values[field.name] = None if text == "" else int(text) if kind.startswith("int") else float(text)
        return cls(**values)

    def row(self) -> dict[str, Any]:
        """Plain values in the order of the columns; what does not apply is None."""
        return asdict(self)


COLUMNS = {
    "model": "name of the model",
    "sampler": "the sampler as on the command line, options that differ from their defaults only",
    "spacing": "how the grid's times are spaced",
    "final": "where the last step ends: zero (the data) or none (the schedule's smallest time)",
    "budget": "network evaluations allowed (empty with --steps)",
    "steps": "steps of the grid",
    "nfe": "network evaluations a sample, counted",
    "status": "done, skipped or failed",
    "reason": "why a cell was skipped or failed",
    "fid": "Fréchet distance to the reference statistics; lower is better",
    "fid_se": "its standard error from the sampling; empty where there are fewer samples than 4 times the features",
    "samples": "samples the figure was computed from",
    "seed": "seed of x_T and of every later draw",
    "batch_size": "samples at once; does not change them but for rounding",
    "device": "where the network ran",
    "dtype": "precision of the network",
    "quantise": "how samples became uint8",
    "extractor": "feature extractor",
    "reference_count": "real images in the reference statistics",
    "seconds": "wall time of the cell, features included",
    "images_per_second": "samples over seconds",
    "model_sha256": "hash of the model's config and weights",
    "sampler_sha256": "hash of the plugin's source file",
    "extractor_sha256": "hash of the extractor's weights",
    "reference_sha256": "hash of the reference file",
    "torch": "version",
    "samplerbench": "version",
    "finished": "UTC time at which the cell ended",
    "cached": "how many of the samples were there from an earlier run",
    "key": "hash of everything the cell's samples and features depend on",
}

assert list(COLUMNS) == [f.name for f in fields(Record)]
