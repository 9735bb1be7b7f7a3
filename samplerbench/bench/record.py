"""The outcome of a cell: one row of results.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ..files import content_key

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = [
    "COLUMNS",
    "ENDINGS",
    "PAIRED",
    "SCHEMA",
    "Record",
    "Value",
    "checksum_of",
    "columns_of",
    "metric_columns",
    "metrics_in",
    "records_frame",
    "written",
]

ENDINGS = ("", "_se", "_n", "_sha256")  # of a metric's columns
SCHEMA = 4  # of results.csv; raised where a column changes its name or meaning, so that no number is read as another
PAIRED = 3  # the schema since which rows say what finds their influences
LATER = ("guidance", "asked_sha256")  # columns that older rows lack, as if they were empty


@dataclass(frozen=True)
class Value:
    """A metric's value in a row: with its standard error, the count it was computed from, and the hash of the code
    that computed it; what is not known is None.
    """

    value: float | None = None
    se: float | None = None
    n: int | None = None
    sha256: str | None = None


@dataclass
class Record:
    """One cell's outcome and the conditions it was measured under. Fields are the columns of results.csv, described in
    `COLUMNS`; a metric is four columns more: its name, and its name with `_se`, `_n` and `_sha256`. The checksum is of
    all these.
    """

    model: str
    sampler: str
    spacing: str
    final: str
    budget: int | None
    steps: int | None
    nfe: float | None = None
    passes: float | None = None
    status: str = "done"
    reason: str = ""
    samples: int | None = None
    seed: int | None = None
    guidance: str = ""
    asked_sha256: str = ""
    batch_size: int | None = None
    device: str = ""
    dtype: str = ""
    compiled: str = "no"
    quantise: str = "round-half-up"
    extractor: str = ""
    reference_count: int | None = None
    reference_features: int | None = None
    seconds: float | None = None
    seconds_network: float | None = None
    seconds_sampler: float | None = None
    seconds_decoding: float | None = None
    seconds_features: float | None = None
    seconds_metrics: float | None = None
    seconds_waiting: float | None = None
    images_per_second: float | None = None
    memory_mb: int | None = None
    hardware: str = ""
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
                values[column.name] = _read(
                    row.get(column.name, "") if column.name in LATER else row[column.name], str(column.type)
                )
        metrics = {
            name: Value(
                _read(row[name], "float"),
                _read(row[f"{name}_se"], "float"),
                _read(row[f"{name}_n"], "int"),
                row[f"{name}_sha256"] or None,
            )
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
            plain |= dict(zip(metric_columns(name), (value.value, value.se, value.n, value.sha256), strict=True))
        plain["checksum"] = checksum_of(plain)
        return {name: plain[name] for name in columns_of(metrics)}


def _read(text: str, kind: str) -> Any:
    if kind == "str":
        return text
    return None if text == "" else int(text) if kind.startswith("int") else float(text)


def written(value: Any) -> str:
    """A value as it stands in results.csv."""
    text = "" if value is None else repr(value) if isinstance(value, float) else str(value)
    return text.encode(errors="backslashreplace").decode()  # a plugin's words may be no UTF-8


def checksum_of(row: Mapping[str, Any]) -> str:
    """The checksum of a row's values, or of their text. What is empty does not count: a file has columns for metrics of
    other rows, too.
    """
    said = {name: written(value) for name, value in row.items() if name != "checksum"}
    return content_key({name: text for name, text in said.items() if text})[:16]


def columns_of(metrics: Sequence[str]) -> list[str]:
    """The columns of results.csv, in order: what the cell is, its metrics, the conditions."""
    names = list(COLUMNS)
    at = names.index("samples")
    return [*names[:at], *(column for name in metrics for column in metric_columns(name)), *names[at:]]


def metric_columns(metric: str) -> list[str]:
    """The columns of a metric: its value, standard error, count, and the hash of the code that computed it."""
    return [f"{metric}{ending}" for ending in ENDINGS]


def metrics_in(columns: Sequence[str]) -> list[str]:
    """The metrics among columns. Raises ValueError where those are not a row's columns."""
    others = [name for name in columns if name not in COLUMNS]
    metrics = [name for name in others if all(column in others for column in metric_columns(name))]
    if [c for c in columns_of(metrics) if c not in LATER] != [c for c in columns if c not in LATER]:
        raise ValueError("its columns are others")
    return metrics


