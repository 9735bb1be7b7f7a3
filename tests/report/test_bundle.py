"""A run in one file: all commands read it as they read the run, and see where it was cut or edited."""

from __future__ import annotations

import hashlib
import json
import random
import zipfile

import numpy as np
import pytest
import torch

from samplerbench import UserError
from samplerbench.images import sample_grid
from samplerbench.report import bundle as bundles
from samplerbench.report.bundle import MANIFEST, results_file
from samplerbench.report.overview import overview

from .conftest import HASHES, cell, write_run


@pytest.fixture
def run(tmp_path, noise):
    """A run of two samplers, paired, with pictures and a floor."""
    cells = [
        cell(name, 5, value, influences=noise[:, i], halves=value + np.array([[0.1, -0.1], [0.0, 0.2]]))
        for i, (name, value) in enumerate((("ddim", 20.0), ("heun", 20.6)))
    ]
    folder = write_run(tmp_path / "run", cells)
    model = {"sample_shape": [1, 28, 28], "sha256": HASHES["model_sha256"] * 16}
    (folder / "run.json").write_text(json.dumps({"command": ["samplerbench", "run"], "model": model}))
    floor = {"about": "real", "metric": "fid", "samples": 256, "value": 1.5}
    floor |= {f"{name}_sha256": HASHES[f"{name}_sha256"] * 16 for name in ("reference", "extractor")}
    (folder / "floors.json").write_text(json.dumps({"floors": [floor]}))
    (folder / "samples").mkdir()
    for one in cells:
        picture = sample_grid(torch.randint(0, 256, (64, 1, 28, 28), dtype=torch.uint8))
        picture.save(folder / "samples" / f"x-{one['key'][:8]}-256.png")
    return folder


@pytest.fixture
def packed(run, command, tmp_path):
    out = tmp_path / "run.zip"
    code, said, err = command("export-results", run, "-o", out)
    assert (code, err) == (0, "")
    assert said.startswith(f"{out}: 0.0")
    return out


def test_a_bundle_is_read_as_its_run(run, packed, command, registry):
    for arguments in (["table"], ["table", "--latex"], ["compare", "--baseline", "ddim"]):
        code, out, err = command(arguments[0], run, *arguments[1:])
        assert command(arguments[0], packed, *arguments[1:]) == (code, out.replace(str(run), str(packed)), err)
        assert code == 0
    assert "paired" in out
    (there, here) = (overview([path], "fid", registry) for path in (run, packed))
    assert [strip.image for strip in here.strips] == [strip.image for strip in there.strips]
    assert len(here.strips) == 2
    assert (here.charts, here.matrices, here.table) == (there.charts, there.matrices, there.table)
    assert here.charts[0].floors
    assert here.runs[0].command == "samplerbench run"


def test_a_run_and_a_bundle_of_another_are_paired(run, packed, command):
    code, out, _ = command("compare", run, packed)
    assert code == 0
    assert out.count("│ same   │ same") == 2


def test_the_same_run_makes_the_same_bundle(run, packed, command, tmp_path):
    command("export-results", run, "-o", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def rewritten(path, change, comment=None):
    """The bundle with other contents: `change` takes and gives them by name."""
    with zipfile.ZipFile(path) as old:
        files = {name: old.read(name) for name in old.namelist()}
        said = old.comment
    with zipfile.ZipFile(path, "w") as new:
        for name, data in change(files).items():
            new.writestr(name, data)
        new.comment = said if comment is None else comment
    return path


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda f: {**f, "results.csv": f["results.csv"].replace(b"20.6", b"10.6")},
            "edited: results.csv is not the file",
        ),
        (lambda f: {n: d for n, d in f.items() if n != "run.json"}, "was edited: it lacks run.json"),
        (lambda f: {**f, "more.csv": b""}, "was edited: it holds besides more.csv"),
        (
            lambda f: {**f, MANIFEST: f[MANIFEST].replace(b"0", b"1")},
            "was cut or edited: its manifest.json is not the one",
        ),
        (lambda f: {n: d for n, d in f.items() if n != MANIFEST}, "is no bundle of results: it has no manifest.json"),
    ],
)
def test_what_was_edited_is_said(packed, command, change, told):
    code, out, err = command("table", rewritten(packed, change))
    assert (code, out) == (2, "")
    assert told in err
    assert len(err.splitlines()) == 1


