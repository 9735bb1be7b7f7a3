"""Each example of docs/plugins.md runs as it stands."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

import samplerbench
from samplerbench.check.checks import check_sampler
from samplerbench.plugins import load_plugins
from samplerbench.report.choice import choose
from samplerbench.report.compare import compare_with_baseline
from samplerbench.report.results import read_results

PAGE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SAMPLERS = {re.findall(r'name = "([^"]+)"', code)[0]: code for code in EXAMPLES if "samplerbench_samplers" in code}
(METRIC,) = [code for code in EXAMPLES if "samplerbench_metrics" in code]


@pytest.fixture
def write(tmp_path):
    (tmp_path / "times.txt").write_text("801\n401\n101\n1\n0\n")

    def of(code):
        path = tmp_path / "plugin.py"
        path.write_text(code)
        return str(path)

    return of


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_sampler_passes_the_check(write, name):
    findings = check_sampler(load_plugins([write(SAMPLERS[name])]).sampler(name))
    assert not [finding for finding in findings if finding.verdict == "failed"]


def test_their_options_and_names(write):
    stochastic = load_plugins([write(SAMPLERS["my-ancestral"])]).sampler("my-ddpm:temperature=0.5")
    assert stochastic.spec() == "my-ancestral:temperature=0.5"
    limited = load_plugins([write(SAMPLERS["my-2m"])]).sampler("my-2m:limit=true")
    assert [one.text for one in check_sampler(limited) if one.check == "order"] == ["it claims no order"]


def test_all_of_them_in_one_run(write, tiny_model, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "times.txt").write_text("801\n401\n101\n1\n0\n")
    for i, code in enumerate(SAMPLERS.values()):
        (folder / f"sampler{i}.py").write_text(code)
    rows = samplerbench.run(
        list(SAMPLERS), plugins=[str(folder)], model=str(tiny_model), device="cpu", samples=10, nfe=[2, 4], out=tmp_path
    ).set_index(["sampler", "budget"])
    assert rows.loc[("my-warmed", 2), "status"] == "skipped"
    assert "needs at least 3 evaluations, got 2" in rows.loc[("my-warmed", 2), "reason"]
    assert (rows["status"] == "done").sum() == 2 * len(SAMPLERS) - 2  # my-file's four steps take four, too
    assert rows.loc[("my-times", 4), "nfe"] == 4


def test_the_file_of_grids(tmp_path, monkeypatch):
    from samplerbench import linear_schedule
    from samplerbench.sampling import plan_grid

    monkeypatch.chdir(tmp_path)
    (grids,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "grids.json").write_text(grids)
    sampler = load_plugins().sampler("ddim:spacing=file:grids.json")
    assert plan_grid(sampler, linear_schedule(), nfe=4).times == (1000, 640, 250, 60, 0)


def test_a_grid_of_its_own(write):
    from samplerbench import linear_schedule
    from samplerbench.sampling import plan_grid

    sampler = load_plugins([write(SAMPLERS["my-denser"])]).sampler("my-denser")
    lam = plan_grid(sampler, linear_schedule(), steps=12).half_log_snr
    steps = [b - a for a, b in pairwise(lam)]
    assert steps[0] == pytest.approx(2 * steps[-1], rel=1e-3)


def test_the_transition_is_what_the_bound_takes(write, tiny_model):
    sampler = load_plugins([write(SAMPLERS["my-ancestral"])]).sampler("my-ancestral")
    ours = load_plugins().sampler("ddpm:clip=none")
    import torch

    from samplerbench.check.mixture import GaussianMixture
    from samplerbench.check.rig import DISCRETE, some_grid
    from samplerbench.diffusion.denoiser import Meter

    grid, x = some_grid(sampler), torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
    one, other = (
        each.transition(Meter(GaussianMixture(DISCRETE), 5).denoiser(), grid, 3, x) for each in (sampler, ours)
    )
    assert torch.allclose(one[0], other[0])
    assert one[1] == pytest.approx(other[1])


def test_the_metric_is_compared_paired(write, tiny_model, tmp_path):
    plugins = [write(METRIC)]
    options = {"model": str(tiny_model), "device": "cpu", "samples": 40, "nfe": [2], "metrics": "contrast"}
    samplerbench.run("ddim,dpm", plugins=plugins, out=tmp_path / "run", **options)
    registry = load_plugins(plugins)
    (run,) = choose([read_results(tmp_path / "run", "contrast")], registry)
    (difference,) = compare_with_baseline(run, "ddim", registry, registry.metric("contrast")).differences
    assert difference.judged.how == "paired"
    few = samplerbench.run("ddim", plugins=plugins, out=tmp_path / "few", **options | {"samples": 4})
    assert few["reason"].tolist() == ["contrast needs 8 samples, got 4"]


def test_a_helper_beside_the_file_is_found_by_pythonpath_and_counts(tmp_path, monkeypatch):
    (tmp_path / "my_helper.py").write_text("SCALE = 1\n")
    code = SAMPLERS["my-2m"].replace("from samplerbench", "import my_helper\nfrom samplerbench", 1)
    (tmp_path / "plugin.py").write_text(code)
    with pytest.raises(samplerbench.UserError, match="No module named 'my_helper'"):
        load_plugins([str(tmp_path / "plugin.py")])
    monkeypatch.syspath_prepend(tmp_path)
    assert "my_helper" in load_plugins([str(tmp_path / "plugin.py")]).entry("my-2m").code
