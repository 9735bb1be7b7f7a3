"""A run beside the literature: what matches, and which rankings hold."""

from __future__ import annotations

import pandas as pd
import pytest

from samplerbench.plugins import load_plugins
from samplerbench.report.literature import published, published_folder, rankings
from samplerbench.report.results import read_results
from samplerbench.report.terminal.beside import print_published, print_rankings

REGISTRY = load_plugins()
FID = REGISTRY.metric("fid")
PUBLISHED = published_folder()


@pytest.fixture
def ours(tmp_path):
    def rows(sampler, spacing, nfe, fid, se=0.1):
        return {"sampler": sampler, "spacing": spacing, "nfe": nfe, "fid": fid, "fid_se": se}

    path = tmp_path / "ours.csv"
    pd.DataFrame(
        [
            rows("ddim", "quadratic", 5, 90),
            rows("ddim:spacing=karras", "karras", 5, 80),
            rows("deis", "time-quadratic", 5, 40),
            rows("unipc", "logsnr", 5, 30),
            rows("dpm-solver:order=3-published", "logsnr", 5, 30.2),
            rows("dpm-solver:order=3:mode=fast:prediction=eps", "logsnr", 5, 200),
            rows("mine", "uniform", 5, 1),
        ]
    ).to_csv(path, index=False)
    return read_results(path)


def test_what_matches_is_set_beside(ours):
    frame = published(ours, PUBLISHED, REGISTRY)
    found = {(row.sampler, row.checkpoint, row.fid) for row in frame.itertuples()}
    # Zheng et al. do not say DDIM's spacing: our default stands beside it; diff-sampler does: karras
    assert ("ddim", "score_sde vp ddpm++ deep continuous", 54.56) in found
    assert ("ddim", "edm vp", 49.66) in found
    assert frame[frame["fid"] == 49.66]["our fid"].tolist() == [80]
    assert frame[frame["fid"] == 54.56]["our fid"].tolist() == [90]
    assert 290.51 in set(frame["fid"])  # whose options the table writes in another order
    assert "mine" not in set(frame["sampler"])


def test_rankings_hold_are_reversed_or_open(ours):
    found = {(one.better, one.worse): one.finding for one in rankings(ours, PUBLISHED, REGISTRY, FID)}
    assert found["deis", "ddim"] == "holds"  # 15.37 against 54.56
    assert found["deis", "unipc"] == "reversed"  # 15.37 against 23.71, and 40 against 30 here
    assert found["unipc", "dpm-solver:order=3-published"] == "open"  # 23.71 against 28.53, and 0.2 ± 0.14 here
    assert not any((b, a) in found for a, b in found)


def test_rankings_are_judged_as_one_family(ours):
    judged = [one.ours for one in rankings(ours, PUBLISHED, REGISTRY, FID, "all")]
    assert {one.size for one in judged} == {len(judged)}
    assert all((one.tested.interval[0] > 0) == (one.verdict == "worse") for one in judged)


@pytest.mark.parametrize("markdown", [False, True])
def test_both_are_printed_whole(ours, capsys, monkeypatch, markdown):
    monkeypatch.setenv("COLUMNS", "80")
    print_published(published(ours, PUBLISHED, REGISTRY), markdown)
    print_rankings(rankings(ours, PUBLISHED, REGISTRY, FID), "evaluations", markdown)
    out = capsys.readouterr().out
    assert "…" not in out
    assert markdown or max(len(line) for line in out.splitlines() if line[:1] in "┏┃┡│├└") <= 80
    assert "Intervals hold at once, with 95 % confidence" in out
    assert ":order=3-published" in out
    assert "[1] Song" in out or "[1] Zheng" in out
    assert "rankings of two samplers at equal evaluations" in out
    assert "reversed" in out


def test_the_tables_are_found_from_anywhere(ours, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "published").mkdir(parents=True)  # what lies about is not taken for them
    assert command("compare", tmp_path / "ours.csv", "--against", "published")[0] == 0


def test_nothing_to_compare_is_one_line(tmp_path, command):
    (tmp_path / "mine.csv").write_text("sampler,nfe,fid,fid_se\nmine,5,1,0.1\n")
    code, out, _ = command("compare", tmp_path / "mine.csv", "--against", "published")
    assert code == 1
    assert len(out.splitlines()) == 1
    assert out.startswith("nothing to compare: the tables in ")


def test_no_word_is_broken_at_80_columns(ours, tmp_path, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = command("compare", tmp_path / "ours.csv", "--against", "published")
    lines = [line for line in out.splitlines() if line[0] in "┃│"]
    assert max(map(len, lines)) <= 80
    names = {line[1:].split("│")[0].strip() for line in lines if line[0] == "│"}
    assert {"deis", "(time-quadratic)", "ddim (quadratic)", ":order=3-published"} & names >= {":order=3-published"}
    assert not any(name.count("(") != name.count(")") for name in names)
