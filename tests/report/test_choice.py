"""Which rows count: stated rules, said when they leave something out, refused where there is a choice to make."""

from __future__ import annotations

import re

import pytest

from samplerbench import UserError
from samplerbench.report.choice import Where, canonical, check_one_table, choose
from samplerbench.report.results import read_results

from .conftest import cell, write_run


@pytest.fixture
def chosen(tmp_path, registry):
    def read(*cells, where=(), force=False):
        results = read_results(write_run(tmp_path, list(cells)))
        (one,) = choose([results], registry, [Where.parse(text) for text in where], force)
        return one

    return read


def values(results):
    return results.rows["fid"].tolist()


def test_of_one_cell_the_newest_row_counts(chosen):
    one = chosen(
        cell("ddim", 5, 20, finished="2026-03-01T00:00:00+00:00"),
        cell("ddim", 5, 30, finished="2026-02-01T00:00:00+00:00"),
        cell("ddim", 10, 10),
    )
    assert values(one) == [20, 10]
    assert "1 cell more than once; the newest row of each counts" in one.notes[0]
    assert values(chosen(cell("ddim", 5, 20, finished=None), cell("ddim", 5, 30, finished=None))) == [30]


OLD, NEW = {"sampler_sha256": "0ld0" * 16}, {"sampler_sha256": "beef" * 16, "finished": "2026-03-01T00:00:00+00:00"}


def test_of_one_sampler_the_code_of_the_newest_row_counts(chosen, tmp_path, command):
    cells = [
        cell("my-ab2", 5, 30, **OLD),
        cell("my-ab2", 10, 20, **OLD),
        cell("my-ab2", 20, 19, **OLD),
        cell("my-ab2", 10, 15, **NEW, key="new"),
        cell("ddim", 5, 9, **OLD),
    ]
    one = chosen(*cells)
    assert values(one) == [15, 9]
    line = "my-ab2 at 5, 20: rows of older code of this sampler, or of what it imports, are left out; run them again"
    assert any(f"{tmp_path}: {line} with the same --out" in note for note in one.notes)
    assert values(chosen(*cells, where=["sampler_sha256=0ld0"])) == [30, 20, 19, 9]
    assert values(chosen(*cells, force=True)) == [30, 15, 19, 9]
    _, out, _ = command("table", tmp_path, "--markdown")
    assert "| `my-ab2` (uniform) |  | **15.00 ±1.0** |" in out
    assert values(chosen(*cells[:3], cell("my-ab2", 50, 9, sampler_sha256=None))) == [30, 20, 19, 9]


def test_a_metric_that_older_code_alone_has_is_not_shown(chosen, tmp_path):
    """The newest row was measured with another metric: a value of older code does not stand in for it."""
    newer = cell("my-ab2", 10, None, **NEW, key="new")
    one = chosen(cell("my-ab2", 10, 20, **OLD), newer, cell("ddim", 10, 9))
    assert values(one) == [9]
    assert any("my-ab2 at 10: rows of older code" in note for note in one.notes)


def test_older_code_of_another_file_does_not_stand_in_one_table(tmp_path, command):
    old = write_run(tmp_path / "old", [cell("my-ab2", 5, 30, **OLD)])
    new = write_run(tmp_path / "new", [cell("my-ab2", 10, 15, **NEW)])
    _, out, _ = command("table", old, new, "--markdown")
    assert "my-ab2 at 5: rows of older code" in out
    assert "30.00" not in out
    _, out, _ = command("table", old, new, "--markdown", "--force")
    assert "| 30.00 ±1.0 | 15.00 ±1.0 |" in out


def test_other_versions_of_torch_and_samplerbench_are_said(tmp_path, command):
    cells = [cell("ddim", 5, 30, torch="2.9", samplerbench="0.1.0"), cell("ddim", 10, 20, torch="2.10")]
    _, out, _ = command("table", write_run(tmp_path, cells))
    assert "; drawn with torch 2.9 and 2.10\n" in out


def test_newer_rows_of_other_metrics_hide_no_value_and_newer_failures_do(chosen):
    later = "2026-03-01T00:00:00+00:00"
    other = cell("ddim", 5, None, finished=later)
    failed = cell("ddim", 5, None, finished=later, status="failed", reason="no luck", fid_sha256=None)
    assert values(chosen(cell("ddim", 5, 20), other)) == [20]
    assert values(chosen(cell("ddim", 5, 20), failed)) == []


def test_the_most_samples_count_and_turn_no_ranking(chosen, command, tmp_path, fid):
    """64 samples beside 256 of the same cells, written later: their larger bias must not decide."""
    cells = [
        cell("ddim", 5, 20),
        cell("dpm-solver", 5, 10),
        cell("ddim", 5, 30, samples=64, fid_n=64),
        cell("dpm-solver", 5, 35, samples=64, fid_n=64),
        cell("ddim", 10, 9, samples=64, fid_n=64),
    ]
    one = chosen(*cells)
    assert values(one) == [20, 10]
    assert one.notes == (f"{tmp_path}: 3 cells with fewer samples than 256 left out (--where samples=64 shows them)",)
    assert values(chosen(*cells, where=["samples=64"])) == [30, 9, 35]
    _, out, _ = command("compare", tmp_path, "--baseline", "ddim")
    assert "3 cells with fewer samples than 256 left out" in out
    assert re.search(r"dpm-solver .*-10.0 .*better", out)
    _, out, _ = command("table", tmp_path, "--markdown")
    assert "| `ddim` (uniform) | 20.00 ±1.0 |" in out


