"""Rows of several guidances: told apart, set against each other at equal guidance, and said where they are not."""

from __future__ import annotations

import json

import pytest

from samplerbench import UserError
from samplerbench.report.choice import Where, choose
from samplerbench.report.compare import compare, compare_with_baseline
from samplerbench.report.literature import _matched, published_folder
from samplerbench.report.results import read_results
from samplerbench.report.runs import cells_of_others
from samplerbench.report.sheets import comparison_frame
from samplerbench.report.words import comparison_captions, verdict_line

from .conftest import cell, write_run


def cells(noise, scales=("", 4), samplers=("ddim", "dpm-solver")):
    """dpm-solver is better without guidance, and worse at 4."""
    values = {("ddim", ""): 10.0, ("dpm-solver", ""): 6.0, ("ddim", 4): 20.0, ("dpm-solver", 4): 24.0}
    return [
        cell(name, 10, values[name, scale], influences=noise[:, i], guidance=scale)
        for scale in scales
        for i, name in enumerate(samplers)
    ]


def test_a_baseline_is_one_at_equal_guidance(noise, read, registry, fid):
    (run,) = read(run=cells(noise))
    found = compare_with_baseline(run, "ddim", registry, fid)
    told = {(one.label, one.base, one.other): one.judged.verdict for one in found.differences}
    assert told == {("dpm-solver (uniform)", 10, 6): "better", ("dpm-solver (uniform), guidance 4", 20, 24): "worse"}
    assert "Cells are compared at equal budgets and guidance. " in comparison_captions(found)[0]
    assert verdict_line(found) == "Against ddim (uniform): 1 better; 1 worse."
    assert comparison_frame(found)["guidance"].tolist() == ["", "4"]


def test_two_files_meet_at_the_guidance_that_both_have(noise, read, fid):
    files = read(one=cells(noise), two=cells(noise, scales=("",)))
    (found,) = compare(files, fid)
    assert [one.label for one in found.differences] == ["ddim (uniform)", "dpm-solver (uniform)"]
    assert found.only_base == ["ddim (uniform), guidance 4 at 10", "dpm-solver (uniform), guidance 4 at 10"]
    assert not [text for text in found.warnings if "guidance" in text]


def test_of_an_older_file_all_rows_are_without_guidance(noise, read, fid):
    old = [{name: value for name, value in one.items() if name != "guidance"} for one in cells(noise, scales=("",))]
    (found,) = compare(read(one=old, two=cells(noise)), fid)
    assert [(one.label, one.base, one.other) for one in found.differences] == [
        ("ddim (uniform)", 10, 10), ("dpm-solver (uniform)", 6, 6),
    ]  # fmt: skip
    assert found.only_other == ["ddim (uniform), guidance 4 at 10", "dpm-solver (uniform), guidance 4 at 10"]


def test_two_guidances_may_be_compared_and_it_is_said(noise, read, fid):
    (found,) = compare(read(one=cells(noise, scales=("",)), two=cells(noise, scales=(4,))), fid)
    assert [(one.label, one.base, one.other) for one in found.differences] == [
        ("ddim (uniform), guidance 4", 10, 20), ("dpm-solver (uniform), guidance 4", 6, 24),
    ]  # fmt: skip
    assert "guidance: 1 against 4" in found.warnings
    assert "Cells are compared at equal budgets. " in comparison_captions(found)[0]


def test_without_a_common_guidance_one_has_to_be_chosen(noise, read, fid):
    other = [{**one, "guidance": int(one["guidance"] or 2)} for one in cells(noise)]
    choice = "choose one of each, like --where guidance=1 --where guidance=2"
    message = rf"two have no guidance in common, and .*two has 2 and 4; {choice}"
    with pytest.raises(UserError, match=message):
        compare(read(one=cells(noise, scales=("",)), two=other), fid)


@pytest.mark.parametrize(("value", "left"), [("4", ["4"]), ("1", [""]), ("", [""])])
def test_where(noise, tmp_path, registry, value, left):
    """A scale of 1 is none. pandas makes 4.0 of a column with 4 and empty fields."""
    folder = write_run(tmp_path / "run", cells(noise))
    assert ",4.0," in (folder / "results.csv").read_text() or ",4," in (folder / "results.csv").read_text()
    (found,) = choose([read_results(folder)], registry, [Where("guidance", value)])
    assert found.every["guidance"].unique().tolist() == left


def test_what_is_published_has_no_guidance(noise, read, registry):
    (run,) = read(run=cells(noise))
    assert set(_matched(run, published_folder(), registry)["our fid"]) <= {10, 6}


def test_cells_that_are_done_are_counted_by_guidance(noise, tmp_path, command):
    folder = write_run(tmp_path / "run", cells(noise)[:3])
    asked = [{"sampler": n, "guidance": g, "values": [10]} for g in ("", "4") for n in ("ddim", "dpm-solver")]
    (folder / "run.json").write_text(json.dumps({"status": "interrupted", "cells": 4, "asked": asked}))
    assert f"{folder} was interrupted: 3 of 4 cells are done\n" in command("table", folder)[1]


def test_rows_of_another_guidance_are_of_another_command(noise, read):
    (run,) = read(run=cells(noise))
    asked = [{"sampler": name, "guidance": "4", "values": [10]} for name in ("ddim", "dpm-solver")]
    assert cells_of_others(run.every, {"asked": asked}) == ["ddim at 10", "dpm-solver at 10"]
    asked += [{"sampler": "ddim", "values": [10]}]
    assert cells_of_others(run.every, {"asked": asked}) == ["dpm-solver at 10"]
    assert cells_of_others(run.every, {"asked": asked[2:]})[1:] == [
        "ddim at 10 with guidance 4", "dpm-solver at 10 with guidance 4",
    ]  # fmt: skip


def test_guiders_are_cited(noise, tmp_path, command):
    auto = cell("ddim", 10, 9.0, influences=noise[:, 0], guidance="auto:scale=2:model=weak")
    folder = write_run(tmp_path / "run", [*cells(noise), auto])
    code, out, _ = command("cite", folder)
    assert not code
    assert ("ho2021classifier" in out, "karras2024guiding" in out) == (True, True)
