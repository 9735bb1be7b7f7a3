"""`samplerbench cache`: what is there, what may go, and what a run is using."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from samplerbench.bench import cached
from samplerbench.bench.cached import describe, entries, used_now, using
from samplerbench.bench.reach import Reach
from samplerbench.bench.shards import ShardCache
from samplerbench.bench.task import tasks_of
from samplerbench.files import PART, write_whole
from samplerbench.plugins import load_plugins

from .conftest import PLUGIN
from .test_pools import cell_named, shard_of

DAY = 24 * 3600.0


@pytest.fixture
def filled(tmp_path):
    """Two cells of 'a', used three and five days ago, one of 'b' of just now, and one without a label."""
    root = tmp_path / "filled"
    cache = ShardCache(root, pytest.fail)
    for name, steps, days in (("a", 5, 3), ("a", 9, 5), ("b", 5, 0), ("old", 5, 40)):
        cell = cell_named(name, steps)
        (task,) = tasks_of(cell, 100)
        assert cache.save(cell.key, 0, shard_of(task))
        if name != "old":
            describe(root, cell, "m1")
        for file in cache.path(cell.key, 0).parent.iterdir():
            os.utime(file, (time.time() - days * DAY,) * 2)
    return root


def sizes(root):
    return {path: path.stat().st_size for path in root.rglob("*") if path.is_file()}


def keys(root):
    return {one.path.name for one in entries(root)}


def test_what_is_there(command, filled):
    status, said, _ = command("cache", "--cache", filled)
    assert status == 0
    rows = [tuple(part.strip() for part in line.split("│")[1:-1]) for line in said.splitlines() if line[:1] == "│"]
    assert [row[:3] for row in rows] == [("m1", "a", "2"), ("m1", "b", "1"), ("no label", "", "1")]
    assert [row[4] for row in rows] == ["3 d ago", "less than an hour ago", "40 d ago"]
    assert said.endswith(f" in {filled}\n")
    (one,) = (entry for entry in entries(filled) if entry.sampler == "b")
    assert one.size == sum(file.stat().st_size for file in one.path.iterdir())


def test_nothing_goes_unasked_and_what_goes_is_what_was_said(command, filled):
    before = sizes(filled)
    _, said, _ = command("cache", "--cache", filled, "--older-than", "4d")
    assert "would go, and 0 unfinished files; --delete deletes them" in said
    assert sizes(filled) == before
    _, said, _ = command("cache", "--cache", filled, "--older-than", "4d", "--delete")
    assert re.search(r"^deleted \S+ KB in 2 entries", said, re.MULTILINE)
    gone = {cell_named("a", 9).key, cell_named("old").key}
    assert {path.parent.name for path in before if path not in sizes(filled)} == gone
    assert keys(filled) == {cell_named("a").key, cell_named("b").key}


def test_what_was_used_longest_ago_goes_first(command, filled):
    total = sum(one.size for one in entries(filled))
    (oldest,) = (one for one in entries(filled) if not one.sampler)
    command("cache", "--cache", filled, "--down-to", f"{total - oldest.size}B", "--delete")
    assert keys(filled) == {cell_named("a").key, cell_named("a", 9).key, cell_named("b").key}
    _, said, _ = command("cache", "--cache", filled, "--down-to", "0B", "--delete")
    assert "1 entries stay: a run is using them, or did within the last hour" in said
    assert keys(filled) == {cell_named("b").key}


def test_what_a_run_uses_stays(command, filled):
    used = cell_named("a", 9).key
    with using(filled, [used]):
        assert used_now(filled) == {used}
        command("cache", "--cache", filled, "--older-than", "1d", "--delete")
        assert keys(filled) == {used, cell_named("b").key}
    assert used_now(filled) == set()
    assert not list((filled / cached.RUNS).iterdir())


def test_notes_of_runs_that_were_killed_hold_nothing(filled):
    code = (
        "import os, sys; from pathlib import Path; from samplerbench.bench.cached import using\n"
        "with using(Path(sys.argv[1]), ['k1']):\n    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(filled)], check=False).returncode == -9
    assert len(list((filled / cached.RUNS).iterdir())) == 1
    assert used_now(filled) == set()
    assert not list((filled / cached.RUNS).iterdir())
    note = filled / cached.RUNS / "another.machine-1-abcd.json"
    write_whole(note, json.dumps(["k2"]).encode())
    assert used_now(filled) == {"k2"}  # its lock may not show here
    os.utime(note, (time.time() - 8 * DAY,) * 2)
    assert used_now(filled) == set()
    assert platform.node() != "another.machine"


def test_what_the_present_code_cannot_reach(command, go, tmp_path, plugin):
    go("ddim,fine", "out", nfe=[2], samples=40, plugins=plugin)
    root = tmp_path / "out-cache"
    asked = ["cache", "--cache", root, "--unreachable", "--plugin", plugin]
    assert "2 entries stay: a run is using them, or did within the last hour\n0 B of" in command(*asked)[1]
    for file in root.rglob("*"):
        os.utime(file, (time.time() - DAY,) * 2)
    assert command(*asked)[1].startswith("0 B of")
    (tmp_path / "mine.py").write_text(PLUGIN.replace("0.1 * eps", "0.2 * eps"))
    assert re.search(r"fine +│ +1 │ .* │ other code of fine", command(*asked)[1])
    assert "0 B of" in command(*asked[:-2])[1]  # of a sampler that is not loaded nothing is known
    reach = Reach(load_plugins())
    (entry,) = (one for one in entries(root) if one.sampler == "ddim")
    assert reach.why_not(entry) == ""
    for change, why in (
        ({"core": "0"}, "other code of samplerbench"),
        ({"torch": "1.0"}, "torch 1.0"),
        ({"code": "0"}, "other code of ddim"),
        ({"options": [["eta", "9"]]}, "other code of ddim"),
        ({"temperature": 2}, "other code of samplerbench"),
        ({"guidance": ["2", "0", ""]}, "other code of guidance 2"),
        ({"guidance": ["2", "", ""]}, ""),
        ({"guidance": ["theirs:scale=2", "0", ""]}, ""),
        ({"extractor": ["fashion-mnist-cnn", "", "", "0"]}, "other code of fashion-mnist-cnn"),
    ):
        assert reach.why_not(replace(entry, cell={**entry.cell, **change})) == why
    assert "deleted 0 B in 0 entries" in command("cache", "--cache", root, "--unreachable", "--delete")[1]


def test_a_label_that_is_another_cells_counts_for_nothing(filled):
    ours, other = (filled / key[:2] / key / cached.LABEL for key in (cell_named("a").key, cell_named("b").key))
    ours.write_bytes(other.read_bytes())
    other.write_text("{")
    assert sorted(one.sampler for one in entries(filled)) == ["", "", "", "a"]


def test_a_cache_from_before_is_labelled_when_it_is_used(go, tmp_path):
    go("ddim", "out", nfe=[2], samples=40)
    root = tmp_path / "out-cache"
    (label,) = root.rglob(cached.LABEL)
    label.unlink()
    go("ddim", "again", nfe=[2], samples=40, cache=root)
    assert label.is_file()
    os.utime(label, (0, 0))
    go("ddim", "third", nfe=[2], samples=40, cache=root)
    assert time.time() - label.stat().st_mtime < 60


def test_files_that_nobody_finished(command, filled):
    (part := filled / "ab" / ".00000.safetensors.host-1-ab.part").parent.mkdir(exist_ok=True)
    part.write_bytes(b"x")
    assert (
        "and 0 unfinished files" in command("cache", "--cache", filled, "--older-than", "1d")[1]
    )  # may be written now
    os.utime(part, (time.time() - DAY,) * 2)
    (foreign := filled / "notes.txt").write_text("mine")
    assert "and 1 unfinished files" in command("cache", "--cache", filled, "--down-to", "0B", "--delete")[1]
    assert not part.exists()
    assert foreign.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--older-than", "30"], "--older-than 30: expected a number and a unit, such as 30d, 12h or 2w"),
        (["--down-to", "20 parsecs"], "--down-to 20 parsecs: expected a number and a unit, such as 20GB or 500MB"),
        (["--down-to", "-1GB"], "--down-to -1GB: expected a number"),
        (["--delete"], "--delete needs to know what: --older-than, --unreachable or --down-to"),
        (["--cache", "/nowhere"], "--cache /nowhere: no such folder"),
    ],
)
def test_bad_input(command, filled, arguments, message):
    status, _, said = command("cache", *([] if "/nowhere" in arguments else ["--cache", filled]), *arguments)
    assert status == 2
    assert message in said


def test_an_age_of_nothing_is_an_age(command, filled):
    command("cache", "--cache", filled, "--older-than", "0d", "--delete")
    assert keys(filled) == {cell_named("b").key}


def test_files_that_go_while_they_are_counted(filled, monkeypatch):
    """A run gives its files their names, and another removes some."""
    real = type(filled).stat

    def stat(path, **options):
        if path.name.endswith(PART) or path.name == "00000.safetensors":
            raise FileNotFoundError(path)
        return real(path, **options)

    folder = filled / cell_named("b").key[:2] / cell_named("b").key
    (folder / f".00000.safetensors.h-1-ab{PART}").touch()
    with monkeypatch.context() as patch:
        patch.setattr(type(filled), "stat", stat)
        assert sorted(one.sampler for one in entries(filled)) == ["", "a", "a", "b"]


def test_a_label_of_no_numbers_counts_for_nothing(filled):
    key = cell_named("b").key
    (filled / key[:2] / key / cached.LABEL).write_text('{"model": "m", "cell": {"seed": NaN}}')
    assert sorted(one.sampler for one in entries(filled)) == ["", "", "a", "a"]


def test_an_empty_cache(command, tmp_path):
    assert command("cache")[1] == f"{tmp_path / 'cache'} is empty\n"
