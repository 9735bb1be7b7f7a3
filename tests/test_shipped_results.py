"""README's table is what the committed results.csv says."""

from __future__ import annotations

from pathlib import Path

from samplerbench.models.model import load_model
from samplerbench.plugins import load_plugins
from samplerbench.report.markdown import markdown_table
from samplerbench.report.results import read_results
from samplerbench.report.tables import table

ROOT = Path(__file__).parents[1]
RESULTS = read_results(ROOT / "results" / "fashion-mnist")


def test_readme_shows_the_committed_table():
    assert markdown_table(table([RESULTS], load_plugins().metric("fid"))) in (ROOT / "README.md").read_text()


def test_the_table_is_of_the_shipped_model_and_samplers():
    rows = RESULTS.every
    assert set(rows["model_sha256"]) == {load_model("fashion-mnist").sha256}
    registry = load_plugins()
    assert all(registry.sampler(spec).spec() == spec for spec in rows["sampler"])
    assert set(rows["samples"].dropna()) == {4096}
    assert set(rows["seed"].dropna()) == {"0"}
    assert not (rows["status"] == "failed").any()
