"""A run beside the literature's tables: the same samplers on other data, and whether they rank as they do there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Literal

import pandas as pd

from ..errors import UserError
from ..plugins import Registry
from .compare import Difference, difference, holm
from .results import Results

__all__ = ["Ranking", "published", "rankings"]

SCATTER = 0.03  # published FIDs of one setting differ by so much between implementations: nearer ones are no ranking


@dataclass(frozen=True)
class Ranking:
    """Two samplers at equal evaluations, the one that the literature finds better first.

    theirs: the FIDs of the two, on `where` (dataset and network); ours: the FID of the second less that of the first.
    """

    better: str
    worse: str
    where: str
    theirs: tuple[float, float]
    ours: Difference

    @property
    def finding(self) -> Literal["holds", "reversed", "open"]:
        if self.ours.verdict == "worse":
            return "holds"
        return "reversed" if self.ours.verdict == "better" else "open"


def published(results: Results, folder: Path, registry: Registry) -> pd.DataFrame:
    """Our rows beside the literature's of the same sampler, options, evaluations and, where they say it, spacing."""
    columns = ["sampler", "nfe", "our fid", "fid", "dataset", "checkpoint", "spacing", "source", "provenance"]
    return _matched(results, folder, registry)[columns].reset_index(drop=True)


def rankings(results: Results, folder: Path, registry: Registry) -> list[Ranking]:
    """Every two samplers that the literature measured on one dataset with one network at equal evaluations, the better
    one first, as they come out here: with the error of the difference, paired where it can be, and p-values adjusted
    for all of them. Left out are those nearer than `SCATTER`, and those about which networks disagree.
    """
    found: dict[tuple[str, str, float], Ranking] = {}
    matched = _matched(results, folder, registry)
    for (dataset, checkpoint, _), group in matched.groupby(["dataset", "checkpoint", "nfe"]):
        for pair in combinations(range(len(group)), 2):
            better, worse = sorted((group.iloc[i] for i in pair), key=lambda row: row["fid"])
            if better["row"] == worse["row"] or worse["fid"] < (1 + SCATTER) * better["fid"]:
                continue
            a, b = results.rows.loc[better["row"]], results.rows.loc[worse["row"]]
            names = str(a["sampler"]), str(b["sampler"])
            fids = float(better["fid"]), float(worse["fid"])
            one = Ranking(*names, f"{dataset}, {checkpoint}", fids, difference(results, a, results, b))
            found.setdefault((*names, float(a["nfe"])), one)
    ranked = [one for (a, b, nfe), one in found.items() if (b, a, nfe) not in found]  # what all networks agree about
    holm([one.ours for one in ranked])
    return ranked


def _matched(results: Results, folder: Path, registry: Registry) -> pd.DataFrame:
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise UserError(f"{folder} has no tables; --against published needs a checkout of the project")
    tables = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    ours = results.rows[["sampler", "nfe", "fid"]].rename(columns={"fid": "our fid"})
    ours["row"] = ours.index
    ours["our spacing"] = results.rows["spacing"] if "spacing" in results.rows.columns else None
    ours["default"] = ~ours["sampler"].str.contains("spacing=")
    for frame in (ours, tables):
        frame["sampler"] = [_without_spacing(spec, registry) for spec in frame["sampler"]]
    both = ours.merge(tables, on=["sampler", "nfe"])
    stated = both["spacing"].notna()
    same = (stated & (both["spacing"] == both["our spacing"])) | (~stated & both["default"])
    # one row a figure of theirs: two of our budgets may have come to the same evaluations
    return both[same].drop_duplicates([*tables.columns])


def _without_spacing(spec: str, registry: Registry) -> str:
    """A sampler in its shortest form, its spacing left out; as it stands where we have none of that name."""
    try:
        sampler = registry.sampler(spec)
    except UserError:
        return spec
    return replace(sampler, spacing=type(sampler)().spacing, rho=None).spec()
