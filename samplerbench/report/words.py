"""Figures and captions as words: what every renderer of a table or a comparison says in the same way."""

from __future__ import annotations

from collections.abc import Sequence

from .choice import cells
from .compare import CONFIDENT, Compared, Comparison, Family, Judged
from .view import Cell, HonestBest, Reason, Table

__all__ = [
    "AXES",
    "DRIFTS",
    "cell_lines",
    "comparison_captions",
    "comparison_cells",
    "comparison_header",
    "comparison_title",
    "comparison_values",
    "error_of",
    "extreme",
    "family_line",
    "figure",
    "figures",
    "interval_of",
    "plural",
    "reason_lines",
    "signed",
    "table_captions",
    "table_title",
]

AXES = {"budget": "network evaluations", "steps": "steps (@ evaluations)", "nfe": "network evaluations"}
DRIFTS = "†"
REASONS = 8  # that are told one by one


def figure(value: float, digits: int = 4) -> str:
    """Significant digits, trailing zeros kept, so that all figures of a column have equally many."""
    return f"{value:#.{digits}g}".rstrip(".")


def error_of(se: float) -> str:
    """A standard error: two significant digits, or all before the point where those are more."""
    return f"{se:.0f}" if se >= 99.5 else figure(se, 2)


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign; none where it is 0."""
    return ("+" if value > 0 else "") + figure(value, digits) if value else "0"


def interval_of(low: float, high: float, digits: int = 3) -> str:
    """'[-1.50, +0.250]'."""
    return f"[{signed(low, digits)}, {signed(high, digits)}]"


def plural(count: int, what: str) -> str:
    """'1 pair', '2 pairs'."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def extreme(table: Table) -> str:
    """What the best of a column is."""
    return "lowest" if table.direction == "lower" else "highest"


def cell_lines(cell: Cell, ratios: bool = True) -> list[str]:
    """A cell in two lines: the metric with its standard error, and the ratio and the counted evaluations where they
    tell something. A word where there is no figure.
    """
    if cell.value is None:
        return [cell.status]
    error = "" if cell.se is None else f" ±{error_of(cell.se)}"
    notes = [f"({cell.ratio:.2f})"] if ratios and cell.ratio is not None else []
    if cell.nfe is not None:
        notes.append(f"@{cell.nfe:g}")
    return [figure(cell.value) + error, *([" ".join(notes)] if notes else [])]


def table_title(table: Table) -> str:
    """'FID ± standard error, lower is better'."""
    error = " ± standard error" if any(cell.se is not None for cell in table.cells) else ""
    return f"{table.title}{error}, {table.direction} is better"


def table_captions(table: Table, mark: str) -> list[str]:
    """What is said under a table: what is marked, by `mark`, and what its errors are."""
    name, best = table.title, extreme(table)
    values = [cell for cell in table.cells if cell.value is not None]
    lines: list[str] = []
    if not values:
        return lines
    if len(table.rows) == 1:
        pass  # it is the best of itself, and nothing is marked
    elif not table.how:
        lines.append(f"{mark}: the {best} of its column. No cell has a standard error, so others may be as good.")
    else:
        errors = {"paired": "paired", "unpaired": "unpaired", "mixed": "partly paired"}[table.how]
        infinite = " at infinitely many samples" if table.extrapolated else ""
        lines.append(
            f"{mark}: all that may be the best of their column{infinite}, with {CONFIDENT} confidence a column "
            f"({errors} differences)."
        )
    if table.how:
        if len(table.rows) > 1 and (missing := sum(cell.se is None for cell in values)):
            lines.append(f"{cells(missing)} without a standard error: marked only where it is the {best}.")
        if table.extrapolates:
            count = "the samples that there are" if table.samples is None else f"{table.samples} samples"
            lines.append(f"± is the error of the {name} of {count}. The {name} of infinitely many is another number.")
    return lines + [_honest_line(one, best) for one in table.honest if len(table.rows) > 1]


def _honest_line(one: HonestBest, best: str) -> str:
    """The best of a column without the luck that made it the best."""
    if one.found is None:
        why = "That takes what one run keeps beside its results.csv, of every cell of the column."
        return f"{one.column:g}: the best cannot be chosen and estimated on different samples. {why}"
    found = one.found
    return (
        f"{one.column:g}: {one.sampler} has the {best} on {found.share * 100:.0f} % of the halves. The best of a "
        f"half comes to {figure(found.value)} ±{error_of(found.se)} on the other half, which did not choose it. This "
        "figure is extrapolated from half of the samples to all of them."
    )


def reason_lines(told: Sequence[Reason]) -> list[tuple[str, str]]:
    """A line a reason, the first of them, with its state."""
    lines = []
    for one in told[:REASONS]:
        if one.state == "done":  # and a metric or its error is missing
            lines.append((one.state, f"{cells(len(one.cells))}: {one.text}"))
        else:
            lines.append((one.state, f"{one.state}: {', '.join(one.cells)}: {one.text}"))
    if len(told) > REASONS:
        lines.append(("done", f"and {len(told) - REASONS} more: see the column `reason` of results.csv"))
    return lines


