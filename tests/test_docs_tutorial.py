"""The tutorial runs as it stands, on a small network and with few samples; and so does the code of other pages."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
USE = (ROOT / "docs" / "use.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```console\n(.*?)```", TUTORIAL, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
FEW = ["--samples", "400", "--device", "cpu"]  # enough for an error of FID


def test_from_the_idea_to_the_row(command, tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (plugin,) = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
    (tmp_path / "ahead.py").write_text(plugin)
    said = {}
    for line in COMMANDS:
        program, *arguments = shlex.split(line)
        assert program == "samplerbench"
        more = [*FEW, "--model", str(tiny_model)] if arguments[0] == "run" else []
        code, out, error = command(*arguments, *more)
        assert code == 0, f"{line}: {error}"
        said.setdefault(arguments[0], out)
    assert list(said) == ["check", "run", "compare", "report", "export-results", "table", "cite"]
    rows = pd.read_csv("results/ahead/results.csv")
    assert list(rows["sampler"]) == [
        name for name in ("ahead", "ahead:lead=0.0", "ahead:lead=1.0", "ddim") for _ in "ab"
    ]
    assert set(rows["status"]) == {"done"}
    assert "paired" in said["compare"]
    assert (tmp_path / "report.html").stat().st_size > 10_000
    shown = re.search(r"│ (measured .*?) *│\n *│ *│ *│ (error.*?|\d.*?) *│", TUTORIAL)
    assert shown
    assert " ".join(shown.groups()) in " ".join(said["check"].replace("│", " ").split())


def test_plugins_of_the_tutorial_are_as_short_as_it_says():
    (plugin,) = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
    assert len(plugin.splitlines()) < 60


def test_what_is_said_of_its_being_known(command, tmp_path, monkeypatch):
    """It is DPM-Solver++ 2M, and differs where that ends with a first-order step."""
    import torch

    from samplerbench import linear_schedule, sample
    from samplerbench.check.mixture import GaussianMixture
    from samplerbench.plugins import load_plugins

    (plugin,) = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
    (tmp_path / "ahead.py").write_text(plugin)
    registry, schedule = load_plugins([str(tmp_path / "ahead.py")]), linear_schedule()
    truth, x = GaussianMixture(schedule), torch.linspace(-2, 2, 9).double()[None]
    for steps, equal in ((10, True), (5, False)):
        mine, known = (sample(registry.sampler(s), truth, schedule, x, nfe=steps).x0 for s in ("ahead", "dpm-solver"))
        assert torch.allclose(mine, known, atol=1e-10) == equal
    plain, ddim = (
        sample(registry.sampler(s), truth, schedule, x, nfe=10).x0
        for s in ("ahead:lead=0", "ddim:spacing=logsnr:final=none")
    )
    assert torch.allclose(plain, ddim, atol=1e-10)


def test_the_python_of_the_page_on_commands(tiny_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", USE, re.DOTALL)
    small = code.replace("samples=1024", f"samples=20, model={str(tiny_model)!r}, device='cpu'")
    assert small != code
    exec(small, {})
    assert "dpm-solver" in capsys.readouterr().out
    assert (tmp_path / "results" / "mine" / "results.csv").is_file()
