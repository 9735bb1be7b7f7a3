"""The page as a file: whole, closed to the outside, readable without scripts, safe from what others wrote."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from samplerbench.report.html.page import page
from samplerbench.report.html.svg import chart_svg
from samplerbench.report.latex import escaped, latex_table
from samplerbench.report.overview import overview
from samplerbench.report.results import read_results
from samplerbench.report.tables import table
from samplerbench.report.view import Floor, Published

from .conftest import cell, write_run

SHIPPED = Path(__file__).parents[2] / "results" / "fashion-mnist"
VOID = {"meta", "input", "img", "wbr"}
LOADED = {"src", "href", "action", "formaction", "poster", "data", "srcset"}


class Reader(HTMLParser):
    """A page's elements, its text by element, and whether every one is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag in ("td", "tr") and self.open[-1] == "td":  # whose end HTML does not need
            self.open.pop()
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag == "tr" and self.open[-1] == "td":
            self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in dict.fromkeys(self.open):
            self.texts.setdefault(tag, []).append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def shipped(registry):
    return overview([SHIPPED], "fid", registry, baseline="ddim")


@pytest.fixture(scope="module")
def text(shipped):
    return page(shipped)


@pytest.fixture(scope="module")
def reader(text):
    found = Reader(text)
    assert not found.open
    return found


