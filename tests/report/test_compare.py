"""Comparing results files: matching, pairing, significance, and files that people edited."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

import samplerbench
from samplerbench import UserError
from samplerbench.report.compare import Difference, compare, compare_with_baseline, holm
from samplerbench.report.comparison import comparison_frame
from samplerbench.report.results import read_results


@pytest.fixture(scope="module")
def runs(tiny_model, tmp_path_factory):
    """Two runs on the same noise, with enough samples for a standard error, and one of another seed."""
    folder = tmp_path_factory.mktemp("runs")
    options = {"model": str(tiny_model), "device": "cpu", "samples": 900, "nfe": [2, 3], "cache": folder / "cache"}
    samplerbench.run("ddim,ddpm", out=folder / "a", **options)
    samplerbench.run("ddim,dpm", out=folder / "b", **options)
    samplerbench.run("ddim", out=folder / "seed", seed=1, **options)
    return folder


def edited(runs, tmp_path, name="a", **changes):
    frame = pd.read_csv(runs / name / "results.csv")
    for column, value in changes.items():
        frame[column] = value
    path = tmp_path / "edited.csv"
    frame.to_csv(path, index=False)
    return path


def test_cells_are_matched_and_the_rest_is_listed(runs):
    result = compare(read_results(runs / "a"), read_results(runs / "b" / "results.csv"))
    assert [(d.sampler, d.nfe) for d in result.differences] == [("ddim", 2), ("ddim", 3)]
    assert result.only_base == ["ddpm (uniform) at 2", "ddpm (uniform) at 3"]
    assert result.only_other == ["dpm-solver (logsnr) at 2", "dpm-solver (logsnr) at 3"]
    assert result.warnings == []
    # the same cell in two runs: nothing differs, and nothing is significant
    assert all(d.delta == 0 and d.error == 0 and d.p == 1 and d.how == "paired" for d in result.differences)


def test_a_baseline_within_one_run_is_paired(runs):
    result = compare_with_baseline(read_results(runs / "b"), "ddim")
    assert [(d.sampler, d.nfe, d.how) for d in result.differences] == [
        ("dpm-solver", 2, "paired"),
        ("dpm-solver", 3, "paired"),
    ]
    d = result.differences[0]
    files = {p.name.split("-")[0]: p for p in (runs / "b" / "influences").iterdir()}
    rows = pd.read_csv(runs / "b" / "results.csv")
    one, two = (
        np.load(files[rows[(rows["sampler"] == s) & (rows["nfe"] == 2)]["key"].iloc[0][:16]]).astype(float)
        for s in ("ddim", "dpm-solver")
    )
    assert d.error == pytest.approx((two - one).std(ddof=1) / math.sqrt(900))
    with pytest.raises(UserError, match="unknown baseline 'dim'; did you mean 'ddim'"):
        compare_with_baseline(read_results(runs / "b"), "dim")


def test_other_noise_is_unpaired_and_named(runs):
    result = compare(read_results(runs / "a"), read_results(runs / "seed"))
    assert [d.how for d in result.differences] == ["unpaired", "unpaired"]
    assert "seed: 0 against 1" in result.warnings
    rows = [pd.read_csv(runs / name / "results.csv") for name in ("a", "seed")]
    assert result.differences[0].error == pytest.approx(math.hypot(*(r["fid_se"][0] for r in rows)))


@pytest.mark.parametrize("column", ["samples", "extractor_sha256", "reference_sha256", "quantise"])
def test_decisive_conditions(runs, tmp_path, column):
    other = edited(runs, tmp_path, **{column: 99 if column == "samples" else "x"})
    result = compare(read_results(runs / "a"), read_results(other))
    assert len(result.decisive) == 1
    assert result.decisive[0].startswith(column)
    assert len(result.differences) == 4


def test_plain_csvs_that_people_wrote(runs, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("sampler,nfe,fid\nddim,2,20.5\nddim,3,11\nmagic,3,1\n")
    result = compare(read_results(runs / "a"), read_results(path))
    assert [(d.sampler, d.nfe, d.how, d.verdict) for d in result.differences] == [
        ("ddim", 2, "no standard errors", "unknown"),
        ("ddim", 3, "no standard errors", "unknown"),
    ]
    assert any("does not say its samples" in w for w in result.warnings)
    assert result.only_other == ["magic at 3"]


def test_concatenated_files(runs, tmp_path):
    path = tmp_path / "both.csv"
    frames = [pd.read_csv(runs / name / "results.csv") for name in ("a", "a", "b")]
    pd.concat(frames).to_csv(path, index=False)
    result = compare(read_results(runs / "b"), read_results(path))
    assert len(result.differences) == 4
    assert any("has 6 cells twice" in w for w in result.warnings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sampler,evaluations,fid\nddim,2,3\n", "lacks the column nfe; it has sampler, evaluations, fid"),
        ("sampler,nfe,fid\nddim,2,low\n", "line 2: fid is a number, got 'low'"),
        ("", "is not a CSV file"),
    ],
)
def test_bad_files(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_results(path)
    with pytest.raises(UserError, match="no results at"):
        read_results(tmp_path / "nowhere")


def test_holm_is_the_textbooks():
    """Raw p of 0.01, 0.04, 0.03 and 0.005 become 0.03, 0.06, 0.06 and 0.02."""
    raw = [0.01, 0.04, 0.03, 0.005]
    from statistics import NormalDist

    differences = [Difference("s", 1, 0.0, NormalDist().inv_cdf(1 - p / 2), 1.0, "unpaired") for p in raw]
    holm(differences)
    assert [d.p for d in differences] == pytest.approx([0.03, 0.06, 0.06, 0.02], rel=1e-9)
    assert [d.verdict for d in differences] == ["worse", "no difference", "no difference", "worse"]


@pytest.mark.parametrize("width", [80, 120])
def test_the_comparison_is_whole_at_any_width(runs, command, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = command("compare", runs / "b", "--baseline", "ddim")
    assert not code
    assert "…" not in out
    assert max(map(len, out.splitlines()[1:])) <= width
    for d in compare_with_baseline(read_results(runs / "b"), "ddim").differences:
        assert d.interval is not None
        figures = (
            f"{d.base:.4g}",
            f"{d.other:.4g}",
            f"{d.delta:+.3g}",
            f"[{d.interval[0]:+.3g}, ",
            d.sampler,
            d.verdict,
        )
        assert all(figure in out for figure in figures)


def test_the_frame(runs):
    frame = comparison_frame(compare_with_baseline(read_results(runs / "a"), "ddim"))
    assert (frame["low"] < frame["delta"]).all()
    assert (frame["delta"] < frame["high"]).all()