def test_what_was_cut_is_said(packed, command):
    whole = packed.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        packed.write_bytes(whole[:length])
        code, out, err = command("compare", packed, "--baseline", "ddim")
        assert (code, out) == (2, "")
        assert "run.zip" in err
        assert "cut" in err
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "name", ["../evil.csv", "/tmp/evil.csv", "samples/../../evil", "samples/.hidden", "a/b", "x.py"]
)
def test_no_bundle_writes_elsewhere(tmp_path, name):
    path = tmp_path / "bad.zip"
    path.write_bytes(bundles.packed({"results.csv": b"sampler,nfe,fid\nddim,5,1\n", name: b"x"}))
    with pytest.raises(UserError, match="is no bundle of results: it holds "):
        results_file(path)
    assert not list(tmp_path.glob("**/evil*"))


def test_a_bundle_is_of_a_bounded_size(packed, monkeypatch):
    monkeypatch.setattr(bundles, "LARGEST", 1000)
    with pytest.raises(UserError, match="more than"):
        results_file(packed)


@pytest.mark.parametrize(
    "manifest",
    [b"[]", b"{}", b"5", b'{"format": 1, "files": null}', b'{"format": 1, "files": {"a": 1}}', b"x", b"[" * 9999],
)
def test_a_manifest_that_is_none(packed, command, manifest):
    sealed = hashlib.sha256(manifest).hexdigest().encode()
    code, _, err = command("table", rewritten(packed, lambda files: {**files, MANIFEST: manifest}, sealed))
    assert code == 2
    assert err == f"Error: {packed} is no bundle of results: its {MANIFEST} does not say its format and files\n"


def test_a_manifest_is_of_a_bounded_size(packed, monkeypatch):
    monkeypatch.setattr(bundles, "LONGEST", 100)
    with pytest.raises(UserError, match=r"is no bundle of results: its .* has more than"):
        results_file(packed)


def test_every_flipped_bit_is_seen_in_a_line(packed, command):
    whole, draw = packed.read_bytes(), random.Random(0)
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        packed.write_bytes(damaged)
        bundles._unpacked.cache_clear()
        code, _, err = command("table", packed)
        assert (code, err.count("\n")) in ((2, 1), (0, 0))  # times and attributes of the files mean nothing


def test_another_file_under_the_name_is_read_anew(packed, command, run):
    before = command("table", packed)
    (run / "results.csv").write_text("\n".join((run / "results.csv").read_text().splitlines()[:2]) + "\n")
    command("export-results", run, "-o", packed)
    assert "heun" in before[1]
    assert "heun" not in command("table", packed)[1]


def test_what_a_bundle_lacks_is_said(run, command, tmp_path):
    out = tmp_path / "run.zip"
    for path in (run / "influences").iterdir():
        path.unlink()
    (run / "run.json").unlink()
    code, _, err = command("export-results", run, "-o", out)
    assert code == 0
    assert f"{run / 'influences'} has no file of 2 figures: compared unpaired" in err
    assert "has no run.json: the bundle says no command and has no pictures" in err
    assert f"2 rows are compared unpaired: {out / 'influences'} has no file of theirs" in command("table", out)[1]
    code, _, err = command("table", out, "--metric", "kid")
    assert code == 2
    assert str(out) in err
    assert command("export-results", tmp_path, "-o", out)[0] == 2
    assert command("export-results", run, "-o", tmp_path / "nowhere" / "x" / "run.zip")[0] == 0
    assert command("export-results", run, "-o", run / "results.csv" / "run.zip")[0] == 2
