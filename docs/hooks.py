"""What mkdocs does not do by itself: formulas as MathML, and curves drawn from the committed results.

Both are made when the site is built, so that a page needs no script and no other host for them. In the Markdown a
formula stands between lines of `$$`, and a comment `<!-- curves: ddim deis* -->` names the samplers of a figure, `*`
for all that begin so.
"""

from __future__ import annotations

import re
from functools import cache
from html import escape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

FOREIGN = re.compile(
    r"""<(?:link|script|img|iframe|source|use)\b[^>]*?\b(?:href|src|srcset)=["'](https?:)?//[^>]*>|url\(["']?(https?:)?//[^)]*\)|@import[^;]*//"""
)
RESULTS = Path(__file__).parents[1] / "results" / "fashion-mnist" / "results.csv"
FORMULA = re.compile(r"^\$\$\n(.+?)\n\$\$$", re.DOTALL | re.MULTILINE)
CURVES = re.compile(r"^<!-- curves: (.+?) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    found = iter(range(len(markdown)))
    markdown = CURVES.sub(lambda match: curves(tuple(match[1].split()), first=next(found) == 0), markdown)
    return FORMULA.sub(lambda match: formula(match[1]), markdown)


def on_post_build(config: Any, **_: Any) -> None:
    """Raises ValueError where a page or a style sheet would load something from another host."""
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in (".html", ".css") and (found := FOREIGN.search(path.read_text(encoding="utf-8"))):
            raise ValueError(f"{path.name} loads from another host: {found[0][:120]}")


def formula(tex: str) -> str:
    from latex2mathml.converter import convert

    return f'<div class="formula" tabindex="0">{_primed(convert(tex, display="block"))}</div>'


def _primed(math: str) -> str:
    """MathML with each prime as an operator beside its letter. Text fonts have it raised already, so that as an
    exponent it stands too high and too small.
    """
    namespace = "http://www.w3.org/1998/Math/MathML"
    ElementTree.register_namespace("", namespace)
    root = ElementTree.fromstring(math)

    def element(name: str, *children: ElementTree.Element, **attributes: str) -> ElementTree.Element:
        made = ElementTree.Element(f"{{{namespace}}}{name}", attributes)
        made.extend(children)
        return made

    for parent in list(root.iter()):
        for place, one in enumerate(list(parent)):
            kind = one.tag.rpartition("}")[2]
            if kind not in ("msup", "msubsup"):
                continue
            base, *below, raised = list(one)
            first, *rest = list(raised) if raised.tag.endswith("mrow") else [raised]
            if first.text != "\u2032":
                continue
            prime = element("mo", lspace="0em", rspace="0em")
            prime.text = first.text
            made = element("mrow", base, prime)
            if below:
                made = element("msub", made, *below)
            parent[place] = element("msup", made, element("mrow", *rest)) if rest else made
    return ElementTree.tostring(root, encoding="unicode")


@cache
def curves(names: tuple[str, ...], first: bool = True) -> str:
    """A figure of the named samplers. Raises ValueError for a name that no row has."""
    from samplerbench.plugins import load_plugins
    from samplerbench.report.choice import Where
    from samplerbench.report.html.svg import chart_svg, marker_defs, swatch
    from samplerbench.report.overview import charted
    from samplerbench.report.results import read_results
    from samplerbench.report.styles import styles

    there = list(dict.fromkeys(read_results(RESULTS).every["sampler"]))
    asked: list[str] = []
    for name in names:
        meant = [one for one in there if (one.startswith(name[:-1]) if name.endswith("*") else one == name)]
        if not meant:
            raise ValueError(f"{RESULTS.name} has no sampler '{name}'")
        asked += meant
    where = [Where.parse(f"sampler={name}") for name in dict.fromkeys(asked)]
    chart = charted([RESULTS], "fid", load_plugins(), where=where)[0]
    legend = "".join(
        f"<span>{swatch(style)} {escape(one.label)}</span>"
        for one, style in zip(chart.series, styles(chart.series), strict=True)
    )
    caption = f"{chart.title}: the shipped model, 4,096 samples, whiskers of 95 %."
    drawn = f'{marker_defs() if first else ""}<div class="plot">{chart_svg(chart)}</div>'
    return (
        f'<figure class="curves" markdown="0">{drawn}<div class="legend">{legend}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
