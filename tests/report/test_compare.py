"""Comparing results: matching, pairing, and verdicts that their intervals carry."""

from __future__ import annotations

import math
import re
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

import samplerbench
from samplerbench import UserError
from samplerbench.bench.influences import influence_path
from samplerbench.metrics.metric import Metric
from samplerbench.report.choice import choose
from samplerbench.report.compare import compare, compare_with_baseline
from samplerbench.report.results import read_results
from samplerbench.report.sheets import comparison_frame

from .conftest import cell


class Extrapolated(Metric):
    name = "fid"
    extrapolates = True

    def measure(self, drawn):
        raise NotImplementedError


class Plain(Extrapolated):
    extrapolates = False


@pytest.fixture
def two(noise):
    """Two runs of two cells on the same noise; of the first cell the samples differ, the second is the same."""
    same = cell("ddim", 10, 12.0, influences=noise[:, 1])
    return {
        "a": [cell("ddim", 5, 20.0, influences=noise[:, 0]), same, cell("ddpm", 5, 40.0)],
        "b": [cell("ddim", 5, 21.0, influences=noise[:, 2], key="other"), same, cell("dpm-solver", 5, 9.0)],
    }


def test_cells_are_matched_paired_and_the_rest_is_listed(read, two, noise):
    (result,) = compare(read(**two), Plain())
    first, second = result.differences
    assert result.only_base == ["ddpm (uniform) at 5"]
    assert result.only_other == ["dpm-solver (uniform) at 5"]
    assert (first.judged.how, first.judged.delta) == ("paired", 1.0)
    psi = (noise - noise.mean(axis=0)).astype(np.float32).astype(float)
    se = (psi[:, 2] - psi[:, 0]).std(ddof=1) / math.sqrt(256)
    assert first.judged.tested.difference.se == pytest.approx(se)
    low, high = first.judged.tested.interval
    quantile = NormalDist().inv_cdf(0.975)  # one difference at 5 evaluations
    assert (low, high) == pytest.approx((1 - quantile * se, 1 + quantile * se), rel=2e-3)
    # equal keys are one result
    assert (second.judged.how, second.judged.verdict, second.judged.tested.interval) == ("same", "same", (0, 0))


def test_a_csv_against_its_copy_elsewhere_differs_by_nothing(read, two, tmp_path, command):
    read(a=two["a"])
    copy = tmp_path / "copy.csv"
    copy.write_bytes((tmp_path / "a" / "results.csv").read_bytes())
    for pair in ((tmp_path / "a", copy), (copy, tmp_path / "a"), (copy, copy)):
        code, out, _ = command("compare", *pair, "--fail-on-regression")
        assert not code
        assert re.findall(r"│ same +│ same +│", out) == ["│ same   │ same    │"] * 3
        assert "unpaired" not in out
        assert " 0 " in out


def test_older_files_without_the_metrics_code_are_one_result_too(read, two, tmp_path, command):
    read(a=two["a"])
    frame = pd.read_csv(tmp_path / "a" / "results.csv").drop(columns="fid_sha256")
    frame.to_csv(tmp_path / "old.csv", index=False)
    assert command("compare", tmp_path / "old.csv", tmp_path / "old.csv")[1].count("│ same   │ same") == 3


def test_equal_keys_with_other_values_are_said(read, noise):
    a = cell("ddim", 5, 20.0, influences=noise[:, 0])
    rounded, other = {**a, "fid": 20.0 * (1 + 1e-7)}, {**a, "fid": 25.0}
    (result,) = compare(read(a=[a], b=[rounded]), Plain())
    assert [d.judged.how for d in result.differences] == ["same"]
    (result,) = compare(read(a=[a], b=[other]), Plain())
    assert [(d.judged.how, d.judged.delta) for d in result.differences] == [("paired", 5.0)]
    assert (
        "another row says by its key to be a result that there is already, with another value (fid 20 and 25)"
        in (result.warnings[-1])
    )


@pytest.mark.parametrize(("name", "value", "told"), [("nfe", 4.5, "nfe 5 and 4.5"), ("fid_se", 2.0, "fid_se 1 and 2")])
def test_other_figures_than_the_metric_make_no_one_result_either(read, name, value, told):
    a = cell("ddim", 5, 20.0, fid_se=1.0, nfe=5.0)
    (result,) = compare(read(a=[a], b=[{**a, name: value}]), Plain())
    assert [d.judged.how for d in result.differences] == ["unpaired"]
    assert any(f"with another value ({told})" in text for text in result.warnings)