def comparison_title(comparison: Comparison) -> str:
    """'ΔFID of A against B; below 0 is better'."""
    sign = "below" if comparison.direction == "lower" else "above"
    return f"Δ{comparison.title} of {comparison.other} against {comparison.base}; {sign} 0 is better"


def comparison_captions(comparison: Comparison) -> list[str]:
    """What the reader of the table of differences has to know."""
    name = comparison.title
    asked = {"budget": "budgets", "steps": "steps", "nfe": "counted evaluations"}[comparison.axis]
    family = family_line(comparison.family, [one.judged for one in comparison.differences])
    guided = [one for one in comparison.differences if one.guidance or one.guidance_base]
    alike = " and guidance" if guided and all(one.guidance == one.guidance_base for one in guided) else ""
    lines = [f"Cells are compared at equal {asked}{alike}. {family}"]
    hows = {d.judged.how for d in comparison.differences}
    explained = {
        "same": "same: the key says that it is one result",
        "paired": "paired: both are from the same noise",
        "unpaired": "unpaired: the error is that of two independent results",
    }
    if told := [text for how, text in explained.items() if how in hows]:
        lines.append("; ".join(told) + ".")
    if any(one.judged.verdict == "undecided" for one in comparison.differences):
        lines.append("undecided: the interval has 0 in it, so neither is shown to be better.")
    if comparison.extrapolated:
        lines.append(
            f"Δ{name}∞ is the difference at infinitely many samples. (At n samples {name} has a bias, which differs "
            f"between samplers.) Where Δ{name}∞ is given, the interval, p and the verdict are about it."
        )
    if drifting := sum(d.judged.tested.difference.drifts for d in comparison.differences):
        lines.append(
            f"{DRIFTS}: Δ{name}∞ is more than half an error away from Δ{name} ({cells(drifting)}). There the number of "
            "samples matters."
        )
    return lines


VERDICTS = {
    "better": "better than",
    "worse": "worse than",
    "undecided": "undecided against",
    "same": "the same as",
}


def verdict_lines(comparison: Comparison) -> list[str]:
    """'mine is better than ddim (quadratic) at 5, 10; undecided against it at 20.' Nothing of what has no error."""
    found: dict[str, dict[str, list[str]]] = {}
    for one in comparison.differences:
        if one.judged.verdict == "unknown":
            continue
        found.setdefault(one.label, {}).setdefault(one.judged.verdict, []).append(f"{one.asked:g}")
    lines = []
    for label, verdicts in found.items():
        parts = [
            f"{VERDICTS[verdict]} {'it' if i else comparison.base} at {', '.join(places)}"
            for i, (verdict, places) in enumerate(verdicts.items())
        ]
        lines.append(f"{label} is {'; '.join(parts)}.")
    return lines


def comparison_header(comparison: Comparison) -> list[str]:
    """The names of the columns that `comparison_cells` gives."""
    name = comparison.title
    infinite = [f"Δ{name}∞"] if comparison.extrapolated else []
    return [
        "sampler",
        "NFE",
        "base",
        name,
        f"Δ{name}",
        *infinite,
        f"{CONFIDENT} at once",
        "p",
        "method",
        "verdict",
    ]


def comparison_cells(one: Compared, extrapolated: bool) -> list[str]:
    """A difference as a row of words."""
    delta, infinite, between, p = figures(one.judged)
    asked = f"{one.asked:g}" if one.asked == one.nfe else f"{one.asked:g} @{one.nfe:g}"
    return [
        one.label,
        asked,
        figure(one.base),
        figure(one.other),
        delta,
        *([infinite] if extrapolated else []),
        between,
        p,
        one.judged.how,
        one.judged.verdict,
    ]


def comparison_values(one: Compared, extrapolated: bool) -> list[float | None]:
    """What the columns between the sampler and the verdict are sorted by; None where they are words. An interval goes
    by its lower end.
    """
    tested = one.judged.tested
    infinite = tested.difference.delta if tested.difference.extrapolated else None
    return [
        one.asked,
        one.base,
        one.other,
        one.judged.delta_n,
        *([infinite] if extrapolated else []),
        tested.interval[0] if tested.interval else None,
        tested.p,
        None,
    ]


def family_line(family: Family, judged: Sequence[Judged]) -> str:
    """What intervals and p are."""
    sizes = sorted({one.size for one in judged if one.size})
    if not sizes:
        if judged and all(one.how == "same" for one in judged):
            return "Nothing differs."
        return "No difference has a standard error to judge it by."
    count = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    where = "all differences shown" if family == "all" else "all differences at one number of evaluations"
    return f"Intervals hold at once, with {CONFIDENT} confidence, for {where} ({count}). p is adjusted alike."


def figures(judged: Judged) -> tuple[str, str, str, str]:
    """A difference for people: of the n samples, of infinitely many, its interval, its p."""
    difference, interval, p = judged.tested.difference, judged.tested.interval, judged.tested.p
    infinite = signed(difference.delta) + (DRIFTS if difference.drifts else "") if difference.extrapolated else ""
    between = interval_of(*interval) if interval else ""
    return signed(difference.delta_n), infinite, between, "" if p is None else "<0.001" if p < 0.001 else figure(p, 2)
