"""What readers of results say of rows that are not what they seem: edited, of other commands, of other code, too large
to be measured.
"""

from __future__ import annotations

import csv
import json
import os
import re
import stat

import pytest

from samplerbench import UserError
from samplerbench.bench.config import differing
from samplerbench.bench.record import checksum_of
from samplerbench.report.html.page import page
from samplerbench.report.overview import overview
from samplerbench.report.view import Floor

from .conftest import HASHES, cell, write_run


def sealed(folder):
    """The rows of a run with their checksums, as a run writes them."""
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (folder / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "checksum"])
        writer.writeheader()
        writer.writerows({**row, "checksum": checksum_of(row)} for row in rows)
    return folder


def test_rows_that_were_edited_are_named(tmp_path, command):
    run = sealed(write_run(tmp_path / "run", [cell("ddim", n, 20.0 + n) for n in range(5, 13)]))
    assert "by its checksum" not in command("table", run)[1]
    text = (run / "results.csv").read_text()
    (run / "results.csv").write_text(text.replace(",27.0,", ",1.0,"))
    line = "the row on line 4 was edited or damaged since it was written, by its checksum"
    page = tmp_path / "report.html"
    assert f"{run}: {line}" in command("table", run)[1]
    assert f"{run}: {line}" in command("compare", run, run)[1]
    assert f"{run / 'results.csv'}: {line}" in command("export-results", run, "-o", tmp_path / "run.zip")[2]
    assert command("report", run, "-o", page)[0] == 0
    assert f"{run}: {line}" in page.read_text()
    (run / "results.csv").write_text(text.replace("uniform", "logsnr"))
    line = "8 rows were edited or damaged since they were written, by their checksums (lines 2, 3, 4, 5, 6 and 3 more)"
    assert f"{run}: {line}" in command("table", run)[1]


def test_older_code_of_another_file_is_told_where_the_newer_has_the_cell(tmp_path, command):
    old = write_run(tmp_path / "old", [cell("mine", 5, 30.0, sampler_sha256="0ld0" * 16)])
    newer = {"sampler_sha256": "beef" * 16, "finished": "2026-03-01T00:00:00+00:00"}
    new = write_run(tmp_path / "new", [cell("mine", 5, 20.0, **newer)])
    _, out, _ = command("table", old, new)
    assert "mine at 5: another file has rows of older code" in out
    assert "(--where sampler_sha256=0ld00ld0 shows the others)" in out
    both = write_run(
        tmp_path / "both", [cell("mine", 5, 30.0, sampler_sha256="0ld0" * 16), cell("mine", 5, 20.0, **newer)]
    )
    assert "older code" not in command("table", both)[1]  # it was drawn again in its own run


class TestCommandOfARun:
    ROWS = (cell("ddim", 5, 20.0), cell("ddim", 10, 15.0), cell("heun", 5, 30.0))

    def facts(self, tmp_path, registry, asked, **config):
        run = write_run(tmp_path / "run", list(self.ROWS))
        said = {
            "command": ["/bin/samplerbench", "run"],
            "config": {"axis": "nfe", "samples": 256, "seed": 0, "dtype": "float32", **config},
            "model": {"sha256": HASHES["model_sha256"] * 16},
            "asked": [{"sampler": name, "values": values} for name, values in asked.items()],
        }
        (run / "run.json").write_text(json.dumps(said))
        (facts,) = overview([run], "fid", registry).runs
        return facts.command, dict(facts.facts)

    def test_of_all_rows(self, tmp_path, registry):
        command, facts = self.facts(tmp_path, registry, {"ddim": [5, 10], "heun": [5, 50]})
        assert command == "samplerbench run"
        assert not [name for name in facts if "command" in name]

    def test_of_some(self, tmp_path, registry):
        command, facts = self.facts(tmp_path, registry, {"ddim": [10]})
        assert command == "samplerbench run"
        assert facts["of other commands into the same folder"] == "ddim at 5; heun at 5"

    def test_of_none(self, tmp_path, registry):
        command, facts = self.facts(tmp_path, registry, {"ddim": [5, 10], "heun": [5]}, seed=1)
        assert command == ""
        assert facts["of another command than run.json says"] == "all 3 rows"