def records_frame(records: Sequence[Record], metrics: Sequence[str]) -> DataFrame:
    """Records as a pandas DataFrame."""
    import pandas as pd

    frame = pd.DataFrame([record.row(metrics) for record in records], columns=columns_of(metrics))
    whole = ["budget", "steps", "samples", "batch_size", "reference_count", "reference_features"]
    return frame.astype({name: "Int64" for name in [*whole, *(f"{metric}_n" for metric in metrics)]})


COLUMNS = {
    "model": "name of the model",
    "sampler": "the sampler as on the command line, options that differ from their defaults only",
    "spacing": "how the grid's times are spaced; own is by the sampler itself, file:PATH by a file of grids",
    "final": "where the last step ends: zero (the data), none (the schedule's smallest time), or denoise (as none, and "
    "one evaluation more predicts the data)",
    "budget": "network evaluations allowed (empty with --steps)",
    "steps": "steps of the grid",
    "nfe": "evaluations of ε a sample, counted",
    "passes": "rows through networks a sample, counted; a guided evaluation is two",
    "status": "done, skipped or failed",
    "reason": "why a cell was skipped or failed, or a metric is empty",
    "samples": "samples of the cell",
    "seed": "seed of x_T and of every later draw",
    "guidance": "how ε leans towards what is asked for, as in --guidance; empty without",
    "asked_sha256": "hash of the lines that samples are asked for in turn; empty where the model is asked for nothing",
    "batch_size": "samples at once; does not change them but for rounding",
    "device": "where the network ran",
    "dtype": "precision of the network",
    "compiled": "how torch compiled the network: no, inductor, or graphs",
    "quantise": "how samples became uint8",
    "extractor": "feature extractor, with the options that differ from their defaults",
    "reference_count": "real images in the reference statistics; empty where the file does not say",
    "reference_features": "real images whose features kid, precision and recall compare with",
    "seconds": "work that the cell took, the sum of its parts: no time on the clock, as that of several workers adds "
    "up",
    "seconds_network": "of these, the networks behind ε",
    "seconds_sampler": "of these, the sampler besides: its arithmetic, its noise, counts and checks",
    "seconds_decoding": "of these, the decoder of a latent model",
    "seconds_features": "of these, the feature extractor",
    "seconds_metrics": "of these, the metrics; of the last time that they were measured",
    "seconds_waiting": "of these, what a worker did besides: looking for changes of the model, copies, the disk",
    "images_per_second": "samples over the seconds without metrics: what one worker draws",
    "memory_mb": "most memory that one worker had in use, in 10⁶ bytes: on a GPU torch's while it drew them, on a CPU "
    "the process's since it began",
    "hardware": "what the samples were drawn on",
    "model_sha256": "hash of the model's config and weights",
    "sampler_sha256": "hash of the plugin's code: its module and all that this imports",
    "extractor_sha256": "hash of the extractor's weights; of its options too where it has some, of a plugin's its code",
    "reference_sha256": "hash of the reference file",
    "torch": "version",
    "samplerbench": "version",
    "finished": "UTC time at which the cell ended",
    "cached": "how many of the samples were there already, from an earlier run or a written plan's workers",
    "key": "hash of everything the cell's samples and features depend on",
    "schema": "version of this list of columns",
    "checksum": "of the row; one that was edited is measured again when its run goes on",
}

assert [name for name in COLUMNS if name != "checksum"] == [f.name for f in fields(Record) if f.name != "metrics"]
