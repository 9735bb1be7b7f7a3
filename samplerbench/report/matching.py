"""Which cells are set against which: those of two files, or of one file and its baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

import pandas as pd

from ..errors import UserError, unknown
from ..options import same_spec
from ..registry import Registry
from ..sampler import Sampler
from .choice import CONDITIONS, CONFIGURATION, LISTED, canonical, cells, configuration
from .results import Results

__all__ = ["Matched", "match", "match_baseline"]

# What two results may differ in because it is what is compared; conditions in which two FIDs must agree to mean
# anything together; and those that are worth knowing.
VARIED = ("model", "samples", "seed", "dtype", "guidance")
DECISIVE = ("samples", "extractor_sha256", "reference_sha256", "quantise")
OTHERS = ("model_sha256", "seed", "guidance", "asked_sha256", "dtype", "compiled", "device", "torch", "samplerbench")
SAMPLERS = 8  # that a line names


@dataclass(frozen=True)
class Matched:
    """Which rows of a pool are set against which.

    Attributes:
        base, other: what the user calls the two.
        pairs: the labels in the pool's index of a base row and another.
        only_base, only_other: the cells without a counterpart, a text a sampler.
        warnings: conditions that differ, and what is not known; decisive: those among them that make differences
            meaningless.
    """

    base: str
    other: str
    pairs: list[tuple[int, int]]
    only_base: list[str]
    only_other: list[str]
    warnings: list[str]
    decisive: list[str]


def match(pool: pd.DataFrame, files: Sequence[Results], file: int, axis: str) -> Matched:
    """The rows of `files[file]` and those of the first: the same sampler with the same options, spacing and last step,
    at equal `axis`. `pool` has the rows of both, and their number as `file`.
    """
    sides = [pool[pool["file"] == i] for i in (0, file)]
    columns = [one.every.columns for one in (files[0], files[file])]
    both = [name for name in (*CONFIGURATION, *VARIED) if name in columns[0] and name in columns[1]]
    if "guidance" in pool.columns and "guidance" not in both:  # one of the files is older, and has none
        both.append("guidance")
    # where no value is common, two models, counts or seeds are being compared, and the warnings say so
    keys = [*(n for n in both if n not in VARIED or set(sides[0][n]) & set(sides[1][n])), axis]
    names = files[0].name, files[file].name
    if "guidance" in both and "guidance" not in keys:
        _one_guidance(names, sides)
    left, right, notes = *(_once(rows, keys) for rows in sides), []
    for name, side, rows in zip(names, sides, (left, right), strict=True):
        if again := len(side) - len(rows):
            notes.append(f"{name}: {cells(again)} twice at equal {axis}; the last of each counts")
    merged = _merged(left, right, keys)
    pairs = _pairs(merged, "base")
    found = [pool.loc[[pair[side] for pair in pairs]] if pairs else sides[side] for side in (0, 1)]
    warnings, decisive = _conditions(names, found, files[0].metric)
    only_base, only_other = _labels(pool, merged, "base", "other"), _labels(pool, merged, "other", "base")
    return Matched(*names, pairs, only_base, only_other, [*warnings, *notes], decisive)


def match_baseline(
    pool: pd.DataFrame, name: str, baseline: str, registry: Registry, axis: str, missing: Mapping[str, str]
) -> Matched:
    """All rows of one file, called `name`, and those of its sampler `baseline` at equal `axis`. Raises UserError where
    there is no such sampler, or it stands for several configurations.

    missing: the samplers of the file that the pool has no row of, and why.
    """
    ours, called = _configuration(pool, baseline, registry, missing)
    keys = [axis, *(column for column in VARIED if column in pool.columns)]
    base = _once(pool[ours], keys)
    again = int(ours.sum()) - len(base)
    notes = [f"{called}: {cells(again)} twice at equal {axis}; the last of each counts"] if again else []
    merged = _merged(base, pool[~ours], keys)
    return Matched(called, name, _pairs(merged, "other"), [], _labels(pool, merged, "other", "base"), notes, [])


def _one_guidance(names: Sequence[str], sides: Sequence[pd.DataFrame]) -> None:
    """Raises UserError where none of several guidances is common to both, so that there is no telling which two cells
    are meant.
    """
    found = [[str(value) or "1" for value in rows["guidance"].unique()] for rows in sides]
    for name, values in zip(names, found, strict=True):
        if len(values) > 1:
            choice = " ".join(f"--where guidance={first}" for first, *_ in found)
            raise UserError(
                f"{' and '.join(names)} have no guidance in common, and {name} has {' and '.join(values)}; choose one "
                f"of each, like {choice}"
            )


def _labels(pool: pd.DataFrame, merged: pd.DataFrame, side: str, without: str) -> list[str]:
    """The rows that have no counterpart, a text a sampler: sampler, spacing, all evaluations."""
    rows = pool.loc[sorted(merged[side][merged[without].isna()])].reindex(
        columns=["sampler", "spacing", "guidance", "nfe"]
    )
    found: dict[str, list[str]] = {}
    for sampler, spacing, guidance, nfe in zip(*(rows[name].tolist() for name in rows.columns), strict=True):
        on, by = "" if pd.isna(spacing) else spacing, "" if pd.isna(guidance) else guidance
        found.setdefault(configuration(sampler, on, by), []).append(f"{nfe:g}")
    return [f"{name} at {', '.join(dict.fromkeys(counts))}" for name, counts in found.items()]


def _once(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The last of the rows that the keys do not tell apart."""
    return rows.drop_duplicates(keys, keep="last")