def test_other_grids_are_told():
    def run(folder, code, name="g.json", spacing=None):
        spacing = spacing or f"file:{name}"
        asked = [{"sampler": f"ddim:spacing={spacing}", "spacing": spacing, "sha256": code}]
        return {"folder": folder, "asked": asked, "samplers": {"ddim": {"sha256": "same"}}}

    assert differing(run("/a", "1"), run("/a", "1")) == []
    assert differing(run("/a", "1"), run("/b", "2", "/a/g.json")) == ["/a/g.json has other grids"]
    assert differing(run("/a", "1"), run("/b", "2")) == []  # it is another file
    assert differing(run("/a", "1", spacing="mine"), run("/a", "2", spacing="mine")) == ["the code of mine is another"]
    other = {**run("/a", "2"), "samplers": {"ddim": {"sha256": "other"}}}
    assert differing(run("/a", "1"), other) == ["the code of ddim is another"]


REAL = {"about": "real", "metric": "fid", "samples": 256, "value": 1.5}
REAL |= {f"{name}_sha256": HASHES[f"{name}_sha256"] * 16 for name in ("reference", "extractor")}


class TestFloors:
    def report(self, tmp_path, registry, *floors):
        run = write_run(tmp_path / "run", [cell("ddim", 5, 20.0), cell("ddim", 10, 16.0)])
        (run / "floors.json").write_text(json.dumps({"floors": floors}))
        return overview([run], "fid", registry)

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"value": float("nan")}, "the value of a floor is a number from 0 up, got nan"),
            ({"value": float("inf")}, "the value of a floor is a number from 0 up, got inf"),
            ({"value": -1.0}, "the value of a floor is a number from 0 up, got -1.0"),
            ({"value": True}, "the value of a floor is a number from 0 up, got True"),
            ({"se": -0.1}, "the se of a floor is a number from 0 up, got -0.1"),
            ({"se": True}, "the se of a floor is a number from 0 up, got True"),
            ({"samples": True}, "the samples of a floor is a whole number from 1 up, got True"),
            ({"about": 5}, "the about of a floor is text, got 5"),
        ],
    )
    def test_what_is_none(self, tmp_path, registry, change, told):
        with pytest.raises(UserError, match=rf"floors\.json is no file of floors: {re.escape(told)}"):
            self.report(tmp_path, registry, {**REAL, **change})

    def test_those_that_do_not_fit_are_told(self, tmp_path, registry):
        found = self.report(tmp_path, registry, {**REAL, "samples": 512}, {**REAL, "samples": 1024})
        assert found.charts[0].floors == ()
        assert "floors.json has none of 256 samples (it has those of 512 and 1024)" in found.notes[0]
        found = self.report(tmp_path, registry, {**REAL, "reference_sha256": "x"})
        assert "floors.json has none of this reference_sha256 (e63de63de63d)" in found.notes[0]
        found = self.report(tmp_path, registry, REAL, {**REAL, "samples": 512})
        assert (found.charts[0].floors, found.notes) == ((Floor(1.5, None, "real"),), ())
        found = self.report(tmp_path, registry, {**REAL, "metric": "kid"})
        assert found.notes == ()


@pytest.mark.parametrize(
    "change", [{"fid": 1e308}, {"fid": 1e-308}, {"fid_se": 1e308}, {"nfe": 1e300}, {"nfe": float("inf"), "fid": None}]
)
def test_what_cannot_have_been_measured_is_refused(tmp_path, command, change):
    run = write_run(tmp_path / "run", [cell("ddim", 5, 20.0), {**cell("heun", 5, 30.0), **change}])
    code, _, err = command("report", run, "-o", tmp_path / "report.html")
    assert code == 2
    assert "results.csv, line 3: " in err


