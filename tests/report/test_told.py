"""What a comparison says besides its figures: other code, what cannot be paired, what has no counterpart."""

from __future__ import annotations

import re

import pytest

from samplerbench.report.compare import compare

from .conftest import cell
from .test_compare import Plain


def test_two_versions_of_a_sampler_are_told_in_words(read):
    def run(code):
        return [cell("my-ab2", 5, 20.0, sampler_sha256=code, key=code), cell("ddim", 5, 20.0, sampler_sha256="same")]

    (result,) = compare(read(a=run("one"), b=run("two")), Plain())
    (warning,) = [line for line in result.warnings if "code" in line]
    assert re.fullmatch(r"my-ab2: other code in .*b than in .*a \(sampler_sha256 says which\)", warning)


def test_files_of_an_older_schema_say_that_they_cannot_be_paired(read, noise):
    """Their keys are of another make, so that one result cannot be told by them."""
    new = cell("ddim", 5, 20.0, influences=noise[:, 0], schema=3)
    old = cell("ddim", 5, 20.00001, key="older", fid_sha256=None, schema=2)
    (result,) = compare(read(old=[old], new=[new]), Plain())
    assert [d.judged.how for d in result.differences] == ["unpaired"]
    assert "1 row is compared unpaired: rows of schema 2 do not say which noise they are from" in result.warnings[-1]


def test_cells_without_a_counterpart_are_listed_by_sampler(read):
    (result,) = compare(read(a=[cell("ddim", n, 20.0) for n in (5, 10, 20)], b=[cell("ddim", 5, 21.0)]), Plain())
    assert result.only_base == ["ddim (uniform) at 10, 20"]


def test_what_holds_for_several_files_is_said_once(read, tmp_path, command):
    read(a=[cell("ddim", 5, 20.0)], b=[cell("ddim", 5, 21.0, key="b")], c=[cell("ddim", 5, 22.0, key="c")])
    _, out, _ = command("compare", *(tmp_path / name for name in "abc"))
    assert out.count("Intervals hold at once") == 1
    assert out.count("unpaired: the error is") == 1


def test_nothing_differs_where_nothing_does(read, tmp_path, command):
    same = cell("ddim", 5, 20.0)
    unknown = [cell("heun", 5, value, fid_se=None, key=str(value)) for value in (20.0, 30.0)]
    read(a=[same, unknown[0]], b=[same, unknown[1]], c=[same])
    assert "Nothing differs." in command("compare", tmp_path / "a", tmp_path / "c")[1]
    _, out, _ = command("compare", tmp_path / "a", tmp_path / "b")
    assert "Nothing differs." not in out
    assert "No difference has a standard error to judge it by." in out


@pytest.mark.parametrize("options", [["--baseline", "ddim"], ["--against", "published"]])
def test_cells_without_a_value_are_said_with_their_reason(read, tmp_path, command, options):
    why = "heun needs at least 3 evaluations, got 2"
    skipped = [cell("heun", n, None, status="skipped", reason=why, nfe=n, budget=n) for n in (1, 2)]
    read(a=[cell("ddim", 10, 20.0), cell("ddpm", 10, 30.0, key="b"), *skipped])
    code, out, _ = command("compare", tmp_path / "a", *options)
    assert code == 0
    assert f"not compared, of {tmp_path / 'a'}: skipped: heun nfe=1, heun nfe=2: {why}" in out


def test_undecided_is_explained_where_it_is_said(read, tmp_path, command):
    read(a=[cell("ddim", 5, 20.0), cell("ddpm", 5, 20.001, key="b"), cell("dpm-solver", 5, 90.0, key="c")])
    told = [command("compare", tmp_path / "a", "--baseline", "ddim", *more)[1] for more in ([], ["--where", "fid=90"])]
    assert "undecided: the interval has 0 in it" in told[0]
    assert all(("undecided" in one) == ("undecided: the interval has 0 in it" in one) for one in told)


def test_numbers_of_evaluations_increase_whatever_the_order_of_the_rows(read, tmp_path, command):
    """As a second run with other budgets into the same folder leaves them."""
    budgets = (5, 20, 6, 10)
    names = enumerate(("ddim", "heun"))
    rows = [cell(name, n, 20.0 + i + n, key=f"{name}{n}") for i, name in names for n in budgets]
    read(a=[*rows, cell("heun", 50, 9.0), cell("heun", 8, 9.0)])
    _, out, _ = command("compare", tmp_path / "a", "--baseline", "ddim")
    assert re.findall(r"^│ heun \(uniform\) *│ *(\d+) ", out, re.MULTILINE) == ["5", "6", "10", "20"]
    assert "heun (uniform) at 8, 50" in out
    _, out, _ = command("table", tmp_path / "a")
    assert re.findall(r"\d+", out[out.index("network evaluations") :].splitlines()[0]) == [
        "5",
        "6",
        "8",
        "10",
        "20",
        "50",
    ]
