"""Views as CSV: plain values, every digit."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..errors import UserError
from .compare import Comparison

__all__ = ["comparison_frame", "write_csv"]


def comparison_frame(comparison: Comparison) -> pd.DataFrame:
    """A row a difference, plain values; the columns are described in results/README.md."""
    rows = []
    for one in comparison.differences:
        judged, difference = one.judged, one.judged.tested.difference
        low, high = judged.tested.interval or (None, None)
        rows.append(
            {
                "sampler": one.sampler,
                "nfe": one.nfe,
                "base": comparison.base,
                "other": comparison.other,
                "spacing": one.spacing,
                "matched_by": comparison.axis,
                "matched_at": one.asked,
                f"{comparison.metric}_base": one.base,
                comparison.metric: one.other,
                "delta": judged.delta_n,
                "delta_inf": judged.delta if difference.extrapolated else None,
                "se": difference.se,
                "low": low,
                "high": high,
                "p": judged.tested.p,
                "family": comparison.family,
                "family_size": judged.size,
                "method": judged.how,
                "verdict": judged.verdict,
            }
        )
    return pd.DataFrame(rows)


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Writes a table where it was asked for."""
    try:
        frame.to_csv(path, index=False)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
