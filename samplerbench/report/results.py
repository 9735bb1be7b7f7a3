"""Reading results: any CSV with the columns that are needed, a person's edits included."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..errors import UserError

__all__ = ["Results", "conditions", "read_results"]

NEEDED = ("sampler", "nfe")
# conditions in which two FIDs must agree to mean anything together, and those that are worth knowing
DECISIVE = ("samples", "extractor_sha256", "reference_sha256", "quantise")
OTHERS = ("model_sha256", "seed", "dtype", "device", "torch", "samplerbench", "sampler_sha256")


@dataclass(frozen=True)
class Results:
    """What a file holds of a metric: rows that have it, all rows (skipped and failed cells too), and the run folder
    that the file lies in.
    """

    name: str
    rows: pd.DataFrame
    every: pd.DataFrame
    folder: Path
    metric: str


def read_results(path: Path, metric: str = "fid") -> Results:
    """The rows of a results.csv, or of the one in a run's folder. Raises UserError where it is none, or lacks the
    metric.
    """
    file = path / "results.csv" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"no results at {path}: expected a CSV file, or a run's folder with results.csv")
    try:
        every = pd.read_csv(file)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not a CSV file: {error}") from None
    missing = [name for name in (*NEEDED, metric) if name not in every.columns]
    if missing:
        raise UserError(f"{file} lacks the column {' and '.join(missing)}; it has {', '.join(map(str, every.columns))}")
    for name in ("nfe", "budget", "steps", metric, f"{metric}_se", "samples"):
        if name in every.columns:
            numbers = pd.to_numeric(every[name], errors="coerce")
            bad = every.index[numbers.isna() & every[name].notna()]
            if len(bad):
                raise UserError(f"{file}, line {bad[0] + 2}: {name} is a number, got '{every[name][bad[0]]}'")
            every[name] = numbers
    rows = every[every["status"] == "done"] if "status" in every.columns else every
    return Results(str(path), rows[rows[metric].notna()].reset_index(drop=True), every, file.parent, metric)


def conditions(base: Results, other: Results) -> tuple[list[str], list[str]]:
    """What differs between two results, and which of it makes FIDs incomparable."""
    warnings, decisive = [], []
    for name in (*DECISIVE, *OTHERS):
        absent = [r.name for r in (base, other) if name not in r.rows.columns]
        if absent:
            if name in DECISIVE:
                warnings.append(f"{' and '.join(absent)} does not say its {name}")
            continue
        sets = [sorted({str(value)[:12] for value in r.rows[name].dropna()}) for r in (base, other)]
        if sets[0] != sets[1]:
            text = f"{name}: {', '.join(sets[0]) or 'none'} against {', '.join(sets[1]) or 'none'}"
            warnings.append(text)
            if name in DECISIVE and not set(sets[0]) & set(sets[1]):
                decisive.append(text)
    return warnings, decisive
