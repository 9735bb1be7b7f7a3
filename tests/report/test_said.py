"""What run.json says of a run that is not finished, and of samplers without rows."""

from __future__ import annotations

import json

import pytest

from .conftest import cell, write_run

ASKED = [{"sampler": name, "order": 1, "stochastic": False, "values": [5, 10, 20]} for name in ("ddim", "ddpm", "heun")]


@pytest.fixture
def run(tmp_path):
    """Three of nine cells have ended; a fourth row is of an earlier plan."""

    def of(status, cells=None, **said):
        rows = [cell("ddim", n, 90.0 / n) for n in (5, 10)] + [cell("ddpm", 5, 30.0), cell("unipc", 5, 9.0)]
        folder = write_run(tmp_path / "run", rows if cells is None else cells)
        written = {"status": status, "cells": 9, "config": {"axis": "nfe"}, "asked": ASKED, **said}
        (folder / "run.json").write_text(json.dumps(written))
        return folder

    return of


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("running", "is still running, or was ended from outside"),
        ("interrupted", "was interrupted"),
        ("aborted", "was stopped by an error"),
    ],
)
def test_a_run_that_is_not_finished_says_so(run, command, tmp_path, status, words):
    folder = run(status)
    line = f"{folder} {words}: 3 of 9 cells are done; no row yet of heun"
    assert line in command("table", folder)[1].splitlines()
    code, _, _ = command("report", folder, "-o", tmp_path / "report.html")
    assert not code
    assert line in (tmp_path / "report.html").read_text()
    assert line in command("compare", folder, "--baseline", "ddim")[1]
    assert "cells are done" not in command("table", run("finished"))[1]


def test_a_run_of_an_older_version_counts_its_rows(run, command):
    folder = run("running", asked=None)
    line = f"{folder} is still running, or was ended from outside: 4 of 9 cells are done"
    assert line in command("table", folder)[1].splitlines()


def test_a_run_without_rows(run, command):
    folder = run("interrupted")
    header = (folder / "results.csv").read_text().splitlines()[0]
    (folder / "results.csv").write_text(f"{header}\n")
    line = f"{folder} was interrupted: 0 of 9 cells are done; no row yet of ddim, ddpm, heun"
    code, out, _ = command("table", folder)
    assert (code, out.splitlines()) == (1, [f"{folder} has no rows", line])
    code, _, err = command("report", folder)
    assert code == 2
    assert line in err


def test_a_baseline_without_rows(run, command):
    failed = cell("pndm", 5, None, status="failed")
    folder = run("running", [cell("ddim", 5, 20.0), cell("ddpm", 5, 30.0), failed])
    for name, told in (
        ("heun", f"baseline 'heun' is one of the samplers of {folder}, and none of its cells is done"),
        ("pndm", f"baseline 'pndm' has no fid in {folder}"),
        ("dimm", "unknown baseline 'dimm'; did you mean 'ddim'?"),
    ):
        code, _, err = command("compare", folder, "--baseline", name)
        assert code == 2
        assert told in err


def test_options_of_a_sampler_that_is_not_here_are_numbers(run, command):
    """Without its plugin 0 and 0.0 are text, and mean the same."""
    cells = [cell(name, 5, 20.0 + i) for i, name in enumerate(("ahead", "ahead:lead=0.0", "ahead:lead=1.0:mode=a"))]
    folder = run("finished", cells)
    assert "against ahead:lead=0.0 (uniform)" in command("compare", folder, "--baseline", "ahead:lead=0")[1]
    out = command("table", folder, "--where", "sampler=ahead:mode=a:lead=1")[1]
    assert "ahead:lead=1.0:mode=a" in out
    assert "lead=0.0" not in out
    code, _, err = command("compare", folder, "--baseline", "ahead:lead=0.5")
    assert code == 2
    assert "did you mean 'ahead:lead=0.0'?" in err
