"""Which rows of a results.csv are no longer what a run wrote, by their checksums."""

from __future__ import annotations

import pandas as pd

from ..bench.record import COLUMNS, ENDINGS, SCHEMA, checksum_of

__all__ = ["edited_line"]

LISTED = 5  # lines that are told one by one


def edited_line(name: str, rows: pd.DataFrame) -> str:
    """What to say of rows that were edited or are damaged; '' where there are none. Columns that no run writes do not
    count, and rows of another schema, without a checksum, or of a file without all columns are taken as they are.

    name: of the file. rows: text, None where a field is empty, indexed by their lines.
    """
    if not set(COLUMNS) <= set(rows.columns):
        return ""
    metrics = [one for one in rows.columns if {one + ending for ending in ENDINGS} <= set(rows.columns)]
    names = [*COLUMNS, *(one + ending for one in metrics for ending in ENDINGS)]
    told = rows.loc[(rows["schema"] == str(SCHEMA)) & rows["checksum"].notna(), names]
    bad = [
        line
        for line, values in zip(told.index, told.itertuples(index=False, name=None), strict=True)
        if values[names.index("checksum")] != checksum_of(dict(zip(names, values, strict=True)))
    ]
    if not bad:
        return ""
    which = ", ".join(map(str, bad[:LISTED])) + (f" and {len(bad) - LISTED} more" if len(bad) > LISTED else "")
    what = "the row on line" if len(bad) == 1 else f"{len(bad)} rows, on lines"
    return f"{name}: {what} {which}, {'was' if len(bad) == 1 else 'were'} edited or damaged since the run, by checksum"
