"""Which rows are the newest: of each cell, and of each sampler whose code was changed."""

from __future__ import annotations

import pandas as pd

__all__ = ["newest", "of_older_code"]

SHORT = 8  # characters of a hash
REASONS = 5  # that are told one by one


def newest(rows: pd.DataFrame, same: list[str], metric: str) -> pd.Series:
    """[rows], which of those that are equal in the columns `same` is the newest: by its time, or else the later one.
    One that was measured with other metrics only gives way to one with this metric.
    """
    kept = pd.Series(True, index=rows.index)
    if rows.duplicated(same).any():
        positions = _by_age(rows, metric)
        older = rows.iloc[positions].duplicated(same, keep="last").to_numpy()
        kept.iloc[positions[older]] = False
    return kept


def of_older_code(rows: pd.DataFrame, axis: str, metric: str) -> tuple[pd.Series, list[str]]:
    """[rows], which of them other code of their sampler drew than its newest row, whatever was measured of it; and a
    line a sampler that says so where the newest code has no value of the metric, or has it from another file (column
    `file`). A row that does not say its code is
    taken for the newest.
    """
    older = pd.Series(False, index=rows.index)
    if "sampler_sha256" not in rows.columns or not len(rows):
        return older, []
    known = rows.iloc[_by_age(rows)][["sampler", "sampler_sha256"]]
    last = known.groupby("sampler")["sampler_sha256"].last()  # that is known
    newest_code = rows["sampler"].map(last)
    older = rows["sampler_sha256"].notna() & (rows["sampler_sha256"] != newest_code)
    lines = []
    for sampler, group in rows[older & rows[metric].notna()].groupby("sampler", sort=False):
        newer = rows[~older & rows[metric].notna() & (rows["sampler"] == sampler)]
        replaced = group[axis].isin(newer[axis])
        if not replaced.all():
            codes, at = _codes_and_places(group[~replaced], axis)
            lines.append(
                f"{sampler} at {at}: rows of older code of this sampler, or of what it imports, are left out; run them "
                f"again with the same --out ({codes} shows them)"
            )
        if "file" in rows.columns:  # within one run a row that was drawn again is no news
            others = group[replaced & ~group["file"].isin(newer["file"])]
            if len(others):
                codes, at = _codes_and_places(others, axis)
                lines.append(
                    f"{sampler} at {at}: another file has rows of older code of this sampler, of what it imports, or "
                    f"of its file of grids; the newest count ({codes} shows the others)"
                )
    more = [f"and {len(lines) - REASONS} samplers more with rows of older code"] if len(lines) > REASONS else []
    return older, lines[:REASONS] + more


def _codes_and_places(rows: pd.DataFrame, axis: str) -> tuple[str, str]:
    codes = " or ".join(f"--where sampler_sha256={code[:SHORT]}" for code in rows["sampler_sha256"].unique())
    return codes, ", ".join(f"{value:g}" for value in sorted(rows[axis].dropna().unique()))


def _by_age(rows: pd.DataFrame, metric: str | None = None) -> pd.Index:
    """The rows' positions, the newest last; with a metric, rows that were measured with others only before all."""
    finished = rows["finished"] if "finished" in rows.columns else pd.Series(None, index=rows.index, dtype=object)
    counts = pd.Series(True, index=rows.index)
    if metric is not None:
        status = rows["status"].fillna("done") if "status" in rows.columns else pd.Series("done", index=rows.index)
        counts = (status != "done") | rows[metric].notna()
    order = pd.DataFrame(
        {
            "counts": counts.to_numpy(),
            "time": pd.to_datetime(finished, errors="coerce", utc=True, format="ISO8601").to_numpy(),
        }
    )
    return order.sort_values(["counts", "time"], kind="stable", na_position="first").index
