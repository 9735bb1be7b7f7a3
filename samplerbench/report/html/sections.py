"""The parts of a page, each with its words, tables and charts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..compare import CONFIDENT, Comparison
from ..styles import styles
from ..view import Chart, Matrix, Report, Strip, Table
from ..words import comparison_captions, comparison_title, extreme, figure, reason_lines, table_title
from .svg import chart_svg, swatch
from .tables import comparison_table, facts_list, films_table, matrix_table, results_table, strips_table

__all__ = ["Section", "sections"]

Section = tuple[str, str, str]  # id, title, what is in it


def sections(report: Report) -> list[Section]:
    """Those that the report has something for."""
    table = report.table
    every = [
        ("curves", f"{escape(table.title)} against cost", _charts(report)) if report.charts else None,
        ("results-section", "All results", _results(table)),
        ("baseline-section", "Against a baseline", _baseline(report.baseline)) if report.baseline else None,
        ("pairs", "Every pair", _pairs(report.matrices, table.title)) if report.matrices else None,
        ("others", "Other metrics", _others(report.others)) if report.others else None,
        ("samples", "Samples", _samples(report)) if report.strips else None,
        ("films", "From noise to image", _films(report.films, table.axis)) if report.films else None,
        ("conditions", "Conditions", "".join(map(facts_list, report.runs)) + _copy("records", ("csv",), "all rows")),
    ]
    return [one for one in every if one]


def _charts(report: Report) -> str:
    """The legend, which is the switchboard of all charts, and the charts of the metric."""
    first = report.charts[0]
    entries = "".join(
        f'<label><input type="checkbox" checked data-s="{i}">{swatch(style)}<span>{escape(one.label)}</span></label>'
        for i, (one, style) in enumerate(zip(first.series, styles(first.series), strict=True))
    )
    explained = (
        "One colour for the samplers of one family. Dots: first order; a whole line: second; strokes: higher; strokes "
        "and dots: no order is claimed. Hollow markers: stochastic."
    )
    buttons = "".join(
        f'<button type="button" data-all="{on}">{what}</button> ' for on, what in ((1, "all"), (0, "none"))
    )
    legend = (
        f'<fieldset class="legend"><legend>Samplers</legend><p class="js">{buttons}</p>{entries}<p>{explained}</p>'
        "</fieldset>"
    )
    whiskers = (
        f"Whiskers: {CONFIDENT} intervals of each figure by itself. What differs is said by pairs, not by whiskers: "
        "the samplers share their noise."
    )
    fronts = "The line is the best that can be had at a cost. Faded points are behind it; the others may be as good."
    ordered = sorted(report.charts, key=lambda chart: chart.kind)  # curves, then fronts
    drawn = "".join(map(_figure, ordered))
    has_front = any(chart.kind == "front" for chart in report.charts)
    return f'{legend}<p>{whiskers} {fronts if has_front else ""}</p><div class="charts">{drawn}</div>'


def _others(others: Sequence[Chart]) -> str:
    return f'<div class="charts">{"".join(_figure(chart) for chart in others)}</div>'


def _figure(chart: Chart) -> str:
    notes = " ".join(map(escape, chart.notes))
    marks = " Hollow diamonds: the literature's figures, under other conditions." if chart.published else ""
    floors = " Dashed lines: floors." if chart.floors else ""
    caption = f"{escape(chart.title)}.{floors}{marks} {notes}".strip()
    wide = "main" if chart.kind == "curves" else "half"
    ahead = sorted((p.x, p.y, one.label) for one in chart.series for p in one.points if p.front)
    items = "".join(f"<li>{escape(label)}: {figure(y)} at {x:.4g}</li>" for x, y, label in ahead)
    below = f'<ol class="ahead">{items}</ol>' if chart.kind == "front" else ""
    return (
        f'<figure class="{wide} {chart.kind}"><figcaption>{caption}</figcaption>'
        f'<div class="plot" tabindex="0" role="group" aria-label="{escape(chart.title)}: the arrow keys go from point '
        f'to point">{chart_svg(chart)}<div class="tip" hidden></div></div>{below}</figure>'
    )


def _results(table: Table) -> str:
    tied = f" Underlined: ties with it, what may be the best with {CONFIDENT} confidence a column." if table.how else ""
    counted = " @: evaluations as counted, where they are not the column's." if any(c.nfe for c in table.cells) else ""
    caption = f"{table_title(table)}. Bold: the {extreme(table)} of its column.{tied}{counted}"
    told = "".join(f"<li>{escape(line)}</li>" for _, line in reason_lines(table.reasons))
    return (
        f"<p>{escape(caption)}</p>{_tools('results')}{results_table(table)}"
        f"{f'<ul class=told>{told}</ul>' if told else ''}"
    )


def _baseline(comparison: Comparison) -> str:
    lines = [f"{comparison_title(comparison)}.", *comparison_captions(comparison)]
    tie = "tie: the interval has 0 in it, so that neither is shown to be better."
    lines += [tie] if any(one.judged.verdict == "undecided" for one in comparison.differences) else []
    warnings = "".join(f'<p class="note">{escape(line)}</p>' for line in comparison.warnings)
    return f"<p>{escape(' '.join(lines))}</p>{warnings}{_tools('baseline')}{comparison_table(comparison)}"


def _pairs(matrices: Sequence[Matrix], title: str) -> str:
    about = (
        f"Δ{title}, row less column, the best sampler first. Bold: the row is better; ≈: a tie, the interval has 0 in "
        f"it. The intervals of one matrix hold at once with {CONFIDENT} confidence."
    )
    options = "".join(f'<option value="{i}">{one.column:g}</option>' for i, one in enumerate(matrices))
    choice = f'<p class="js"><label>evaluations <select id="column">{options}</select></label></p>'
    drawn = "".join(
        f'<div class="pairs" data-m="{i}"><h3>{one.column:g} evaluations: {_judged(one)}</h3>'
        f"{matrix_table(one, i)}</div>"
        for i, one in enumerate(matrices)
    )
    return f'<p>{escape(about)}</p>{choice}{drawn}<p id="pair" class="js" aria-live="polite">Point at a pair.</p>'


def _judged(matrix: Matrix) -> str:
    left = f"; {matrix.left_out} samplers more are left out, the worst" if matrix.left_out else ""
    return (f"{matrix.size} pairs judged at once" if matrix.size else "no pair has an error to be judged by") + left


def _samples(report: Report) -> str:
    about = "The same place in every strip is the same x_T, so strips are read downwards and across."
    return f"<p>{about}</p>{strips_table(report.strips, report.table.axis)}"


def _films(films: Sequence[Strip], axis: str) -> str:
    at = f"{films[0].column:g} {'steps' if axis == 'steps' else 'evaluations'}"
    about = (
        f"At {at}: from left to right x_T, what the network predicts x_0 to be at each evaluation, and x_0. All rows "
        "start from the same x_T."
    )
    return f"<p>{escape(about)}</p>{films_table(films)}"


def _tools(name: str) -> str:
    """What is done with a table: filtering its rows, and copying those that are left."""
    return (
        f'<div class="tools js"><label>filter <input type="search" data-filter="{name}" '
        f'placeholder="ddim, or 10"></label>{_copy(name, ("latex", "csv"))}</div>'
    )


def _copy(name: str, kinds: Sequence[str], what: str = "") -> str:
    titles = {"latex": "LaTeX", "csv": "CSV"}
    words = f"copy {what} as" if what else "copy as"
    return "".join(
        f'<button type="button" class="js" data-copy="{name}" data-as="{kind}">{words} {titles[kind]}</button>'
        for kind in kinds
    )
