"""The figures that README and docs/ quote are what is committed in results/."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from samplerbench.models.model import load_model
from samplerbench.plugins import load_plugins
from samplerbench.report.choice import Where, choose
from samplerbench.report.compare import compare_with_baseline
from samplerbench.report.literature import published_folder, rankings
from samplerbench.report.markdown import markdown, markdown_table
from samplerbench.report.results import read_results
from samplerbench.report.tables import table
from samplerbench.report.words import figure

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "fashion-mnist"
RUNS = ROOT / "results" / "docs"  # the small runs that the pages quote
AHEAD = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL)[0]


def page(name):
    return (ROOT / name).read_text()


@cache
def committed():
    return table([read_results(RESULTS)], load_plugins().metric("fid"))


@cache
def values():
    """The FID of each sampler at each number of evaluations, from the CSV."""
    rows = read_results(RESULTS).every
    return {(row.sampler, int(row.budget)): float(row.fid) for row in rows[rows["status"] == "done"].itertuples()}


def differences(bundle, baseline):
    registry = load_plugins()
    (run,) = choose([read_results(RUNS / bundle)], registry)
    return compare_with_baseline(run, baseline, registry, registry.metric("fid")).differences


def test_the_table_is_of_the_shipped_model_and_samplers():
    rows = read_results(RESULTS).every
    assert set(rows["model_sha256"]) == {load_model("fashion-mnist").sha256}
    registry = load_plugins()
    assert all(registry.sampler(spec).spec() == spec for spec in rows["sampler"])
    assert set(rows["samples"].dropna()) == {4096}
    assert set(rows["seed"].dropna()) == {"0"}
    assert not (rows["status"] == "failed").any()


def test_the_page_of_results_shows_the_whole_table():
    assert markdown_table(committed()) in page("docs/results.md")


def test_readme_shows_part_of_the_table():
    part = page("README.md").partition("## The samplers on the shipped model")[2].partition("\n## ")[0]
    names = re.findall(r"^\| `([^`]+)`", part, re.MULTILINE)
    assert len(names) == 9
    registry = load_plugins()
    files = choose([read_results(RESULTS)], registry, [Where.parse(f"sampler={name}") for name in names])
    assert markdown_table(table(files, registry.metric("fid"))) in part


def printed(command, monkeypatch, *arguments, columns=80):
    """What a command prints in a terminal of so many columns, as a block of Markdown."""
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = command(*arguments)
    assert code == 0
    return "\n".join(f"    {line}" if line else "" for line in out.rstrip().splitlines())


def test_readme_shows_what_the_first_command_prints(command, monkeypatch):
    text = page("README.md")
    assert "samplerbench run --samplers ddim,dpm\n" in text
    assert printed(command, monkeypatch, "table", RUNS / "first-run.zip", columns=90) in text


def test_the_tutorial_shows_what_its_commands_print(command, monkeypatch, tmp_path):
    (tmp_path / "ahead.py").write_text(AHEAD)
    plugin = ("--plugin", tmp_path / "ahead.py")
    text = page("docs/tutorial.md")
    assert printed(command, monkeypatch, "table", RUNS / "ahead.zip", *plugin) in text
    out = printed(command, monkeypatch, "compare", RUNS / "ahead.zip", *plugin, "--baseline", "ahead:lead=0")
    head, _, rest = out.partition("\n")
    assert "against ahead:lead=0.0 (logsnr); below 0 is better" in head
    assert rest in text


def test_the_bundles_are_of_today_s_code_and_agree_with_the_table():
    """Runs of other days and of other code, on the same noise: where both have a cell, float32 is what differs."""
    found = 0
    for bundle in ("order.zip", "grid.zip"):
        rows = read_results(RUNS / bundle).every
        assert set(rows["samples"]) == {4096}
        for row in rows.itertuples():
            if (row.sampler, int(row.budget)) in values():
                assert float(row.fid) == pytest.approx(values()[row.sampler, int(row.budget)], rel=1e-4)
                found += 1
    assert found == 9


def test_the_grid_decides_as_much_as_the_solver():
    (worse,) = differences("grid.zip", "deis")
    text = page("docs/results.md")
    low, high = worse.judged.tested.interval
    for shown in (
        f"| `ipndm` | {values()['ipndm', 10]:.4g}, order 4 on `uniform` | "
        f"{values()['ipndm:order=2:spacing=logsnr', 10]:.4g}, order 2 on `logsnr` |",
        f"| `dpm-solver` | {values()['dpm-solver', 10]:.4g} on `logsnr` | "
        f"{values()['dpm-solver:spacing=karras', 10]:.4g} on `karras` |",
        f"| `deis` | {worse.other:.4g} on `quadratic` | {values()['deis', 10]:.4g} on `time-quadratic` |",
        f"worse\nby {worse.judged.delta:.2f} (95 % interval {low:.2f} to {high:.2f})",
    ):
        assert shown in text
    assert worse.judged.how == "paired"
    for nfe in (5, 6):
        assert values()["dpm-solver:spacing=karras", nfe] > values()["dpm-solver", nfe]
    for nfe in (10, 12, 15, 20):
        assert values()["dpm-solver:spacing=karras", nfe] < values()["dpm-solver", nfe]


def test_third_order():
    rows = []
    for one in differences("order.zip", "dpm-solver:order=3"):
        low, high = one.judged.tested.interval
        assert one.judged.how == "paired"
        figures = f"{one.asked:g}", figure(one.base), figure(one.other), f"{one.judged.delta:+.2f}"
        rows.append([*figures, f"{low:+.2f} to {high:+.2f}", one.judged.verdict])
    header = ["evaluations", "`order=3`", "`order=3-published`", "ΔFID∞", "95 % interval", "`order=3-published` is"]
    assert markdown(header, rows, right=range(4)) in page("docs/results.md")


def test_the_literature_s_rankings():
    registry = load_plugins()
    (run,) = choose([read_results(RESULTS)], registry)
    found = rankings(run, published_folder(), registry, registry.metric("fid"))
    counted = Counter(one.finding for one in found)
    assert {one.ours.how for one in found} == {"unpaired"}
    text = page("docs/results.md")
    assert f"ranks two of our samplers at equal evaluations {len(found)} times" in text
    held = f"{counted['holds']} of these rankings hold here, {counted['reversed']} are reversed"
    assert f"{held}, and {counted['open']} are within" in text
    theirs = {one.nfe: one for one in found if (one.better, one.worse) == ("deis", "unipc")}
    for nfe in (5, 6):
        assert theirs[nfe].finding == "reversed"
        ours = figure(values()["unipc", nfe]), figure(values()["deis", nfe])
        published = " against ".join(f"{value:g}" for value in theirs[nfe].theirs)
        assert published in text
        assert f"{ours[0]} against {ours[1]}" in text


def test_past_some_fifteen_evaluations():
    text = page("docs/results.md")
    at = {name: figure(values()[name, 50]) for name in ("deis", "dpm-solver", "unipc", "s-pndm", "sde-dpm-solver")}
    assert f"`deis` has {at['deis']}, `dpm-solver` {at['dpm-solver']}, `unipc` {at['unipc']}." in text
    assert f"`s-pndm` has {at['s-pndm']}, `sde-dpm-solver` {at['sde-dpm-solver']}." in text
    theirs = read_results(published_folder() / "ddim.csv").every
    theirs = theirs[
        (theirs["dataset"] == "cifar10-32") & (theirs["sampler"] == "ddim") & (theirs["spacing"] == "quadratic")
    ]
    cifar = {int(row.nfe): float(row.fid) for row in theirs.itertuples()}
    assert f"{values()['ddim', 10] / values()['ddim', 50]:.1f} times the FID that it has at 50" in text
    assert f"in the DDIM paper, it has {cifar[10] / cifar[50]:.1f} times" in text


def test_the_model_that_the_page_describes():
    text = page("docs/results.md")
    model = load_model("fashion-mnist")
    networks = sum(p.numel() for p in model.checkpoint.network.parameters()) / 2
    schedule = model.checkpoint.schedule
    assert f"in two copies of {networks / 1e6:.1f} M weights" in text
    assert f"σ/α = {float(schedule.sigma(200) / schedule.alpha(200)):.2f}" in text
    assert f"has seen {model.checkpoint.training['images_seen'] / 1e6:.1f} M images" in text


FAMILIES = {
    "ddpm": ("ddpm", "analytic-ddpm"),
    "ddim": ("ddim",),
    "pndm": ("pndm", "s-pndm", "ipndm"),
    "deis": ("deis",),
    "dpm-solver": ("dpm-solver",),
    "sde-dpm-solver": ("sde-dpm-solver",),
    "unipc": ("unipc",),
    "heun": ("heun",),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_family_s_page_says_of_the_table(family):
    """Where its samplers may be the best of their column."""
    said = []
    for row in committed().rows:
        if row.label.partition(" ")[0].partition(":")[0] in FAMILIES[family]:
            columns = [f"{at:g}" for at, cell in zip(committed().columns, row.cells, strict=True) if cell.best]
            if columns:
                said.append(f"`{row.label.partition(' ')[0]}` at {', '.join(columns)}")
    line = f"Those of this page that may be the best of their column there: {'; '.join(said) or 'none of them'}."
    assert line in page(f"docs/samplers/{family}.md"), line


def test_more_samples():
    rows = read_results(RUNS / "samples.csv").every.sort_values("samples")
    cells = [
        [f"{int(row.samples):,}"]
        + [
            f"{figure(float(getattr(row, name)))} ± {float(getattr(row, f'{name}_se')):.2g}"
            for name in ("fid", "fid_inf", "kid")
        ]
        for row in rows.itertuples()
    ]
    assert markdown(["samples", "`fid`", "`fid_inf`", "`kid`"], cells, right=range(4)) in page("docs/fid.md")


@pytest.mark.parametrize("name", ["README.md", "docs/results.md"])
def test_no_figure_is_left_that_nothing_derives(name):
    """Each number with a point stands in what the other tests derive, or is one that they hold by its sentence."""
    text = page(name)
    derived = markdown_table(committed()) + " ".join(re.findall(r"^    [┏┃┡│├└].*$", text, re.MULTILINE))
    derived += " ".join(re.findall(r"^\|.*\|$", text, re.MULTILINE))  # tables, each of which a test renders
    sentences = {
        "README.md": {"3.11"},
        "docs/results.md": {"0.72", "1.4", "5.7", "0.8", "14.39", "23.52", "9.4", "11.1"},
    }
    held = sentences[name] | {"2.7", "2.9"}
    worse = differences("grid.zip", "deis")[0].judged
    held |= {"0.01"} | {f"{value:.2f}" for value in (worse.delta, *worse.tested.interval)}
    for number in set(re.findall(r"(?<![\w.-])\d+\.\d+(?![\w.])", text)):
        assert number in derived or number in held, number