def test_seconds_that_cannot_be_and_shapes_that_are_none_are_left_out(tmp_path, registry):
    run = write_run(tmp_path / "run", [cell("ddim", 5, 20.0, seconds_network=1e-320), cell("heun", 5, 30.0)])
    (run / "run.json").write_text(json.dumps({"model": {"image_shape": ["a", None, {}]}}))
    assert [chart.cost for chart in overview([run], "fid", registry).charts] == ["evaluations"] * 2


def test_another_metric_that_does_not_compare_is_left_out_of_the_report(tmp_path, registry):
    more = {"kid": 0.1, "kid_se": 0.01, "kid_n": 256}
    runs = [
        write_run(tmp_path / name, [cell(sampler, 5, 20.0, **more, kid_sha256=name * 64)])
        for name, sampler in (("a", "ddim"), ("b", "heun"))
    ]
    found = overview(runs, "fid", registry)
    assert found.others == ()
    assert any("KID is left out: " in note and "kid_sha256" in note for note in found.notes)


def test_a_note_stands_once_on_a_page(tmp_path, registry):
    cells = [cell(name, 5, 20.0) for name in ("ddim", "heun")]
    text = page(overview([write_run(tmp_path / "run", cells)], "fid", registry))
    assert text.partition("<script")[0].count("2 rows are compared unpaired: ") == 1  # what can be copied has it, too


class TestOutput:
    @pytest.mark.parametrize("name", ["results.csv", "run.json", "floors.json", "samples/a.png", "link"])
    @pytest.mark.parametrize("arguments", [["report"], ["export-results"]])
    def test_no_file_of_the_run_is_written_over(self, tmp_path, command, arguments, name):
        run = write_run(tmp_path / "run", [cell("ddim", 5, 20.0)])
        (tmp_path / "link").symlink_to(run / "results.csv")
        before = (run / "results.csv").read_bytes()
        out = tmp_path / "link" if name == "link" else run / name
        code, _, err = command(*arguments, run, "-o", out)
        assert (code, err) == (2, f"Error: {out} is a file of {run} itself; name another\n")
        assert (run / "results.csv").read_bytes() == before
        assert command(*arguments, run, "-o", run / "mine")[0] == 0

    def test_nor_by_a_table_of_differences_nor_a_bundle(self, tmp_path, command):
        run = write_run(tmp_path / "run", [cell("ddim", 5, 20.0), cell("heun", 5, 21.0)])
        code, _, err = command("compare", run, "--baseline", "ddim", "--csv", run / "results.csv")
        assert (code, err) == (2, f"Error: {run / 'results.csv'} is a file of {run} itself; name another\n")
        bundle = tmp_path / "run.zip"
        command("export-results", run, "-o", bundle)
        assert "is a file of" in command("report", bundle, "-o", bundle)[2]

    def test_a_link_stays_one(self, tmp_path, command):
        run = write_run(tmp_path / "run", [cell("ddim", 5, 20.0)])
        (tmp_path / "deep").mkdir()
        (tmp_path / "link.html").symlink_to(tmp_path / "deep" / "page.html")
        assert command("report", run, "-o", tmp_path / "link.html")[0] == 0
        assert (tmp_path / "link.html").is_symlink()
        assert "<html" in (tmp_path / "deep" / "page.html").read_text()

    def test_what_is_no_file(self, tmp_path, command):
        run = write_run(tmp_path / "run", [cell("ddim", 5, 20.0)])
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "round").symlink_to(tmp_path / "round")
        for out, told in (("fifo", "is no regular file"), ("round", "cannot be written"), (".", "is a folder")):
            code, _, err = command("report", run, "-o", tmp_path / out)
            assert code == 2
            assert told in err
        assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
