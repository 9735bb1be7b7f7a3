"""Which rows of a results.csv are no longer what a run wrote, by their checksums."""

from __future__ import annotations

import pandas as pd

from ..bench.record import checksum_of

__all__ = ["edited_line"]

LISTED = 5  # lines that are told one by one


def edited_line(name: str, rows: pd.DataFrame) -> str:
    """What to say of rows that were edited or are damaged, also by columns that were added or taken away; '' where
    there are none. Rows without a checksum are taken as they are.

    name: of the file. rows: text, None where a field is empty, indexed by their lines.
    """
    if "checksum" not in rows.columns:
        return ""
    told, names = rows[rows["checksum"].notna()], list(rows.columns)
    bad = [
        line
        for line, checksum, *values in told.assign(was=told["checksum"])[["was", *names]].itertuples(name=None)
        if checksum != checksum_of(dict(zip(names, values, strict=True)))
    ]
    if not bad:
        return ""
    if len(bad) == 1:
        return f"{name}: the row on line {bad[0]} was edited or damaged since it was written, by its checksum"
    which = ", ".join(map(str, bad[:LISTED])) + (f" and {len(bad) - LISTED} more" if len(bad) > LISTED else "")
    return f"{name}: {len(bad)} rows were edited or damaged since they were written, by their checksums (lines {which})"
