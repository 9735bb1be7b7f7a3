"""README's code runs as it stands, and the samplers that it and docs/ name pass the check."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import samplerbench
from samplerbench.check.checks import check_sampler
from samplerbench.plugins import load_plugins

from .plugins.test_samplers import SPECS

REGISTRY = load_plugins()
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RUN, SAMPLE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
(METRIC,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "metrics.md").read_text(), re.DOTALL)
PAGES = [README, *(path.read_text() for path in sorted((ROOT / "docs").rglob("*.md")))]


def test_readme_is_short():
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/README.md"])
def test_files_that_are_linked_are_there(name):
    """Those of docs/ are checked when the site is built."""
    page = ROOT / name
    links = {link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()) if "://" not in link}
    assert not [link for link in links if not (page.parent / link).exists()]


def test_plotting_five_lines(tiny_model, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    code = RUN.replace(
        "nfe=[5, 10, 20], samples=1024", f"nfe=[2, 3], samples=20, model={str(tiny_model)!r}, device='cpu'"
    )
    assert code != RUN
    exec(code, {})
    assert (tmp_path / "fid.png").is_file()
    assert len(list(tmp_path.glob("results/*/results.csv"))) == 1


def test_any_epsilon():
    names: dict[str, object] = {}
    exec(SAMPLE, names)
    x0, nfe = names["x0"], names["nfe"]
    assert isinstance(x0, torch.Tensor)
    assert x0.shape == (16, 3, 8, 8)
    assert nfe == 10


def named_samplers():
    """Every sampler with options that README and docs/ write out, and every option of the table of samplers."""
    names = {name for r in REGISTRY.samplers for name in (r.cls.name, *r.cls.aliases)}
    pattern = rf"(?<![\w-])(?:{'|'.join(sorted(names))})(?::[\w-]+=[\w./-]+)+"
    written = {spec.rstrip(".") for page in PAGES for spec in re.findall(pattern, page)}
    table = (ROOT / "docs" / "samplers" / "index.md").read_text().partition("\n## ")[0]
    rows = re.findall(r"^\| \[(`[^|]*`)\]\([^|]*\|[^|]*\|([^|]*)\|$", table, re.MULTILINE)
    assert len(rows) == 10
    for first, options in rows:
        for name in names & set(re.findall(r"`([^`]+)`", first)):
            written |= {f"{name}:{option}" for option in re.findall(r"`([\w-]+=[^`]+)`", options)}
    return sorted(spec for spec in written if not spec.endswith("=file"))  # with a path, which is no spec by itself


def test_pages_name_samplers_with_options():
    assert {"ddim:clip=x0", "unipc:order=2:spacing=karras", "ddpm:variance=learned-range"} <= set(named_samplers())


def unchecked():
    """Those of them that neither are in `SPECS` nor are another's by an alias or another order."""
    first = {REGISTRY.sampler(spec): spec for spec in reversed([*SPECS, *named_samplers()])}
    return sorted(set(first.values()) - set(SPECS))


@pytest.mark.parametrize("spec", unchecked())
def test_samplers_that_the_pages_name_pass_the_check(spec):
    assert not [finding for finding in check_sampler(REGISTRY.sampler(spec)) if finding.verdict == "failed"]


def test_the_metric(tiny_model, tmp_path):
    path = tmp_path / "contrast.py"
    path.write_text(METRIC)
    options = {"model": str(tiny_model), "device": "cpu", "samples": 20, "nfe": [2]}
    frame = samplerbench.run("ddim", metrics="fid,contrast", plugins=[str(path)], out=tmp_path / "out", **options)
    assert frame["contrast"][0] > 0
    assert frame["contrast_n"][0] == 20
