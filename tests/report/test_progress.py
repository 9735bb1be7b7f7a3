"""Progress of a run with several workers: all running cells, one time for the rest; and the log's lines."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from samplerbench.bench.plan import Planned
from samplerbench.bench.record import Record, Value
from samplerbench.bench.telling import JsonLines
from samplerbench.report.notebook import NotebookProgress
from samplerbench.report.pace import Pace
from samplerbench.report.terminal.progress import RunProgress
from tests.bench.test_pools import cell_named


def planned(name, nfe=10):
    return Planned(cell_named(name, nfe), None, nfe)


def record(cell, cached=0, status="done"):
    values = {"nfe": 10.0, "seconds": 1.5, "cached": cached, "metrics": {"fid": Value(12.345)}}
    return Record("m", cell.cell.sampler, "s", "zero", 10, 10, status=status, reason="broken", **values)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("samplerbench.report.pace.Pace.__init__.__defaults__", (clock,))
    return clock


def test_the_time_that_is_left_is_by_what_all_workers_draw(clock):
    one, other, third = planned("a", 10), planned("b", 30), planned("c", 10)
    pace = Pace()
    pace.plan([one, other, third], 100)
    assert (pace.share, pace.left) == (0.0, None)
    clock.now += 50  # workers are loading, which says nothing of how fast they are
    pace.start(one)
    pace.start(other)
    clock.now += 10
    pace.advance(one, 50)
    pace.advance(other, 50)  # 2,000 of 5,000 evaluations in ten seconds
    assert pace.left == pytest.approx(15.0)
    clock.now += 4
    assert pace.left == pytest.approx(11.0)
    assert [(r.planned.label, r.done) for r in pace.running.values()] == [("a nfe=10", 50), ("b nfe=30", 50)]
    pace.finish(other)
    assert pace.share == pytest.approx((500 + 3000) / 5000)
    assert list(pace.running) == [one.cell.key]


def test_what_was_there_says_nothing_of_the_rest(clock):
    cells = [planned(name) for name in "abcd"]
    pace = Pace()
    pace.plan(cells, 100)
    pace.start(cells[0])
    pace.finish(cells[0])  # its row was there
    pace.start(cells[1])
    clock.now += 1
    pace.found(cells[1], 100)  # its samples were
    pace.finish(cells[1])
    assert (pace.share, pace.left) == (0.5, None)
    pace.start(cells[2])
    clock.now += 9
    pace.found(cells[2], 40)  # and some of this one
    assert pace.rate(pace.running[cells[2].cell.key]) is None
    pace.advance(cells[2], 50)
    assert pace.rate(pace.running[cells[2].cell.key]) == pytest.approx(50 / 9)
    assert pace.left == pytest.approx(1100 / (500 / 10))
    pace.finish(planned("never began", 0))
    assert pace.ended == 3


@pytest.mark.parametrize("width", [40, 80, 160])
def test_every_running_cell_has_a_line_that_is_not_cut(clock, width):
    cells = [planned(f"sampler-{number}:order=3", 10 + number) for number in range(10)]
    progress = RunProgress(quiet=False)
    progress.console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    progress.pace.plan(cells, 50_000)
    progress._label = 24
    for cell in cells:
        progress.start(cell)
        clock.now += 1
        progress.advance(cell, 12_345)
    clock.now += 600
    progress.advance(cells[0], 50_000 - 12_345)
    progress.found(cells[6], 1000)
    progress.working("ode_rmse: 3 of 16")
    with progress.console.capture() as shown:
        progress.console.print(progress._view())
    lines = [line.rstrip() for line in shown.get().splitlines()]
    assert len(lines) == 10
    assert lines[9] == "and 2 more cells"
    assert all(len(line) <= width for line in lines)
    assert lines[0].startswith("whole run")
    if width >= 80:
        assert "0/10 cells, 0:10:10, " in lines[0]
        assert lines[0].endswith(" left")
        assert lines[1].endswith("ode_rmse: 3 of 16")
        assert lines[7].endswith("13345/50000 samples, 20.4 images/s")  # of those that were drawn, in 604 s
        assert "12345/50000 samples, " in lines[8]
        assert lines[8].startswith("sampler-7:order=3 nfe=17")


def test_a_notebook_shows_all_that_run(clock, monkeypatch):
    progress = NotebookProgress()
    monkeypatch.setattr(progress, "_draw", lambda soon=False: None)
    cells = [planned(name) for name in "abc"]
    progress.plan(cells, 100)
    for cell in cells[:2]:
        progress.start(cell)
    clock.now += 10
    progress.advance(cells[0], 100)
    progress.advance(cells[1], 25)
    frame = progress.html()
    assert "42% of the run, 10 s, about 14 s left" in frame
    assert "a nfe=10: measuring" in frame
    assert "b nfe=10: 25/100 samples" in frame
    assert "c nfe=10" not in frame


def test_lines_of_the_log_are_each_cells_own(tmp_path):
    one, other = planned("a"), planned("b")
    log = JsonLines(tmp_path / "log.jsonl")
    log.plan([one, other], 300)
    for cell, samples in ((one, 100), (other, 30)):
        log.start(cell)
        log.advance(cell, samples)
        log.advance(cell, 1)  # within the same second
    log.finish(one, record(one))
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    told = [(line["sampler"], line["done"]) for line in lines if line["event"] == "advance"]
    assert told == [("a", 100), ("b", 30)]
