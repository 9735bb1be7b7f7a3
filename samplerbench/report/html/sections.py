"""The parts of a page, each with its words, tables and charts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from ..compare import CONFIDENT, Comparison
from ..styles import styles
from ..view import Chart, Matrix, Report, Strip, Table
from ..words import (
    comparison_captions,
    comparison_title,
    extreme,
    figure,
    plural,
    reason_lines,
    table_captions,
    table_title,
)
from .svg import chart_svg, swatch
from .tables import comparison_table, delta_title, facts_list, films_table, matrix_table, results_table, strips_table

__all__ = ["Section", "sections"]

Section = tuple[str, str, str]  # id, title, what is in it
MARKS = {
    "better": "green and bold: the row is better",
    "worse": "orange: the row is worse",
    "undecided": "grey, with ≈: undecided, the interval has 0 in it",
    "same": "0: both are one result",
    "unknown": "?: no error is known, so nothing can be said",
}  # of the cells of a matrix, by their verdict


def sections(report: Report) -> list[Section]:
    """Those that the report has something for."""
    table = report.table
    every = [
        ("curves", f"{escape(table.title)} against cost", _charts(report)) if report.charts else None,
        ("results-section", "All results", _results(table)),
        ("baseline-section", "Against a baseline", _baseline(report.baseline, report.table.notes))
        if report.baseline
        else None,
        ("pairs", "Every pair", _pairs(report.matrices, table.title)) if report.matrices else None,
        ("others", "Other metrics", _others(report)) if report.others else None,
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
    if any(one.claims is None for one in first.series):
        explained += " A thin line and pale markers: order and noise are not known, for its plugin is not here."
    buttons = "".join(
        f'<button type="button" data-all="{on}">{what}</button> ' for on, what in ((1, "all"), (0, "none"))
    )
    legend = (
        f'<fieldset class="legend"><legend>Samplers</legend><p class="js">{buttons}</p>{entries}<p>{explained}</p>'
        "</fieldset>"
    )
    ordered = sorted(report.charts, key=lambda chart: chart.kind)  # curves, then fronts
    drawn = "".join(_figure(chart, report.table) for chart in ordered)
    return f'{legend}<p>{_whiskers(first)}</p><div class="charts">{drawn}</div>'


def _whiskers(chart: Chart) -> str:
    """What is known of the errors of points."""
    known = [point.low is not None for one in chart.series for point in one.points]
    if not any(known):
        return "No figure has a standard error. So there are no whiskers, and no difference is shown to be real."
    some = "" if all(known) else " Figures without one have no known error."
    return (
        f"A whisker is the {CONFIDENT} interval of one figure.{some} Two samplers whose whiskers overlap may differ "
        "all the same: all start from the same noise, so a pair can differ by less than a whisker is long. The tables "
        "below compare pairs."
    )


def _front(chart: Chart, table: Table) -> str:
    """What a front shows."""
    points = [point for one in chart.series for point in one.points]
    line = f" The line goes through the {extreme(table)} figure at each cost or below, whatever its error."
    if any(point.behind for point in points):
        line += " Faded points are behind it; the others may be the best of their column."
    if silent := sum(point.low is None for point in points):
        which = "No figure has" if silent == len(points) else f"{plural(silent, 'figure')} without"
        line += f" {which} a standard error: whether they are behind the line is not known, and they are not faded."
    return line


def _others(report: Report) -> str:
    return f'<div class="charts">{"".join(_figure(chart, report.table) for chart in report.others)}</div>'


def _figure(chart: Chart, table: Table) -> str:
    notes = " ".join(map(escape, chart.notes))
    marks = " Hollow diamonds: the literature's figures, under other conditions." if chart.published else ""
    named = "; ".join(f"{escape(floor.label)}, {figure(floor.value)}" for floor in chart.floors)
    floors = f" Floors, dashed or below the axis: {named}." if named else ""
    line = _front(chart, table) if chart.kind == "front" else ""
    caption = f"<strong>{escape(chart.title)}.</strong>{line}{floors}{marks} {notes}".strip()
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
    caption = " ".join([f"{table_title(table)}.", *table_captions(table, "Bold")])
    told = "".join(f"<li>{escape(line)}</li>" for _, line in reason_lines(table.reasons))
    return (
        f"<p>{escape(caption)}</p>{_tools('results')}{results_table(table)}"
        f"{f'<ul class=told>{told}</ul>' if told else ''}"
    )


def _baseline(comparison: Comparison, told: Collection[str]) -> str:
    """told: what the page has said already."""
    lines = [f"{comparison_title(comparison)}.", *comparison_captions(comparison)]
    warnings = "".join(f'<p class="note">{escape(line)}</p>' for line in comparison.warnings if line not in told)
    return f"<p>{escape(' '.join(lines))}</p>{warnings}{_tools('baseline')}{comparison_table(comparison)}"


def _pairs(matrices: Sequence[Matrix], title: str) -> str:
    found = {pair.verdict for matrix in matrices for line in matrix.rows for pair in line}
    marks = "; ".join(text for verdict, text in MARKS.items() if verdict in found)
    names = " or ".join(dict.fromkeys(delta_title(matrix, title) for matrix in matrices))
    kinds = {matrix.infinite for matrix in matrices}
    about = f"Each cell is {names}: the row less the column. {marks[:1].upper()}{marks[1:]}. {_order_of(kinds, title)}"
    about += f" The intervals of one matrix hold at once with {CONFIDENT} confidence."
    options = "".join(f'<option value="{i}">{one.column:g}</option>' for i, one in enumerate(matrices))
    choice = f'<p class="js"><label>evaluations <select id="column">{options}</select></label></p>'
    drawn = "".join(
        f'<div class="pairs" data-m="{i}"><h3>{one.column:g} evaluations: {_judged(one)}</h3>'
        f"{matrix_table(one, i, title)}</div>"
        for i, one in enumerate(matrices)
    )
    hint = "Point at a pair, or go from pair to pair with the arrow keys: its interval is said here."
    return f'<p>{escape(about)}</p>{choice}{drawn}<p id="pair" class="js" aria-live="polite">{hint}</p>'


def _order_of(kinds: Collection[str], title: str) -> str:
    """How the samplers of the matrices are ordered, and what a difference at infinitely many samples is."""
    if kinds == {"none"}:
        return f"The samplers are in the order of their {title} in the table, the best figure first."
    meant = f"Δ{title}∞ is the difference at infinitely many samples, where the bias of {title} is gone."
    if kinds == {"all"}:
        return (
            f"{meant} The samplers are in the order of what {title} comes to there, which may be another than that of "
            f"the table."
        )
    return (
        f"{meant} It is given where both runs keep what it takes. Where it is given for some pairs alone, the samplers "
        f"are in the order of the table, which is of the samples that there are."
    )


def _judged(matrix: Matrix) -> str:
    left = f"; the worst are left out: {plural(matrix.left_out, 'sampler')}" if matrix.left_out else ""
    return (
        f"{plural(matrix.size, 'pair')} judged at once" if matrix.size else "no pair has an error to be judged by"
    ) + left


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