@pytest.mark.parametrize("change", ["missing", "damaged", "edited", "length"])
def test_what_is_kept_wrongly_is_said_and_not_used(read, two, tmp_path, change):
    files = read(**two)
    row = files[1].every.iloc[0]
    path = influence_path(tmp_path / "b", row, "fid")
    if change == "missing":
        path.unlink()
    elif change == "damaged":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        column = {"edited": "fid", "length": "fid_n"}[change]
        frame = pd.read_csv(tmp_path / "b" / "results.csv")
        frame.loc[0, column] += 1
        frame.to_csv(tmp_path / "b" / "results.csv", index=False)
        files = [files[0], read_results(tmp_path / "b")]
    (result,) = compare(files, Plain())
    first = result.differences[0]
    assert first.judged.how == "unpaired"
    assert first.judged.tested.difference.se == pytest.approx(math.hypot(*(f.rows["fid_se"].iloc[0] for f in files)))
    text = {"missing": "has no file of theirs", "edited": "was kept with another fid"}.get(change, "is damaged")
    assert re.search(rf": 1 row is compared unpaired: .*{text}", result.warnings[-1])


@pytest.mark.parametrize(
    ("column", "value", "how"),
    [
        ("seed", 1, "unpaired"),
        ("reference_sha256", "beef", "unpaired"),
        ("extractor_sha256", "beef", "unpaired"),
        ("fid_sha256", "beef", "unpaired"),
        ("dtype", "float64", "paired"),
        ("device", "cuda", "paired"),
        ("model_sha256", "beef", "paired"),
    ],
)
def test_what_pairs(read, noise, column, value, how):
    a = cell("ddim", 5, 20.0, influences=noise[:, 0])
    b = cell("ddim", 5, 21.0, influences=noise[:, 1], **{column: value})
    (result,) = compare(read(a=[a], b=[b]), Plain())
    assert [d.judged.how for d in result.differences] == [how]
    assert any(warning.startswith(f"{column}: ") for warning in result.warnings)
    assert bool(result.decisive) == (column in ("reference_sha256", "extractor_sha256"))


def test_models_are_told_by_name(read):
    a = cell("ddim", 5, 20.0, model="cifar10", model_sha256="beef" * 16)
    b = cell("ddim", 5, 21.0, model="cifar10", model_sha256="cafe" * 16)
    (result,) = compare(read(a=[a], b=[b]), Plain())
    assert "model_sha256: cifar10 (beefbeefbeef) against cifar10 (cafecafecafe)" in result.warnings


@pytest.mark.parametrize("column", ["samples", "extractor_sha256", "reference_sha256", "quantise"])
def test_decisive_conditions_are_refused_unless_forced(command, read, tmp_path, column):
    read(a=[cell("ddim", 5, 20.0)], b=[cell("ddim", 5, 21.0, **{column: 99 if column == "samples" else "x"})])
    code, _, err = command("compare", tmp_path / "a", tmp_path / "b")
    assert code == 2
    assert re.search(f"a and .*b do not compare: {column}: .*; --force compares them all the same", err)
    code, out, _ = command("compare", tmp_path / "a", tmp_path / "b", "--force")
    assert not code
    assert f"{column}: " in out