def data(text, name):
    return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_loads_nothing(reader, text):
    for tag, attributes in reader.elements:
        assert "style" not in attributes  # which the policy would refuse
        assert not [name for name in attributes if name.startswith("on")]
        for name in LOADED & set(attributes):
            assert (attributes[name] or "").startswith(("#", "data:image/")), (tag, attributes)
    (policy,) = [one["content"] for one in reader.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (inner,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
        assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttp|eval|innerHTML", inner)


def test_the_page_of_160_cells_is_small(text, shipped):
    assert len(shipped.records.rows) == 151
    assert len(text.encode()) < 300_000


def test_everything_is_there_without_a_script(reader, shipped):
    cells = "".join(reader.texts["td"])
    for row in shipped.table.rows:
        assert row.label in "".join(reader.texts["th"])
        for one in row.cells:
            if one.value is not None:
                assert f"{one.value:#.4g}".rstrip(".") in cells
    undecided = sum(d.judged.verdict == "undecided" for d in shipped.baseline.differences)
    assert cells.count("undecided") == undecided > 0
    points = sum(len(one.points) for one in shipped.charts[0].series)
    marks = [one for one in reader.all("use") if "data-i" in one]
    assert len(marks) == points * len(shipped.charts)
    assert all(0 <= float(one["x"]) <= 600 and 0 <= float(one["y"]) <= 400 for one in marks)
    assert "pndm needs at least 13 evaluations, got 5" in "".join(reader.texts["li"])


def test_all_that_may_be_the_best_is_bold(reader, shipped):
    best = [cell for row in shipped.table.rows for cell in row.cells if cell.best]
    assert len(reader.texts["b"]) == len(best) > len(shipped.table.columns)


def test_names_and_headings_for_those_who_hear_the_page(reader):
    assert reader.all("html")[0]["lang"] == "en"
    ids = [attributes["id"] for _, attributes in reader.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert all(one["href"][1:] in ids for one in (*reader.all("a"), *reader.all("use")))
    for section in reader.all("section"):
        assert section["aria-labelledby"] in ids
    assert all(one.get("aria-label") or one.get("aria-hidden") for one in reader.all("svg"))
    assert all(one.get("scope") for one in reader.all("th"))
    assert all(one.get("alt") for one in reader.all("img"))
    levels = [int(tag[1]) for tag, _ in reader.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_the_records_are_the_rows(text, shipped):
    records = data(text, "records")
    assert records["order"] == list(shipped.records.columns)
    assert records["common"]["model"] == "fashion-mnist"
    columns = {**{name: [value] * records["rows"] for name, value in records["common"].items()}, **records["columns"]}
    fids = read_results(SHIPPED).every["fid"].tolist()
    assert [value for value in columns["fid"] if value is not None] == [value for value in fids if value == value]
    assert set(columns["status"]) == {"done", "skipped"}


def test_what_is_copied_is_the_table(text, shipped):
    head, rows, foot = data(text, "data")["copies"]["results"]["latex"]
    assert "\n".join([head, *rows, foot]) == latex_table(shipped.table)
    assert len(data(text, "data")["copies"]["baseline"]["latex"][1]) == len(shipped.baseline.differences)


def test_the_same_rows_make_the_same_page(text, shipped):
    assert page(shipped) == text


NASTY = "</script><script>alert(1)</script>"


def test_what_others_wrote_stays_text(tmp_path, registry):
    cells = [cell(f"mine:a={NASTY}", 5, 20.0, model=f"<b>{NASTY}", device='" onload="x'), cell("ddim", 5, 9.0)]
    cells[1]["model"] = cells[0]["model"]
    run = write_run(tmp_path / "<i>run", cells)
    command = ["/somewhere/samplerbench", "run", "--out", "<img src=x> $(rm)"]
    (run / "run.json").write_text(json.dumps({"command": command}))
    text = page(overview([run], "fid", registry))
    found = Reader(text)
    assert len(re.findall("<script", text)) == 3
    assert not found.all("img")
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert f"mine:a={NASTY}" in "".join(found.texts["span"])
    assert found.texts["code"] == ["samplerbench run --out '<img src=x> $(rm)'"]
    assert data(text, "records")["common"]["model"] == f"<b>{NASTY}"


def test_bad_input(command, tmp_path):
    run = write_run(tmp_path / "run", [cell("ddim", 5, 20.0), cell("heun", 5, 21.0)])
    out = tmp_path / "report.html"
    code, said, _ = command("report", run, "-o", out)
    assert code == 0
    assert re.fullmatch(rf"{out}: \d+ kB\n", said)
    other = write_run(tmp_path / "other", [cell("ddim", 5, 20.0, reference_sha256="beef")])
    empty = write_run(tmp_path / "empty", [cell("ddim", 5, None, status="failed")])
    for arguments, told in (
        ((run, other), "hold rows that do not compare: reference_sha256"),
        ((empty,), f"nothing to report: {empty} has no row in which fid was measured, of 1"),
        ((tmp_path / "nowhere",), "no results at"),
        ((run, "--baseline", "dim"), "unknown baseline 'dim'; did you mean 'ddim'?"),
        ((run, "--metric", "kid"), "kid"),
        ((run, "-o", tmp_path), "is a folder; name a file"),
        ((run, "-o", run / "results.csv" / "x.html"), "x.html cannot be written"),
    ):
        code, _, err = command("report", "-o", out, *arguments)
        assert code == 2, arguments
        assert told in err
    (run / "run.json").write_text("{")
    assert "run.json cannot be read" in command("report", run, "-o", out)[2]


def test_latex_is_whole_and_says_what_is_bold(tmp_path, registry):
    cells = [cell("ddim", 5, 20.0), cell("ddpm", 5, 20.5), cell("heun", 5, 90.0, nfe=4.0), cell("a_b:x=1&2", 5, None)]
    cells[3]["status"] = "failed"
    text = latex_table(table([read_results(write_run(tmp_path, cells))], registry.metric("fid")))
    *lines, note = text.splitlines()
    assert note.startswith("% ")
    assert "are compared unpaired: " in note
    assert lines == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"network evaluations & 5 \\",
        r"\midrule",
        r"\texttt{ddim} (uniform) & \textbf{20.00} {\scriptsize $\pm$\,1.0} \\",
        r"\texttt{ddpm} (uniform) & \textbf{20.50} {\scriptsize $\pm$\,1.0} \\",
        r"\texttt{heun} (uniform) & 90.00 {\scriptsize $\pm$\,1.0} {\scriptsize @4} \\",
        r"\texttt{a\_b:x=1\&2} (uniform) & failed \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"% needs \usepackage{booktabs}",
        "% FID ± standard error, lower is better",
        "% bold: all that may be the best of their column, with 95 % confidence a column (unpaired differences).",
        "% ± is the error of the FID of 256 samples. The FID of infinitely many is another number.",
        "% @: the evaluations as counted, where they are not the column's number.",
        "% tiny, 256 samples, seed 0, fashion-mnist-cnn against 60000 real images, float32 on cpu",
    ]
    assert escaped(r"50 % \x{a} ~^<Δ±") == (
        r"50 \% \textbackslash{}x\{a\} \textasciitilde{}\textasciicircum{}$<$$\Delta$$\pm$"
    )


def test_names_stand_at_the_ends_of_curves_where_there_is_room(tmp_path, registry):
    def drawn(count):
        cells = [cell(f"mine:a={i}", 5, 20.0 + i % 3) for i in range(count)]
        found = overview([write_run(tmp_path / str(count), cells)], "fid", registry)
        text = chart_svg(found.charts[0])
        return [float(y) for y in re.findall(r'<text x="614" y="([\d.]+)">', text)]

    heights = sorted(drawn(30))
    assert len(heights) == 30
    assert all(b - a >= 12.9 for a, b in pairwise(heights))
    assert heights[-1] <= 404
    assert drawn(31) == []


def test_floors_and_the_literature_are_drawn(tmp_path, registry):
    cells = [cell("ddim", n, 200.0 / n) for n in (5, 10, 20)]
    (chart, _) = overview([write_run(tmp_path, cells)], "fid", registry).charts
    floors = Floor(9.0, None, "its own samples"), Floor(0.5, None, "real images")
    text = chart_svg(replace(chart, floors=floors, published=(Published(10, 13.36, "ddim", "a paper"),)))
    found = Reader(text)
    names = "".join(found.texts["text"])
    assert "its own samples: 9.000" in names
    assert "↓ real images: 0.5000" in names  # below the axis
    assert len(re.findall('class="floor"><path', text)) == 1
    (mark,) = [one for one in found.all("use") if one.get("data-p") == "0"]
    (same,) = [one for one in found.all("use") if one.get("data-i") == "1"]
    assert mark["x"] == same["x"]
    assert float(mark["y"]) > float(same["y"])  # 13.36 below our 20
