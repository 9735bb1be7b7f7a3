"""The table of results: every figure whole at any width, from any CSV, and ties shown as ties."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from samplerbench.plugins import load_plugins
from samplerbench.report.markdown import markdown_table
from samplerbench.report.results import Results, read_results
from samplerbench.report.tables import reasons
from samplerbench.report.tables import table as table_of
from samplerbench.report.terminal.console import plain_console
from samplerbench.report.terminal.table import print_tables

from .conftest import cell, write_run

FID, KID, RECALL = (load_plugins().metric(name) for name in ("fid", "kid", "recall"))
LONG = "dpm-solver:order=3-published:mode=singlestep:prediction=eps:thresholding=true"


def rows(**changes):
    """Two samplers on eight budgets."""
    budgets = [5, 6, 8, 10, 12, 15, 20, 50]
    frame = pd.DataFrame(
        {
            "sampler": ["ddim"] * 8 + [LONG] * 8,
            "spacing": ["quadratic"] * 16,
            "budget": budgets * 2,
            "nfe": [*map(float, budgets), *(float(n - n % 2) for n in budgets)],
            "status": ["done"] * 16,
            "fid": [1234 / n for n in budgets] + [1000 / n for n in budgets],
            "fid_se": [0.125] * 16,
        }
    )
    return frame.assign(**changes)


def table(frame, tmp_path, metric=FID, honest=False):
    return table_of([Results("run", frame, tmp_path, metric.name)], metric, honest)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_figure_is_cut_at_any_width(tmp_path, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    print_tables(table(rows(), tmp_path), plain_console())
    text = capsys.readouterr().out
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert sorted(re.findall(r"[\d.]+ ±", text)) == sorted(f"{v:#.4g}".rstrip(".") + " ±" for v in rows()["fid"])
    assert text.count("(1.23)") == 8  # the ratio to the best
    assert re.findall(r"@\d+", text) == ["@4", "@14"]  # where fewer were taken than the budget allows
    assert all(part in text for part in LONG.split(":"))


def test_the_best_of_a_column_is_bold_in_its_direction(tmp_path):
    lines = markdown_table(table(rows(), tmp_path)).splitlines()
    assert lines[0] == "| network evaluations | 5 | 6 | 8 | 10 | 12 | 15 | 20 | 50 |"
    assert lines[2].startswith("| `ddim` (quadratic) | 246.8 ±0.12 | 205.7 ±0.12 |")
    assert lines[3].startswith(f"| `{LONG}` (quadratic) | **200.0 ±0.12 @4** | **166.7 ±0.12** |")
    higher = markdown_table(table(rows(recall=rows()["fid"]), tmp_path, RECALL)).splitlines()
    assert higher[2].startswith("| `ddim` (quadratic) | **246.8** |")


@pytest.mark.parametrize(("environment", "mark"), [({}, "*"), ({"FORCE_COLOR": "1"}, ""), ({"NO_COLOR": "1"}, "*")])
def test_a_star_stands_where_there_is_no_bold(tmp_path, command, monkeypatch, environment, mark):
    for name in ("FORCE_COLOR", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    _, out, _ = command("table", write_run(tmp_path, [cell("ddim", 5, 20.0), cell("ddpm", 5, 30.0)]))
    assert f"\n{mark or 'Bold'}: all that may be the best of their column" in out
    assert f" {mark}20.00 ±1.0 " in re.sub(r"\x1b\[\d+m", "", out)
    assert ("\x1b[1m" in out) == (not mark)
    assert "*30.00" not in out


def test_what_was_not_done_says_so(tmp_path):
    frame = rows(status=["skipped", "failed", *["done"] * 14], fid=[None, None, None, *rows()["fid"][3:]])
    lines = markdown_table(table(frame, tmp_path)).splitlines()
    assert lines[2].startswith("| `ddim` (quadratic) | skipped | failed | none |")
    assert markdown_table(table(rows(kid=np.nan), tmp_path, KID)).count("none") == 16


def test_steps_and_plain_files(tmp_path):
    steps = rows(budget=np.nan, steps=rows()["budget"])
    assert markdown_table(table(steps, tmp_path)).startswith("| steps (@ evaluations) | 5 |")
    plain = pd.DataFrame({"sampler": ["ddim", "mine"], "nfe": [5, 5.5], "fid": [3.0, 2.0]})
    lines = markdown_table(table(plain, tmp_path)).splitlines()
    assert lines[2:] == ["| `ddim` | **3.000** |  |", "| `mine` |  | **2.000** |"]


def test_last_steps_are_told_apart(tmp_path):
    cells = [cell("ddim", 5, 20.0), cell("ddim", 5, 30.0, final="none")]
    text = markdown_table(table_of([read_results(write_run(tmp_path, cells))], FID))
    assert "`ddim` (uniform) (final=zero) | **20.00 ±1.0**" in text
    assert "`ddim` (uniform) (final=none) | 30.00 ±1.0" in text


def test_ties_are_shown_as_ties_and_pairing_breaks_them(tmp_path, noise, command):
    """20.0 and 20.5 with errors of 0.3 are a tie; what they share makes the error of their difference 0.09."""
    cells = [cell(f"mine:a={i}", 5, v, influences=noise[:, i]) for i, v in enumerate((20.0, 20.05, 20.5))]
    run = write_run(tmp_path / "run", cells)
    (tmp_path / "alone.csv").write_bytes((run / "results.csv").read_bytes())
    for path, best, how in ((run, [True, True, False], "paired"), (tmp_path / "alone.csv", [True] * 3, "unpaired")):
        found = table_of([read_results(path)], FID)
        assert [row.cells[0].best for row in found.rows] == best
        _, out, _ = command("table", path)
        assert f"may be the best of their column, with 95 % confidence a column ({how} differences)." in out
    assert "3 rows are compared unpaired: " in out  # said of the one without its folder


def test_no_standard_errors_no_promise_of_them(tmp_path, command):
    reason = "fid: no error from 256 samples, it takes 896"
    write_run(tmp_path, [cell("ddim", 5, 20.0, fid_se=None, reason=reason), cell("ddpm", 5, 30.0, fid_se=None)])
    code, out, _ = command("table", tmp_path)
    assert not code
    assert "±" not in out
    assert "FID, lower is better (ratio to the lowest of the column)" in out
    assert "*: the lowest of its column. No cell has a standard error, so others may be as good." in out
    assert f"1 cell: {reason}" in out
    _, out, _ = command("table", tmp_path, "--markdown")
    assert f"1 cell: {reason}" in out
    assert "| `ddim` (uniform) | **20.00** |" in out


def test_an_honest_best(tmp_path, noise, command):
    """Two of equal truth: on each half another is better, by luck; each is then worth what it has on the other half."""
    lucky, other = np.array([[19.0, 21.0], [21.0, 19.0]]), np.array([[21.0, 19.0], [19.0, 21.0]])
    cells = [
        cell("ddim", 5, 20.0, influences=noise[:, 0], halves=lucky),
        cell("ddpm", 5, 20.0, influences=noise[:, 1], halves=other),
        cell("ddim", 10, 9.0),
    ]
    (first, second) = table_of([read_results(write_run(tmp_path, cells))], FID, honest=True).honest
    assert first.found is not None
    assert first.found.value == 21.0
    assert second.found is None
    _, out, _ = command("table", tmp_path, "--honest")
    assert re.search(
        r"5: \S+ \(uniform\) has the lowest on 50 % of the halves. The best of a half comes to 21.00 ±", out
    )
    assert "This figure is extrapolated from half of the samples to all of them." in out
    assert "10: the best cannot be chosen and estimated on different samples" in out


def test_several_files_make_one_table(command, tmp_path):
    mine = tmp_path / "mine.csv"
    rows(samples=100).to_csv(tmp_path / "results.csv")
    rows(samples=100, sampler="mine", spacing=None).iloc[:8].to_csv(mine)
    code, out, _ = command("table", tmp_path, mine, "--markdown")
    assert not code
    assert "\n| `mine` | 246.8 ±0.12 |" in out
    assert "unknown, 100 samples, seed unknown" in out
    code, out, _ = command("table", mine, mine)
    assert "8 cells more than once; the newest row of each counts" in out
    rows(samples=99).to_csv(mine)
    code, _, err = command("table", tmp_path, mine)
    assert code == 2
    assert re.search(r"hold rows that do not compare: samples 100 \(16 cells\) or 99 \(16 cells\); choose, like", err)
    code, out, _ = command("table", tmp_path, mine, "--where", "samples=99")
    assert not code
    assert f"{tmp_path}: no row fits --where samples=99" in out
    code, out, _ = command("table", tmp_path, mine, "--force")
    assert not code
    assert "16 cells more than once" in out


def test_bad_input(command, tmp_path):
    code, _, err = command("table", tmp_path)
    assert code == 2
    assert "no results at" in err
    rows().to_csv(tmp_path / "results.csv")
    code, _, err = command("table", tmp_path, "--metric", "kidd")
    assert code == 2
    assert "kid" in err
    code, _, err = command("table", tmp_path, "--metric", "kid")
    assert code == 2
    assert "lacks the column kid" in err
    write_run(tmp_path, [cell("ddim", 5, 20.0, contrast=0.1, contrast_se=0.1, contrast_n=9)])
    for name, text in (
        ("kid", f"kid was not measured in {tmp_path}; run its command again with --metrics fid,contrast,kid --out"),
        ("contrast", f"{tmp_path} has the metric 'contrast', and no plugin that is loaded registers it: add the --pl"),
    ):
        for arguments in (["table", tmp_path], ["compare", tmp_path, tmp_path]):
            code, _, err = command(*arguments, "--metric", name)
            assert code == 2
            assert text in err


@pytest.mark.parametrize(("width", "there"), [(60, False), (100, True)])
def test_a_wide_terminal_has_a_small_curve(tmp_path, command, monkeypatch, width, there):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    figures = {"ddim": (10.0, 20.0, 300.0), "heun": (10.0, None, 1000.0)}
    cells = [cell(name, n, v) for name, values in figures.items() for n, v in zip((5, 10, 20), values, strict=True)]
    run = write_run(tmp_path, [{**one, "status": "done" if one["fid"] else "skipped"} for one in cells])
    _, out, _ = command("table", run)
    assert ("log FID" in out) == there
    assert ("│ ▁▂█     │" in out) == there  # ln 2 of ln 30 is the second bar of eight; what is above is cut off
    assert ("│ ▁ █     │" in out) == there
    monkeypatch.delenv("FORCE_COLOR")
    assert "log FID" not in command("table", run)[1]


def test_the_lowest_figure_is_nowhere_called_the_best(tmp_path, noise, command):
    """At 256 samples ddpm is lower, at infinitely many ddim: it is marked, in every form of the table."""
    wobble = np.array([[0.1, -0.1], [-0.1, 0.1], [0.05, -0.05], [0.0, 0.0]])
    cells = [
        cell("ddim", 5, 20.0, influences=noise[:, 0], halves=24 + wobble),
        cell("ddpm", 5, 18.0, influences=noise[:, 1], halves=16 + wobble, nfe=4.0),
    ]
    run = write_run(tmp_path / "run", cells)
    page = tmp_path / "report.html"
    assert command("report", run, "-o", page)[0] == 0
    forms = {
        "*20.00 ": command("table", run)[1],
        "**20.00 ±": command("table", run, "--markdown")[1],
        r"\textbf{20.00}": command("table", run, "--latex", "--honest")[1],
        "<b>20.00</b>": page.read_text(),
    }
    for marked, text in forms.items():
        assert marked in text
        assert marked.replace("20.00", "18.00") not in text
        plain = " ".join(text.replace("\n% ", " ").split())
        assert "all that may be the best of their column at infinitely many samples, with 95 % confidence" in plain
        assert "@: the evaluations as counted, where they are not the column's number." in plain
    assert "% 5: ddpm (uniform) has the lowest on " in forms[r"\textbf{20.00}"]


def test_latex_is_printed_alone(tmp_path, command):
    run = write_run(tmp_path, [cell("ddim", 5, 20.0)])
    code, out, _ = command("table", run, "--latex")
    assert code == 0
    assert out.startswith(r"\begin{tabular}{lr}")
    assert all(line.startswith("%") for line in out.partition("\\end{tabular}\n")[2].splitlines())
    code, _, err = command("table", run, "--latex", "--markdown")
    assert code == 2
    assert "two ways to print it" in err


def test_reasons_are_told_of_cells_as_a_run_calls_them():
    frame = rows(reason=["", "why"] * 8, status=["done", "skipped"] * 8, guidance=["", "2"] * 8).iloc[[1, 2, 11]]
    (why, few), fewer = reasons(frame.assign(reason=["why", "few", "why"])), reasons(frame.assign(steps=3, budget=None))
    assert why.cells == ("ddim nfe=6 guidance=2", f"{LONG} nfe=10 guidance=2")
    assert few.cells == ("ddim nfe=8",)
    assert fewer[0].cells[0] == "ddim steps=3 guidance=2"