def test_plain_csvs_that_people_wrote(read, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("sampler,nfe,fid\nddim,5,20.5\nddim,10,11\nmagic,3,1\n")
    (run,) = read(a=[cell("ddim", 5, 20.0), cell("ddim", 10, 12.0)])
    (result,) = compare([run, read_results(path)], Plain())
    assert [(d.sampler, d.nfe, d.judged.how, d.judged.verdict) for d in result.differences] == [
        ("ddim", 5, "no standard errors", "unknown"),
        ("ddim", 10, "no standard errors", "unknown"),
    ]
    assert any("does not say its samples" in w for w in result.warnings)
    assert result.only_other == ["magic at 3"]


def baseline(results, name, registry, metric=None, family="evaluations"):
    return compare_with_baseline(results, name, registry, metric or Plain(), family)


def test_a_baseline_at_equal_budgets_by_any_of_its_names(read, noise, registry):
    """Heun takes 9 evaluations of a budget of 10: its counterpart is DDIM's 10, not nobody's 9."""
    (run,) = read(
        a=[
            cell("dpm-solver:order=1:mode=singlestep", 10, 20.0, influences=noise[:, 0]),
            cell("heun", 10, 19.0, influences=noise[:, 1], nfe=9.0, spacing="karras"),
            cell("ddpm", 5, 19.0, influences=noise[:, 2]),
        ]
    )
    for name in (
        "dpm:order=1:mode=singlestep",
        "dpm-solver:mode=singlestep:order=1",
        "dpm:mode=singlestep:order=1:prediction=x0",
    ):
        result = baseline(run, name, registry)
        assert [(d.sampler, d.asked, d.nfe, d.base, d.judged.how) for d in result.differences] == [
            ("heun", 10, 9, 20.0, "paired")
        ]
        assert result.only_other == ["ddpm (uniform) at 5"]
    for name in ("dim", "dpm:order=one", "ddpm:nosuch=1"):
        with pytest.raises(UserError, match=f"unknown baseline '{name}'"):
            baseline(run, name, registry)


def test_a_baseline_of_runs_by_steps_is_matched_at_counted_evaluations(read, registry):
    cells = [
        cell("ddim", 10, 20.0, budget=None),
        cell("heun", 10, 19.0, budget=None, nfe=19.0),
        cell("unipc", 10, 18.0, budget=None),
    ]
    (run,) = read(a=cells)
    result = baseline(run, "ddim", registry)
    assert [(d.sampler, d.nfe) for d in result.differences] == [("unipc", 10)]
    assert result.only_other == ["heun (uniform) at 19"]


def test_a_baseline_is_one_configuration(read, registry):
    cells = [
        cell("ddim", 5, 20.0, spacing="quadratic"),
        cell("ddim", 5, 25.0, spacing="uniform"),
        cell("mine", 5, 1.0, spacing="a"),
        cell("mine", 5, 2.0, spacing="b"),
    ]
    (run,) = read(a=cells)
    result = baseline(run, "ddim", registry)  # its own spacing is quadratic
    assert len(result.differences) == 3
    assert (result.differences[0].label, result.differences[0].base) == ("ddim (uniform)", 20.0)
    assert baseline(run, "ddim:spacing=uniform", registry).differences[0].base == 25.0
    with pytest.raises(UserError, match="'mine' is 2 configurations here: spacing a or b; choose one with --wh"):
        baseline(run, "mine", registry)


def test_families(read, registry):
    """The interval is wider the more differences share it, across files too; and the verdict is the interval's."""

    def run(key):
        return [cell(f"mine:a={i}", budget, 20.0, key=f"{key}{i}{budget}") for i in range(5) for budget in (5, 10)]

    files = read(a=run("a"), b=run("b"), c=run("c"))
    widths = {}
    for family, size in (("evaluations", 10), ("all", 20)):
        comparisons = compare(files, Plain(), family)
        judged = [d.judged for one in comparisons for d in one.differences]
        assert {one.size for one in judged} == {size}
        widths[family] = judged[0].tested.half_width / math.sqrt(2)
        # independent pairs that share their base: between one and Bonferroni
        assert NormalDist().inv_cdf(0.975) < widths[family] <= NormalDist().inv_cdf(1 - 0.025 / size) + 0.05
    assert widths["evaluations"] < widths["all"]
    assert len(compare(files[:2], Plain())[0].differences) == 10


def test_verdicts_and_intervals_never_disagree(read, registry):
    rng = np.random.default_rng(3)
    cells = [cell("ddim", 5, 20.0), *(cell(f"mine:a={i}", 5, 20 + 3 * rng.standard_normal()) for i in range(40))]
    (run,) = read(a=cells)
    found = set()
    for d in baseline(run, "ddim", registry).differences:
        low, high = d.judged.tested.interval
        assert d.judged.verdict == ("better" if high < 0 else "worse" if low > 0 else "undecided")
        assert (d.judged.tested.p < 0.05) == (d.judged.verdict != "undecided")
        found.add(d.judged.verdict)
    assert found == {"better", "worse", "undecided"}


def test_a_bias_that_differs_is_extrapolated_away(read, registry, noise, tmp_path, command, monkeypatch):
    """At n samples b looks better by 2; its halves say that at infinitely many it is worse by 4."""
    halves = {
        "ddim": 20 + 4 + np.array([[0.1, -0.1], [-0.1, 0.1], [0.05, -0.05], [0.0, 0.0]]),
        "ddpm": 18 - 2 + np.array([[0.1, -0.1], [-0.1, 0.1], [0.05, -0.05], [0.0, 0.0]]),
    }
    (run,) = read(
        a=[
            cell("ddim", 5, 20.0, influences=noise[:, 0], halves=halves["ddim"]),
            cell("ddpm", 5, 18.0, influences=noise[:, 1], halves=halves["ddpm"]),
        ]
    )
    assert baseline(run, "ddim", registry).differences[0].judged.verdict == "better"
    result = baseline(run, "ddim", registry, Extrapolated())
    (d,) = result.differences
    assert (d.judged.delta_n, d.judged.delta, d.judged.verdict) == (-2.0, pytest.approx(4.0), "worse")
    row = comparison_frame(result).iloc[0]
    assert (row["delta"], row["delta_inf"]) == (-2.0, pytest.approx(4.0))
    assert row["low"] < row["delta_inf"] < row["high"]
    monkeypatch.setattr(type(registry.metric("fid")), "extrapolates", True)
    for width in (80, 160):
        monkeypatch.setenv("COLUMNS", str(width))
        for flags in ([], ["--markdown"]):
            _, out, _ = command("compare", tmp_path / "a", "--baseline", "ddim", *flags)
            assert all(text in out for text in ("ΔFID∞", "-2.00", "+4.00†", "worse"))
            assert "†: ΔFID∞ is more than half an error away from ΔFID (1 cell)." in out


@pytest.mark.parametrize("width", [80, 120])
def test_the_comparison_is_whole_at_any_width(read, registry, command, monkeypatch, tmp_path, width):
    long = "dpm-solver:order=3-published:mode=singlestep:prediction=eps:thresholding=true"
    (run,) = read(a=[cell("ddim", 5, 20.0), cell(long, 5, 18.0), cell("heun", 5, 16.0), cell("x" * 90, 5, 9.0)])
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = command("compare", tmp_path / "a", "--baseline", "ddim")
    assert not code
    assert "…" not in out
    assert max(len(line) for line in out.splitlines() if line[0] in "┏┃┡│├└") <= width
    squeezed = re.sub(r"\s+|[│┃]", "", out)
    for d in baseline(run, "ddim", registry).differences:
        low, high = d.judged.tested.interval
        for figure in (f"{d.base:.4g}", f"{d.other:.4g}", f"{d.judged.delta:+.3g}", f"[{low:+.3g}, {high:+.3g}]"):
            assert figure in out
    assert d.judged.verdict in out
    assert squeezed.count("x") >= 90
    assert "Intervals hold at once, with 95 % confidence, for all differences at one number of evaluations (3)" in out
    assert "unpaired: the error is that of two independent results." in out


def test_the_csv_says_what_the_table_says(read, tmp_path, command):
    read(a=[cell("ddim", 10, 20.0), cell("heun", 10, 16.0, nfe=9.0)])
    assert not command("compare", tmp_path / "a", "--baseline", "ddim", "--csv", tmp_path / "out.csv")[0]
    (row,) = pd.read_csv(tmp_path / "out.csv").to_dict("records")
    text = (Path(__file__).parents[2] / "docs" / "results-files.md").read_text()
    assert all(f"`{name}`" in text for name in row if name not in ("fid", "fid_base"))
    assert (row["matched_by"], row["matched_at"], row["nfe"], row["delta"]) == ("budget", 10, 9, -4)
    assert (row["family_size"], row["verdict"], row["method"]) == (1, "better", "unpaired")


def test_what_cannot_be_judged_says_what_it_takes(read, tmp_path, command):
    reason = "fid: no error below 336 samples"
    read(a=[cell(name, 5, 20.0, fid_se=None, reason=reason) for name in ("ddim", "heun")])
    code, out, _ = command("compare", tmp_path / "a", "--baseline", "ddim", "--fail-on-regression")
    assert not code
    assert f"2 cells: {reason}" in out
    assert "No difference has a standard error to judge it by." in out
    assert "no standard errors" in out


def test_exit_codes_of_comparisons(read, tmp_path, command):
    """1 where nothing is compared, or with --fail-on-regression where something is worse in any file."""
    read(a=[cell("ddim", 5, 20.0)], b=[cell("ddim", 5, 30.0, key="b")], c=[cell("heun", 5, 20.0)])
    a, b, c = (tmp_path / name for name in "abc")
    for arguments, expected in (
        ((a, b), 0),
        ((a, b, "--fail-on-regression"), 1),
        ((a, a, b, "--fail-on-regression"), 1),
        ((b, a, "--fail-on-regression"), 0),
        ((a, c), 1),
        ((a, c, b), 0),
        ((a,), 2),
        ((a, b, "--baseline", "ddim"), 2),
        ((a, "--baseline", "ddim", "--against", "published"), 2),
        ((a, b, "--metric", "kid"), 2),
        ((a, b, "--where", "samples=64"), 2),
        ((a, b, "--csv", tmp_path / "nowhere" / "out.csv"), 2),
        ((a, b, "--csv", "/dev/full"), 2),
    ):
        assert command("compare", *arguments)[0] == expected, arguments
    assert "no cell of" in command("compare", a, c)[1]


def test_what_a_run_keeps_is_what_is_read(tiny_model, tmp_path, registry):
    options = {"model": str(tiny_model), "device": "cpu", "samples": 40, "nfe": [2], "metrics": "kid"}
    samplerbench.run("ddim,dpm", out=tmp_path / "run", **options)
    (run,) = choose([read_results(tmp_path / "run", "kid")], registry)
    (d,) = compare_with_baseline(run, "ddim", registry, registry.metric("kid")).differences
    assert (d.sampler, d.judged.how) == ("dpm-solver", "paired")