def _merged(base: pd.DataFrame, other: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """A row a pair: the labels `base` and `other`, NaN where one has no counterpart."""
    left, right = (rows[keys].assign(**{side: rows.index}) for side, rows in (("base", base), ("other", other)))
    return left.merge(right, on=keys, how="outer")


def _pairs(merged: pd.DataFrame, order: str) -> list[tuple[int, int]]:
    whole = merged[["base", "other"]].dropna().astype(int).sort_values(order)
    return list(zip(whole["base"].tolist(), whole["other"].tolist(), strict=True))


def _conditions(names: Sequence[str], sides: Sequence[pd.DataFrame], metric: str) -> tuple[list[str], list[str]]:
    """What differs between two results, and which of it makes the metric incomparable."""
    warnings, decisive = [], []
    for column in (*DECISIVE, *OTHERS, f"{metric}_sha256"):
        silent = [
            name
            for name, rows in zip(names, sides, strict=True)
            if column not in rows.columns or rows[column].isna().all()
        ]
        if silent:
            if column in DECISIVE:
                warnings.append(f"{' and '.join(silent)} does not say its {column}")
            continue
        sets = [sorted({_shown(rows, column, value) for value in rows[column].dropna().unique()}) for rows in sides]
        if sets[0] != sets[1]:
            text = f"{column}: {', '.join(sets[0])} against {', '.join(sets[1])}"
            warnings.append(text)
            if column in DECISIVE and not set(sets[0]) & set(sets[1]):
                decisive.append(text)
    return [*warnings, *_codes(names, sides)], decisive


def _codes(names: Sequence[str], sides: Sequence[pd.DataFrame]) -> list[str]:
    """The samplers whose code is another in one result than in the other."""
    if not all("sampler_sha256" in rows.columns for rows in sides):
        return []
    base, other = ({name: set(code) for name, code in _known_codes(rows)} for rows in sides)
    changed = [name for name in base if name in other and base[name] != other[name]]
    if not changed:
        return []
    listed = ", ".join(changed[:SAMPLERS]) + (f" and {len(changed) - SAMPLERS} more" if len(changed) > SAMPLERS else "")
    return [f"{listed}: other code in {names[1]} than in {names[0]} (sampler_sha256 says which)"]


def _known_codes(rows: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Each sampler that says its code, with the hashes of it."""
    known = rows[rows["sampler_sha256"].notna()]
    return [
        (str(name), group.unique().tolist()) for name, group in known.groupby("sampler", sort=False)["sampler_sha256"]
    ]


def _shown(rows: pd.DataFrame, column: str, value: object) -> str:
    """A condition's value; of a hash its beginning, after the name that the rows have for it."""
    if isinstance(value, float):
        return f"{value:g}"
    if column == "guidance":
        return str(value) or "1"
    named = CONDITIONS.get(column, "")
    names: list[str] = rows[named][rows[column] == value].dropna().unique().tolist() if named in rows.columns else []
    return f"{' or '.join(names)} ({str(value)[:12]})" if len(names) else str(value)[:12]


def _configuration(
    rows: pd.DataFrame, baseline: str, registry: Registry, missing: Mapping[str, str]
) -> tuple[pd.Series, str]:
    """[rows], which are the baseline's; and its name."""
    spec = canonical([baseline], registry)[baseline]
    sampler = _sampler(spec, registry)
    found = rows["sampler"].isin([name for name in rows["sampler"].unique() if same_spec(str(name), spec)])
    if not found.any() and sampler is not None:  # whose grid the file may say in columns of its own
        plain = replace(sampler, spacing=type(sampler)().spacing, rho=None, final=type(sampler)().final).spec()
        found = (rows["sampler"] == plain) & _on_grid_of(rows, sampler)
    if not found.any():
        for name, why in missing.items():
            if same_spec(name, spec):
                raise UserError(f"baseline '{baseline}' {why}")
        raise unknown("baseline", baseline, _nearest(rows["sampler"].unique().tolist(), spec))
    grids = _grids(rows[found])
    if len(grids) > 1 and sampler is not None:
        default = found & _on_grid_of(rows, sampler)
        found = default if default.any() else found
        grids = _grids(rows[found])
    if len(grids) > 1:
        column, values = next((c, v) for c in ("spacing", "final") if len(v := sorted({g[c] for g in grids})) > 1)
        raise UserError(
            f"baseline '{baseline}' is {len(grids)} configurations here: {column} {' or '.join(values)}; choose one "
            f"with --where {column}={values[0]}"
        )
    spacing = grids[0]["spacing"]
    return found, f"{rows['sampler'][found].iloc[0]} ({spacing})" if spacing else spec


def _nearest(names: Sequence[str], spec: str) -> list[str]:
    """Those that an error lists: all, or the most alike."""
    if len(names) <= LISTED:
        return list(names)
    return sorted(names, key=lambda name: SequenceMatcher(None, spec, name).ratio(), reverse=True)[:LISTED]


def _sampler(spec: str, registry: Registry) -> Sampler | None:
    try:
        return registry.sampler(spec)
    except Exception:  # of a plugin's making, too: the name is enough
        return None


def _grids(rows: pd.DataFrame) -> list[dict[str, str]]:
    """The different spacings and last steps; '' where a file does not say them."""
    known = rows.reindex(columns=["spacing", "final"]).astype(object)
    known = known.where(known.notna(), "").drop_duplicates()
    return [{str(name): str(value) for name, value in row.items()} for row in known.to_dict("records")]


def _on_grid_of(rows: pd.DataFrame, sampler: Sampler) -> pd.Series:
    """[rows], whether spacing and last step, as far as the rows say them, are the sampler's."""
    same = pd.Series(True, index=rows.index)
    for name in ("spacing", "final"):
        if name in rows.columns:
            same &= rows[name].isna() | (rows[name] == getattr(sampler, name))
    return same
