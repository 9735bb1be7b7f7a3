"""The literature's tables name samplers that we have, and hold numbers."""

from __future__ import annotations

import pandas as pd
import pytest

from samplerbench.plugins import load_plugins
from samplerbench.report.literature import published_folder

FILES = sorted(published_folder().glob("*.csv"))
REGISTRY = load_plugins()


def test_every_source_is_there():
    names = {path.stem for path in FILES}
    assert names == {
        "ddim",
        "deis",
        "diff-sampler",
        "dpm-solver",
        "dpm-solver-plus-plus",
        "dpm-solver-v3",
        "edm",
        "pndm",
        "unipc",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_rows_are_sound(path):
    frame = pd.read_csv(path)
    assert set(frame["provenance"]) <= {"read", "recalled"}
    assert frame["fid"].between(1, 400).all()
    assert frame["nfe"].gt(0).all()
    assert not frame.duplicated(["dataset", "checkpoint", "sampler", "spacing", "nfe", "source", "note"]).any()
    for row in frame[~frame["note"].astype(str).str.startswith("not among")].itertuples():
        sampler = REGISTRY.sampler(row.sampler)
        if row.steps == row.steps:  # where steps are stated, our counts are the source's
            assert sampler.evaluations(int(row.steps)) == row.nfe
