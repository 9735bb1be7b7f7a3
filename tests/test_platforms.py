"""Where samplerbench runs and where it keeps things: one clear line where it cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from samplerbench import UserError
from samplerbench.devices import resolve_device
from samplerbench.folders import data_cache, shard_cache

COMMAND = "sys.argv[0] = 'samplerbench'; from samplerbench.cli import main; main()"


def without_fcntl(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs code in a Python that has no fcntl, as on Windows."""
    code = "import sys; sys.modules['fcntl'] = None; " + code
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd)


def test_all_names_are_there_without_fcntl(tmp_path):
    found = without_fcntl("import samplerbench as s; print(all(getattr(s, n) for n in s.__all__))", cwd=tmp_path)
    assert (found.stdout, found.stderr) == ("True\n", "")


def test_a_run_without_fcntl_is_one_line(tmp_path):
    found = without_fcntl(COMMAND, "run", "--samplers", "ddim", "--out", "out", cwd=tmp_path)
    assert found.returncode == 2
    assert found.stderr.startswith("Error: a run needs Linux or macOS: ")
    assert found.stderr.endswith("; on Windows, use samplerbench inside WSL\n")
    assert len(found.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["mps", "xpu", "xpu:1", "meta"])
def test_devices_of_other_kinds_are_refused_by_name(name):
    kind = name.partition(":")[0]
    with pytest.raises(UserError, match=f"^--device {name}: samplerbench runs on no {kind} device; use --device cpu"):
        resolve_device(name)


def test_auto_takes_no_device_of_another_kind(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto") == "cpu"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no XDG_CACHE_HOME")
def test_caches_are_where_the_system_wants_them(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.delenv("SAMPLERBENCH_CACHE")
    assert shard_cache() == tmp_path / "caches" / "samplerbench" / "shards"
    assert data_cache() == tmp_path / "caches" / "samplerbench" / "data"
    monkeypatch.setenv("SAMPLERBENCH_CACHE", str(tmp_path / "mine"))
    assert shard_cache() == tmp_path / "mine"
    assert data_cache() == tmp_path / "caches" / "samplerbench" / "data"