@pytest.mark.parametrize(
    ("column", "value", "choice"),
    [
        ("model_sha256", "beef" * 16, "model_sha256 7f797f79 (tiny, 1 cell) or beefbeef (tiny, 1 cell)"),
        ("reference_sha256", "beef" * 16, "reference_sha256 e63de63d (1 cell) or beefbeef (1 cell)"),
        ("extractor_sha256", "beef" * 16, "extractor_sha256 52995299 (fashion-mnist-cnn, 1 cell) or beefbeef"),
        ("fid_sha256", "beef" * 16, "fid_sha256 abcdabcd (1 cell) or beefbeef (1 cell)"),
        ("quantise", "floor", "quantise round-half-up (1 cell) or floor (1 cell)"),
        ("seed", 1, "seed 0 (1 cell) or 1 (1 cell)"),
        ("dtype", "bfloat16", "dtype float32 (1 cell) or bfloat16 (1 cell)"),
    ],
)
@pytest.mark.parametrize("budget", [5, 10], ids=["of one cell", "of another"])
def test_several_conditions_are_refused_with_the_choice(chosen, tmp_path, command, column, value, choice, budget):
    cells = [cell("ddim", 5, 20), cell("ddim", budget, 30, **{column: value})]
    if column == "fid_sha256" and budget == 5:
        assert values(chosen(*cells)) == [30]  # the metric's code was changed, and the cell measured anew
    else:
        with pytest.raises(UserError) as error:
            chosen(*cells)
        assert choice in str(error.value)
        first = str(cells[0][column])[:8] if column.endswith("sha256") else cells[0][column]
        assert f"choose, like --where {column}={first}, or --force" in str(error.value)
        for arguments in (["table"], ["compare", "--baseline", "ddim"], ["compare", "--against", "published"]):
            code, _, err = command(*arguments, tmp_path)
            assert code == 2
            assert choice in err
    short = value[:7] if column.endswith("sha256") else value
    assert values(chosen(*cells, where=[f"{column}={short}"])) == [30]
    assert len(values(chosen(*cells, force=True))) == (1 if column == "fid_sha256" and budget == 5 else 2)


def test_two_models_without_hashes_do_not_mix(chosen):
    plain = {"model_sha256": None}
    with pytest.raises(UserError, match=re.escape("model tiny (1 cell) or large (1 cell)")):
        chosen(cell("ddim", 5, 20, **plain), cell("ddim", 10, 30, model="large", **plain))
    renamed = [cell("ddim", 5, 20), cell("ddim", 10, 30, model="renamed")]
    assert values(chosen(*renamed)) == [20, 30]  # one model, by its hash


def test_where(chosen):
    cells = [cell("ddim", 5, 20), cell("ddim:eta=0.5", 10, 30), cell("dpm-solver", 10, 10, steps=None)]
    assert values(chosen(*cells, where=["budget=10"])) == [30, 10]
    assert values(chosen(*cells, where=["budget=10", "sampler=dpm"])) == [10]
    assert values(chosen(*cells, where=["sampler=ddim", "sampler=dpm:order=2"])) == [20, 10]
    assert values(chosen(*cells, where=["steps="])) == [10]
    for where, message in (
        ("budgets=10", "unknown column 'budgets'; did you mean 'budget'"),
        ("sampler=ddin", "unknown value of sampler 'ddin'; did you mean 'ddim'"),
        ("reference_sha256=a", "unknown value of reference_sha256 'a' (known: e63de63de63d)"),
        ("budget=ten", "--where budget=ten: budget is a number, got 'ten'"),
        ("budget", "--where is COLUMN=VALUE, like samples=1024, got 'budget'"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            chosen(*cells, where=[where])


def test_runs_by_steps_among_budgets_are_left_out_and_said(chosen):
    cells = [cell("ddim", 5, 20), cell("ddim", 5, 19, budget=None)]
    one = chosen(*cells)
    assert values(one) == [20]
    assert "1 cell without budget left out (--where budget= shows them)" in one.notes[0]
    assert values(chosen(*cells, where=["budget="])) == [19]


def test_samplers_are_spelled_in_one_way(registry, chosen):
    names = ["dpm", "dpm:order=2", "dpm:order=1", "ipndm:spacing=logsnr:order=2", "mine:x=1", "ddim:eta=no", "ddim:"]
    assert canonical(names, registry) == {
        "dpm": "dpm-solver",
        "dpm:order=2": "dpm-solver",
        "dpm:order=1": "dpm-solver:order=1",
        "ipndm:spacing=logsnr:order=2": "ipndm:order=2:spacing=logsnr",
        "mine:x=1": "mine:x=1",
        "ddim:eta=no": "ddim:eta=no",
        "ddim:": "ddim:",
    }
    assert values(chosen(cell("dpm", 5, 20, finished=None), cell("dpm-solver", 5, 30, finished=None))) == [30]


def test_one_table_of_several_files(tmp_path, registry):
    def file(name, **changes):
        return read_results(write_run(tmp_path / name, [cell("ddim", 5, 20, **changes)]))

    check_one_table(choose([file("a"), file("b")], registry))
    for column, value in (("samples", 128), ("seed", 2), ("model_sha256", "beef" * 16)):
        with pytest.raises(UserError, match=f"a and .*b hold rows that do not compare: {column}"):
            check_one_table(choose([file("a"), file("b", **{column: value})], registry))
