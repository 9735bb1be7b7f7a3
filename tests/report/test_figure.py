"""Figures for papers: the formats that are there, vector, read in grey, nothing cut, one or two columns wide."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samplerbench import UserError
from samplerbench.report.figure import FORMATS, INCHES, drawn, format_of
from samplerbench.report.overview import charted

from .conftest import cell, write_run

pytest.importorskip("matplotlib")

NAMES = ("ddim", "heun", "sde-dpm-solver", "unipc:order=2:spacing=karras:and-a=name-that-is-long")


@pytest.fixture
def run(tmp_path):
    cells = [
        cell(name, n, (20.0 + 3 * i) * 10 / n, seconds_sampling=n / 2, hardware="a machine", batch_size=64)
        for i, name in enumerate(NAMES)
        for n in (5, 10, 50)
    ]
    return write_run(tmp_path / "run", cells)


@pytest.fixture
def chart(run, registry):
    return {one.name: one for one in charted([run], "fid", registry)}["fid-evaluations"]


@pytest.mark.parametrize("width", INCHES)
def test_an_svg_is_vector_and_says_everything(chart, width):
    text = drawn(chart, "svg", width).decode()
    assert "<image" not in text
    assert float(re.search(r'width="([\d.]+)pt"', text)[1]) == pytest.approx(INCHES[width] * 72)
    for one in (*(series.label for series in chart.series), chart.x.title, chart.y.title, ">5<", ">10<", ">50<"):
        assert one in text


def test_the_same_chart_makes_the_same_file(chart):
    for format in FORMATS:
        data = drawn(chart, format)
        assert data == drawn(chart, format)
        assert data.startswith({"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}[format])
    assert b"/Subtype /Image" not in drawn(chart, "pdf")


@pytest.mark.parametrize("width", INCHES)
@pytest.mark.parametrize("name", ["fid-evaluations", "fid-evaluations-front", "fid-seconds"])
def test_nothing_is_cut_off(run, registry, name, width):
    (one,) = [chart for chart in charted([run], "fid", registry) if chart.name == name]
    with Image.open(io.BytesIO(drawn(one, "png", width))) as image:
        grey = np.asarray(image.convert("L"))
    edges = np.concatenate([grey[:3].ravel(), grey[-3:].ravel(), grey[:, :3].ravel(), grey[:, -3:].ravel()])
    assert edges.min() == 255
    assert grey.min() < 60


def test_curves_differ_in_grey(chart):
    """No two have the same marker and the same line."""
    text = drawn(chart, "svg").decode()
    legend = text[text.index('id="legend') :]
    looks = re.findall(r'<path d="[^"]*" style="fill: none;[^"]*"', legend)
    markers = re.findall(r'xlink:href="#(\w+)"', legend)
    assert len(set(zip(markers, [re.sub("#[0-9a-f]{6}", "", look) for look in looks], strict=False))) == len(NAMES)


def test_the_command(run, command, tmp_path, monkeypatch):
    out = tmp_path / "fid.svg"
    code, said, _ = command("plot", run, "-o", out, "--front", "--against", "seconds", "--columns", "two")
    assert code == 0
    assert said == f"{out}: FID against seconds a sample: the front\n"
    assert out.read_bytes().startswith(b"<?xml")
    plain = write_run(tmp_path / "plain", [cell("ddim", 5, 20.0)])
    for arguments, told in (
        (
            (run, "-o", tmp_path / "fid.jpg"),
            "unknown format of a plot 'jpg'; did you mean 'png'? (known: pdf",
        ),
        ((run, "-o", tmp_path / "fid"), "has no ending that says a format; expected .pdf, .svg, .png"),
        ((plain, "-o", out, "--against", "seconds"), "these rows do not say their seconds of sampling"),
        ((run, "-o", tmp_path / "run" / "results.csv" / "fid.pdf"), "cannot be written"),
        ((run, "-o", out, "--metric", "kid"), "kid"),
    ):
        code, _, err = command("plot", *arguments)
        assert code == 2, arguments
        assert told in err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "needs matplotlib; install it, or samplerbench with the extra plot" in command("plot", run, "-o", out)[2]


def test_formats_by_their_ending():
    assert format_of(Path("A.PDF")) == "pdf"
    with pytest.raises(UserError):
        format_of(Path("a.eps"))
