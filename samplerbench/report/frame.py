"""The table of a run as a pandas DataFrame, which a notebook shows as samplers × evaluations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from ..bench.record import records_frame
from .html.tables import results_table
from .results import Results
from .tables import conditions_line, table
from .words import reason_lines, table_captions, table_title

if TYPE_CHECKING:
    from ..bench.run import BenchmarkRun
    from ..metrics.metric import Metric

__all__ = ["RunFrame", "run_frame"]

STYLE = (
    "<style>.samplerbench td b{font-weight:700}.samplerbench td small{opacity:.7}"
    ".samplerbench p{margin:.3em 0;white-space:normal}</style>"
)


class RunFrame(pd.DataFrame):
    """The rows of a run. Whatever is made of it is a DataFrame like any other."""

    _metadata = ["_show"]  # noqa: RUF012 (pandas asks for a list)
    _show: Callable[[], str] | None = None

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str | None:
        return self._show() if self._show else pd.DataFrame(self)._repr_html_()  # type: ignore[operator]


def run_frame(run: BenchmarkRun) -> RunFrame:
    """The rows of a run, and how a notebook shows them."""
    rows = records_frame(run.records, run.config.metrics)
    frame = RunFrame(rows)
    results = [Results(str(run.store.out), rows, run.store.out, metric.name) for metric in run.metrics]
    frame._show = partial(html_of, results, run.metrics)  # only where it is wanted: the statistics take their time
    return frame


def html_of(results: list[Results], metrics: list[Metric]) -> str:
    """A table a metric, then what holds for all of them."""
    parts, reasons = [STYLE], []
    for one, metric in zip(results, metrics, strict=True):
        found = table([one], metric)
        lines = [table_title(found), *found.notes]
        parts += [f"<p>{escape(line)}</p>" for line in lines]
        parts += [results_table(found), *(f"<p>{escape(line)}</p>" for line in table_captions(found, "Bold"))]
        reasons = [line for _, line in reason_lines(found.reasons)]
    parts += [f"<p>{escape(line)}</p>" for line in (conditions_line(results[0].every), *reasons)]
    return f'<div class="samplerbench">{"".join(parts)}</div>'
