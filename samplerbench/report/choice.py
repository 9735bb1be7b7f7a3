"""Which rows of a results file count: chosen by rules that are stated, and what they leave out is said.

1. `--where COLUMN=VALUE` keeps the rows that have the value.
2. Of one cell the newest row counts.
3. Cells with the most samples count; a metric's bias depends on their number.
4. Of each sampler the code of its newest row counts.
5. What is left has one model, extractor, reference, rounding, seed, precision and code of the metric, or is refused
   with the choice to make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np
import pandas as pd

from ..errors import UserError, unknown
from ..options import same_spec
from ..registry import Registry
from .age import newest, of_older_code
from .results import Results, measured, pooled
from .said import unfinished

__all__ = ["CONDITIONS", "Where", "axis_of", "canonical", "cells", "check_one_table", "choose", "configuration"]

CONFIGURATION = ("sampler", "spacing", "final")
# the conditions that all rows of a table share, each with the column that names it to people
CONDITIONS = {
    "model_sha256": "model",
    "extractor_sha256": "extractor",
    "reference_sha256": "",
    "quantise": "",
    "seed": "",
    "asked_sha256": "",
    "dtype": "",
    "compiled": "",
}
SHORT = 8  # characters of a hash, where they tell it apart
LISTED = 20  # values that an error lists


@dataclass(frozen=True)
class Where:
    """Rows to keep: those with `value` in `column`; an empty value is an empty field, a hash may be shortened."""

    column: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Where:
        """Of 'COLUMN=VALUE'. Raises UserError."""
        column, equals, value = text.partition("=")
        if not equals or not column:
            raise UserError(f"--where is COLUMN=VALUE, like samples=1024, got '{text}'")
        return cls(column.strip(), value.strip())

    def __str__(self) -> str:
        return f"--where {self.column}={self.value}"

    def fits(self, rows: pd.DataFrame, spelled: Callable[[str], str]) -> pd.Series:
        """[rows]; `spelled` gives a sampler's name as the rows have it. Raises UserError for text where the column has
        numbers.
        """
        if self.column not in rows.columns:
            return pd.Series(self.value == "", index=rows.index)
        values = rows[self.column]
        if self.column == "guidance":
            return values == ("" if self.value == "1" else self.value)
        if self.value == "":
            return values.isna()
        if values.dtype.kind in "fi":
            try:
                return values == float(self.value)
            except ValueError:
                raise UserError(f"{self}: {self.column} is a number, got '{self.value}'") from None
        if self.column == "key" or self.column.endswith("_sha256"):
            return values.str.startswith(self.value.lower()).fillna(False).astype(bool)
        if self.column != "sampler":
            return values == self.value
        wanted = self.value, spelled(self.value)
        return values.isin([name for name in values.unique() if any(same_spec(str(name), one) for one in wanted)])


def choose(
    files: Sequence[Results], registry: Registry, where: Sequence[Where] = (), force: bool = False
) -> list[Results]:
    """Each file with the rows that count, and notes of what was left out. Samplers are spelled in one way.

    force: neither fewer samples, older code nor other conditions leave a row out. Raises UserError for columns and
    values that no file has, and where rule 5 is broken.
    """
    spelled = [one.every["sampler"].unique() for one in files]
    names = canonical({str(name) for each in spelled for name in each}, registry)
    files = [replace(one, notes=(*one.notes, *unfinished(one))) for one in files]
    files = [replace(one, every=one.every.assign(sampler=one.every["sampler"].map(names))) for one in files]
    if where:
        files = _filtered(files, registry, where)
    files = [_on_one_axis(one) for one in files]
    if not force:  # the code first: a newer row of it may lack the metric
        files = [_of_newest_code(_with_most_samples(one)) for one in files]
    files = [_in_order(_newest(one)) for one in files]
    if force:
        return files
    for one in files:
        _refuse(one.name, "holds", conflicts(one.every, one.metric))
    return files


def canonical(specs: Iterable[str], registry: Registry) -> dict[str, str]:
    """Each sampler as `run` would write it: aliases resolved, options in order, defaults left out. As it stands where
    we have none of that name, or it takes no such options.
    """
    known = {name for r in registry.samplers for name in (r.cls.name, *r.cls.aliases)}
    found = {}
    for spec in specs:
        found[spec] = spec
        if spec.partition(":")[0] in known:
            try:
                found[spec] = registry.sampler(spec).spec()
            except Exception:  # of a plugin's making, too: here a sampler is but a name
                continue
    return found


def axis_of(rows: pd.DataFrame) -> str:
    """The column that was asked for: `budget`, or `steps`; `nfe` where a file has neither."""
    for name in ("budget", "steps"):
        if name in rows.columns and rows[name].notna().any():
            return name
    return "nfe"


def configuration(sampler: str, spacing: str = "", guidance: str = "") -> str:
    """How people are told what drew a cell: 'ddim (quadratic), guidance 4'. The spacing is left out where the sampler's
    options say it.
    """
    name = f"{sampler} ({spacing})" if spacing and "spacing=" not in sampler else sampler
    return f"{name}, guidance {guidance}" if guidance else name


def cells(count: int) -> str:
    """'1 cell', '2 cells'."""
    return f"{count} cell{'' if count == 1 else 's'}"


def _noted(results: Results, kept: pd.Series, text: str = "") -> Results:
    """The rows `kept`, with a note where there are others."""
    if kept.all():
        return results
    count = int((~kept).sum())
    notes = (f"{results.name}: {cells(count)} {text}",) if text else ()
    return replace(results, every=results.every[kept], notes=(*results.notes, *notes))


def _filtered(files: Sequence[Results], registry: Registry, where: Sequence[Where]) -> list[Results]:
    everything = pooled(files)

    def spelled(name: str) -> str:
        return canonical([name], registry)[name]

    for one in where:
        if one.column not in everything.columns or one.column == "file":
            raise unknown("column", one.column, [name for name in everything.columns if name != "file"])
        if not one.fits(everything, spelled).any():
            raise _unknown_value(one, everything[one.column])
    chosen = []
    for results in files:
        kept = pd.Series(True, index=results.every.index)
        for column in dict.fromkeys(one.column for one in where):  # two values of a column: either
            fits = [one.fits(results.every, spelled) for one in where if one.column == column]
            kept &= np.logical_or.reduce(fits)
        text = f"{results.name}: no row fits {' '.join(map(str, where))}"
        notes = results.notes if kept.any() else (*results.notes, text)
        chosen.append(replace(results, every=results.every[kept], notes=notes))
    return chosen


def _unknown_value(where: Where, column: pd.Series) -> UserError:
    values = [_shown(where.column, value) for value in column.dropna().unique()]
    if len(values) <= LISTED:
        return unknown(f"value of {where.column}", where.value, set(values))
    near = get_close_matches(where.value, values, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return UserError(f"unknown value of {where.column} '{where.value}'{hint} ({len(values)} are known)")


def _shown(column: str, value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if column == "guidance":
        return str(value) or "1"
    return str(value)[:12] if column.endswith("_sha256") or column == "key" else str(value)


def _on_one_axis(results: Results) -> Results:
    """Without the rows that the file's axis does not place: those of `--steps` among budgets."""
    axis = axis_of(results.every)
    text = f"without {axis} left out (--where {axis}= shows them)"
    return _noted(results, results.every[axis].notna() if axis != "nfe" else _all(results), text)


