"""The matrix of pairs: the best first, one family, ties with what would decide them."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from samplerbench.report import pairs
from samplerbench.report.html.page import page
from samplerbench.report.overview import overview

from .conftest import cell, write_run


def test_every_pair_once_row_less_column(tmp_path, registry):
    cells = [cell("ddim", 5, 30.0), cell("heun", 5, 20.0), cell("ddpm", 5, 20.5), cell("unipc", 10, 9.0)]
    (matrix,) = overview([write_run(tmp_path, cells)], "fid", registry).matrices  # none of a lone cell
    assert matrix.labels == ("heun (uniform)", "ddpm (uniform)", "ddim (uniform)")
    assert [[pair.delta for pair in line] for line in matrix.rows] == [[], [0.5], [10.0, 9.5]]
    assert [[pair.verdict for pair in line] for line in matrix.rows] == [[], ["undecided"], ["worse", "worse"]]
    assert matrix.size == 3
    tie = matrix.rows[1][0]
    one, three = (NormalDist().inv_cdf(1 - 0.025 / count) for count in (1, 3))
    assert one * math.sqrt(2) < tie.half_width < three * math.sqrt(2)  # one family, less than Bonferroni's
    assert tie.needed == pytest.approx(256 * (tie.half_width / 0.5) ** 2, rel=0.06)
    assert matrix.rows[2][0].needed is None


def test_pairing_decides_what_is_a_tie_without(tmp_path, registry, noise):
    cells = [cell(f"mine:a={i}", 5, v, influences=noise[:, i]) for i, v in enumerate((20.0, 20.5))]
    run = write_run(tmp_path / "run", cells)
    (tmp_path / "alone.csv").write_bytes((run / "results.csv").read_bytes())
    for path, verdict in ((run, "worse"), (tmp_path / "alone.csv", "undecided")):
        (matrix,) = overview([path], "fid", registry).matrices
        assert matrix.rows[1][0].verdict == verdict


def test_higher_may_be_better(tmp_path, registry):
    cells = [cell(name, 5, 20.0, recall=r, recall_se=0.01, recall_n=256) for name, r in (("ddim", 0.5), ("heun", 0.9))]
    (matrix,) = overview([write_run(tmp_path, cells)], "recall", registry).matrices
    assert matrix.labels == ("heun (uniform)", "ddim (uniform)")
    assert matrix.rows[1][0].verdict == "worse"


def test_a_matrix_that_nobody_reads_is_cut(tmp_path, registry, monkeypatch):
    monkeypatch.setattr(pairs, "LARGEST", 3)
    cells = [cell(f"mine:a={i}", 5, 20.0 + i) for i in range(5)]
    (matrix,) = overview([write_run(tmp_path, cells)], "fid", registry).matrices
    assert (len(matrix.labels), matrix.left_out) == (3, 2)


def test_no_errors_no_verdicts(tmp_path, registry):
    cells = [cell("ddim", 5, 30.0, fid_se=None), cell("heun", 5, 20.0, fid_se=None)]
    (matrix,) = overview([write_run(tmp_path, cells)], "fid", registry).matrices
    assert matrix.size == 0
    assert matrix.rows[1][0] == pairs.Pair(10.0, None, "unknown", None)


def test_the_order_is_that_of_what_is_shown(tmp_path, registry, noise):
    """At n samples the second looks better by 2; at infinitely many it is worse by 4, and that is what is shown."""
    wobble = np.array([[0.1, -0.1], [-0.1, 0.1], [0.05, -0.05], [0.0, 0.0]])
    cells = [
        cell("ddim", 5, 20.0, influences=noise[:, 0], halves=24 + wobble),
        cell("ddpm", 5, 18.0, influences=noise[:, 1], halves=16 + wobble),
    ]
    found = overview([write_run(tmp_path / "both", cells)], "fid", registry)
    (matrix,) = found.matrices
    assert matrix.labels == ("ddim (uniform)", "ddpm (uniform)")
    assert matrix.infinite == "all"
    assert matrix.rows[1][0].delta == pytest.approx(4.0)
    text = page(found)
    assert "Each cell is ΔFID∞: the row less the column. Orange: the row is worse." in text
    assert "The samplers are in the order of what FID comes to there" in text
    del cells[1]["halves"]
    (matrix,) = overview([write_run(tmp_path / "one", cells)], "fid", registry).matrices
    assert (matrix.labels[0], matrix.infinite) == ("ddpm (uniform)", "none")
