"""What `samplerbench models` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from ...metrics.extractor import shape_text
from ...models.preconditioning import MEANINGS
from .console import plain_console
from .text import boxed, say

if TYPE_CHECKING:
    from ...training.held_out import Score

__all__ = ["print_held_out", "print_understood"]

SEES = {
    "native": "x_t as it is on its path",
    "unit": "x_t in variance-preserving coordinates",
    "edm": "EDM's c_in · x_t",
}
LABELS = {"index": "t - 1", "time": "t", "sigma": "σ/α", "log-sigma": "ln(σ/α)", "flow-time": "the flow's own time"}
BETWEEN = {"interpolate": "the number between", "round": "the nearest one"}


def print_understood(facts: Mapping[str, Any]) -> None:
    """What `models.understood` says: a table in a terminal, a line a fact elsewhere."""
    console, rows = plain_console(), list(_rows(facts))
    if not console.is_terminal:
        for key, value in rows:
            console.print(Text(f"{key:<10} {value}"), soft_wrap=True)
        return
    table = Table(show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for key, value in rows:
        table.add_row(key, Text(value))
    console.print(table)


def _rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    path, network = facts["path"], facts["network"]
    yield "model", facts["model"]
    yield "format", facts["format"]
    yield "images", f"{shape_text(facts['image_shape'])}, values from -1 to 1"
    if facts["sample_shape"] != facts["image_shape"]:
        decoder = f", which a decoder of {facts['decoder']:,} weights makes images of" if facts["decoder"] else ""
        yield "x", shape_text(facts["sample_shape"]) + decoder
    if asked := facts["asked"]:
        encoder = f", through a text encoder of {asked['parameters']:,} weights" if asked["parameters"] else ""
        first = ", ".join(f"'{line}'" for line in asked["default"])
        default = f"by default {first} and so on, {asked['lines']:,} in turn" if first else "none by default"
        yield "asked", f"a {asked['kind']} a sample{encoder}; {default}"
        yield "guidance", "any" if asked["guidance"] else "none that needs a null condition, such as cfg"
    yield "path", _path(path)
    first, last = path["times"]
    yield "times", f"whole numbers t = {first:g} to T = {last:g}" if path["discrete"] else f"t = {first:g} to {last:g}"
    yield "noise", " to ".join(map(_ratio, path["alpha"], path["sigma"])) + " σ/α"
    yield "predicts", MEANINGS[facts["prediction"]] + ("; and a range of variances" if facts["learned_range"] else "")
    data = f", σ_data = {facts['sigma_data']:g}" if facts["sigma_data"] else ""
    yield "sees", SEES[facts["input"]] + data
    yield "label", _label(facts["label"], path["discrete"])
    experts = f" in {network['experts']} networks, one of which an evaluation takes" if network["experts"] > 1 else ""
    yield "network", f"{network['kind'] or 'code of its own'}, {network['parameters']:,} weights{experts}"
    yield "cost", f"{_engineering(network['flops'])}FLOP an evaluation of one sample"
    guess = f", by {facts['dataset_by']}: a guess" if facts["dataset_by"] else ""
    yield "data set", f"{facts['dataset'] or 'not known'}{guess}"
    if facts["extractor_refused"]:
        yield "extractor", f"none that can be used; it names '{facts['extractor']}': {facts['extractor_refused']}"
    else:
        yield "extractor", facts["extractor"] or "none of its own; name one with --extractor"
    yield "reference", facts["reference"] or "none of its own; name one with --reference"
    if facts["mean_squares"]:
        yield "E‖ε_θ‖²", f"known at {facts['mean_squares']} times, for analytic-ddpm"
    yield "sha256", facts["sha256"]
    for note in facts["notes"]:
        yield "note", note


def _path(path: Mapping[str, Any]) -> str:
    config = dict(path["config"])
    kind = config.pop("kind", "")
    said = ", ".join(f"{key}={_short(value)}" for key, value in config.items() if value is not False)
    return f"{kind} ({said})" if said else str(kind)


def print_held_out(scores: Sequence[Score]) -> None:
    """The scores of prompts that training never saw, beside those that it did."""
    header = ["prompts", "garment", "shade", "both", "word alone", "both less that"]
    rows = [
        [
            one.prompts,
            *(
                f"{100 * share:.1f} ±{100 * error:.1f}"
                for share, error in (one.garment, one.shade, one.both, one.word_alone)
            ),
            f"{100 * one.more[0]:+.1f} ±{100 * one.more[1]:.1f}",
        ]
        for one in scores
    ]
    console = plain_console()
    boxed(header, rows, console, right=set(range(1, len(header))))
    say(
        console,
        f"Percent of {scores[0].samples} samples of each kind of prompt. The garment is what the classifier "
        "sees, the shade is measured. 'word alone' is both where only the garment's word was asked for, from the "
        "same noise.",
    )


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > 4:
        return f"{len(value)} from {value[0]:g} to {value[-1]:g}"
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _ratio(alpha: float, sigma: float) -> str:
    return f"{sigma / alpha:.4g}" if alpha > 0 else "∞"


def _label(label: Mapping[str, Any], discrete: bool) -> str:
    factor = "" if label["factor"] == 1 else f"{label['factor']:g} · "
    inner = LABELS[label["kind"]]
    inner = f"({inner})" if factor and " - " in inner else inner
    offset = f" {'+' if label['offset'] > 0 else '-'} {abs(label['offset']):g}" if label["offset"] else ""
    first, last = label["at_ends"]
    between = f"; between two times it is told {BETWEEN[label['between']]}" if discrete else ""
    return f"{factor}{inner}{offset}, from {first:.4g} to {last:.4g}{between}"


def _engineering(number: float) -> str:
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.4g} {prefix}"
    return f"{number:g} "