def _in_order(results: Results) -> Results:
    """The cells of a configuration by their number of evaluations, or steps, where the first of them is: a later run
    into the same folder may have put 6 behind 10.
    """
    rows = results.every
    names = [name for name in (*CONFIGURATION, "guidance") if name in rows.columns]
    first = rows.groupby(names, dropna=False, sort=False).ngroup()
    order = pd.DataFrame({"configuration": first, "at": rows[axis_of(rows)]}).sort_values(
        ["configuration", "at"], kind="stable"
    )
    return replace(results, every=rows.loc[order.index])


def _all(results: Results) -> pd.Series:
    return pd.Series(True, index=results.every.index)


def _newest(results: Results) -> Results:
    rows = results.every
    names = (*CONFIGURATION, "guidance", axis_of(rows), *CONDITIONS, *filter(None, CONDITIONS.values()), "samples")
    kept = newest(rows, [name for name in names if name in rows.columns], results.metric)
    return _noted(results, kept, "more than once; the newest row of each counts")


def _with_most_samples(results: Results) -> Results:
    rows = results.every
    if "samples" not in rows.columns:
        return results
    with_value = rows[measured(rows, results.metric)]
    most = (with_value if len(with_value) else rows)["samples"].max()
    kept = rows["samples"].isna() | (rows["samples"] == most)
    if pd.isna(most) or kept.all():
        return results
    others = sorted(rows["samples"][~kept].unique(), reverse=True)
    show = " or ".join(f"--where samples={count:.0f}" for count in others)
    fewer = "fewer" if others[0] < most else "other numbers of"
    return _noted(results, kept, f"with {fewer} samples than {most:.0f} left out ({show} shows them)")


def _of_newest_code(results: Results) -> Results:
    older, lines = of_older_code(results.every, axis_of(results.every), results.metric)
    notes = (*results.notes, *(f"{results.name}: {line}" for line in lines))
    return replace(results, every=results.every[~older], notes=notes)


def conflicts(rows: pd.DataFrame, metric: str, also: Sequence[str] = ()) -> dict[str, list[str]]:
    """The columns in which the rows differ though they must not, each with its values, those to be typed first."""
    found: dict[str, list[str]] = {}
    conditions: Mapping[str, str] = {**CONDITIONS, f"{metric}_sha256": "", **dict.fromkeys(also, "")}
    for column, name in conditions.items():
        known = rows[column] if column in rows.columns else pd.Series(None, index=rows.index, dtype=object)
        values = known.dropna().unique().tolist()
        if len(values) > 1:
            found[column] = [_with_name(rows[known == value], column, name, value, values) for value in values]
        elif name in rows.columns and known.isna().any() and rows[name].nunique() > 1:
            named = rows[name].dropna()
            found[name] = [f"{value} ({cells(int((named == value).sum()))})" for value in named.unique()]
    return found


def _with_name(rows: pd.DataFrame, column: str, name: str, value: object, values: Sequence[object]) -> str:
    text = _shown(column, value)
    if column.endswith("_sha256"):
        length = next((n for n in range(SHORT, 64) if len({str(v)[:n] for v in values}) == len(values)), 64)
        text = str(value)[:length]
    names = [str(n) for n in rows[name].dropna().unique()[:1]] if name in rows.columns else []
    return f"{text} ({', '.join([*names, cells(len(rows))])})"


def _refuse(who: str, verb: str, found: Mapping[str, Sequence[str]]) -> None:
    """Raises UserError where there is a choice to make."""
    if found:
        differing = "; ".join(f"{column} {' or '.join(values)}" for column, values in found.items())
        choice = " ".join(f"--where {column}={values[0].partition(' (')[0]}" for column, values in found.items())
        raise UserError(f"{who} {verb} rows that do not compare: {differing}; choose, like {choice}, or --force")


def check_one_table(files: Sequence[Results]) -> None:
    """Raises UserError where the rows of several files differ in what one table must have in common."""
    if len(files) > 1:
        names = " and ".join(one.name for one in files)
        _refuse(names, "hold", conflicts(pooled(files), files[0].metric, also=["samples"]))
