"""The table of results: every figure whole at any width, from any CSV."""

from __future__ import annotations

import io
import re

import pandas as pd
import pytest
from rich.console import Console

from samplerbench.plugins import load_plugins
from samplerbench.report.table import markdown_table, metric_tables

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


def printed(frame, metric=FID, width=80):
    console = Console(width=width, file=io.StringIO())
    for table in metric_tables(frame, metric, width):
        console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_figure_is_cut_at_any_width(width):
    text = printed(rows(), width=width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert sorted(re.findall(r"[\d.]+ ±", text)) == sorted(f"{v:#.4g}".rstrip(".") + " ±" for v in rows()["fid"])
    assert text.count("(1.23)") == 8  # the ratio to the best
    assert re.findall(r"@\d+", text) == ["@4", "@14"]  # where fewer were taken than the budget allows
    assert all(part in text for part in LONG.split(":"))


def test_the_best_of_a_column_is_bold_in_its_direction():
    lines = markdown_table(rows(), FID).splitlines()
    assert lines[0] == "| network evaluations | 5 | 6 | 8 | 10 | 12 | 15 | 20 | 50 |"
    assert lines[2].startswith("| `ddim` (quadratic) | 246.8 ±0.12 | 205.7 ±0.12 |")
    assert lines[3].startswith(f"| `{LONG}` (quadratic) | **200.0 ±0.12 @4** | **166.7 ±0.12** |")
    higher = markdown_table(rows(recall=rows()["fid"]), RECALL).splitlines()
    assert higher[2].startswith("| `ddim` (quadratic) | **246.8** |")


def test_what_was_not_done_says_so():
    frame = rows(status=["skipped", "failed", *["done"] * 14], fid=[None, None, None, *rows()["fid"][3:]])
    assert markdown_table(frame, FID).splitlines()[2].startswith("| `ddim` (quadratic) | skipped | failed | none |")
    assert printed(rows(kid=None), KID).count("none") == 16


def test_steps_and_plain_files():
    steps = rows(budget=None, steps=rows()["budget"])
    assert markdown_table(steps, FID).startswith("| steps (@ evaluations) | 5 |")
    plain = pd.DataFrame({"sampler": ["ddim", "mine"], "nfe": [5, 5.5], "fid": [3.0, 2.0]})
    assert markdown_table(plain, FID).splitlines()[2:] == ["| `ddim` | **3.000** |  |", "| `mine` |  | **2.000** |"]


def test_several_files_make_one_table(command, tmp_path):
    mine = tmp_path / "mine.csv"
    rows(samples=100).to_csv(tmp_path / "results.csv")
    rows(samples=100, sampler="mine", spacing=None).iloc[:8].to_csv(mine)
    code, out, _ = command("table", tmp_path, mine, "--markdown")
    assert not code
    assert out.splitlines()[4].startswith("| `mine` | 246.8 ±0.12 |")
    assert "unknown, 100 samples, seed unknown" in out
    code, out, _ = command("table", mine, mine)
    assert "8 cells more than once; the last row of each counts" in out
    rows(samples=99).to_csv(mine)
    code, _, err = command("table", tmp_path, mine)
    assert code == 2
    assert "do not compare: samples: 100 against 99; --force shows them all the same" in err
    code, out, _ = command("table", tmp_path, mine, "--force")
    assert not code
    assert "100 and 99 samples" in out


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
