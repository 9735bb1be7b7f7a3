"""The outcome of a cell: one row of results.csv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

__all__ = ["COLUMNS", "SCHEMA", "Record", "Value", "columns_of", "metrics_in"]

SCHEMA = 2  # of results.csv; raised where a column changes its name or meaning, so that no number is read as another


@dataclass(frozen=True)
class Value:
    """A metric's value in a row: with its standard error, and the count it was computed from; what is not known is
    None.
    """

    value: float | None = None
    se: float | None = None
    n: int | None = None


@dataclass
class Record:
    """One cell's outcome and the conditions it was measured under. Fields are the columns of results.csv, described in
    `COLUMNS`; a metric is three columns more: its name, its name with `_se` and with `_n`.
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
    samples: int | None = None
    seed: int | None = None
    batch_size: int | None = None
    device: str = ""
    dtype: str = ""
    quantise: str = "round-half-up"
    extractor: str = ""
    reference_count: int | None = None
    reference_features: int | None = None
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
    schema: int = SCHEMA
    metrics: dict[str, Value] = field(default_factory=dict)

    def metric(self, name: str) -> Value:
        """A metric's value; all None where it was not measured."""
        return self.metrics.get(name, Value())

    @classmethod
    def from_row(cls, row: dict[str, str]) -> Record:
        """The record of a row as read from results.csv. Raises ValueError where a value is not of its column's type."""
        values: dict[str, Any] = {}
        for column in fields(cls):
            if column.name != "metrics":
                values[column.name] = _read(row[column.name], str(column.type))
        metrics = {
            name: Value(_read(row[name], "float"), _read(row[f"{name}_se"], "float"), _read(row[f"{name}_n"], "int"))
            for name in metrics_in(list(row))
        }
        if values["schema"] != SCHEMA:
            raise ValueError(f"it says schema {values['schema']}")
        return cls(**values, metrics=metrics)

    def row(self, metrics: Sequence[str]) -> dict[str, Any]:
        """Plain values by column; what does not apply is None."""
        plain = asdict(self)
        del plain["metrics"]
        for name in metrics:
            value = self.metric(name)
            plain |= {name: value.value, f"{name}_se": value.se, f"{name}_n": value.n}
        return {name: plain[name] for name in columns_of(metrics)}


def _read(text: str, kind: str) -> Any:
    if kind == "str":
        return text
    return None if text == "" else int(text) if kind.startswith("int") else float(text)


def columns_of(metrics: Sequence[str]) -> list[str]:
    """The columns of results.csv, in order: what the cell is, its metrics, the conditions."""
    names = list(COLUMNS)
    at = names.index("samples")
    return [*names[:at], *(f"{name}{ending}" for name in metrics for ending in ("", "_se", "_n")), *names[at:]]


def metrics_in(columns: Sequence[str]) -> list[str]:
    """The metrics among columns. Raises ValueError where those are not a row's columns."""
    others = [name for name in columns if name not in COLUMNS]
    metrics = [name for name in others if f"{name}_se" in others and f"{name}_n" in others]
    if columns_of(metrics) != list(columns):
        raise ValueError("its columns are others")
    return metrics


COLUMNS = {
    "model": "name of the model",
    "sampler": "the sampler as on the command line, options that differ from their defaults only",
    "spacing": "how the grid's times are spaced",
    "final": "where the last step ends: zero (the data) or none (the schedule's smallest time)",
    "budget": "network evaluations allowed (empty with --steps)",
    "steps": "steps of the grid",
    "nfe": "network evaluations a sample, counted",
    "status": "done, skipped or failed",
    "reason": "why a cell was skipped or failed, or a metric is empty",
    "samples": "samples of the cell",
    "seed": "seed of x_T and of every later draw",
    "batch_size": "samples at once; does not change them but for rounding",
    "device": "where the network ran",
    "dtype": "precision of the network",
    "quantise": "how samples became uint8",
    "extractor": "feature extractor",
    "reference_count": "real images in the reference statistics; empty where the file does not say",
    "reference_features": "real images whose features kid, precision and recall compare with",
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
    "schema": "version of this list of columns",
}

assert [*COLUMNS, "metrics"] == [f.name for f in fields(Record)]
