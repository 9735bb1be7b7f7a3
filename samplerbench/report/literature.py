"""A run beside the literature's tables: the same samplers on other data, and whether they rank as they do there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from itertools import combinations
from pathlib import Path
from typing import Literal

import pandas as pd

from ..errors import UserError
from ..metrics.metric import Metric
from ..registry import Registry
from .compare import Family, Judged, judge
from .evidence import evidence
from .results import Results
from .shown import Shown, plain_column
from .view import Published

__all__ = ["Ranking", "published", "published_folder", "published_marks", "rankings"]

SCATTER = 0.03  # published FIDs of one setting differ by so much between implementations: nearer ones are no ranking


@dataclass(frozen=True)
class Ranking:
    """Two samplers at equal evaluations, the one that the literature finds better first.

    theirs: the FIDs of the two, on `where` (dataset and network); ours: the FID of the second less that of the first.
    """

    better: str
    worse: str
    where: str
    nfe: float
    theirs: tuple[float, float]
    ours: Judged

    @property
    def finding(self) -> Literal["holds", "reversed", "undecided"]:
        if self.ours.verdict == "worse":
            return "holds"
        return "reversed" if self.ours.verdict == "better" else "undecided"


def published_folder() -> Path:
    """Where the literature's tables are, inside the package."""
    return Path(str(resources.files(__package__).joinpath("published")))


def published(results: Results, folder: Path, registry: Registry) -> pd.DataFrame:
    """Our rows beside the literature's of the same sampler, options, evaluations and, where they say it, spacing."""
    columns = ["sampler", "nfe", "our fid", "fid", "dataset", "checkpoint", "spacing", "source", "provenance"]
    return _matched(results, folder, registry)[columns].reset_index(drop=True)


def rankings(
    results: Results, folder: Path, registry: Registry, metric: Metric, family: Family = "evaluations"
) -> list[Ranking]:
    """Every two samplers that the literature measured on one dataset with one network at equal evaluations, the better
    one first, as they come out here: the difference with an interval that holds for the whole family at once. Left out
    are those nearer than `SCATTER`, and those about which networks disagree.
    """
    rows = results.rows.reset_index(drop=True)
    proof = evidence(rows.assign(file=0), [results], metric.name)
    names, nfe = rows["sampler"].tolist(), rows["nfe"].tolist()
    found: dict[tuple[str, str, float], tuple[str, tuple[float, float], tuple[int, int]]] = {}
    for (dataset, checkpoint, _), group in _matched(results, folder, registry).groupby(
        ["dataset", "checkpoint", "nfe"]
    ):
        measured = sorted(zip(group["fid"].tolist(), group["row"].tolist(), strict=True))
        for (low, better), (high, worse) in combinations(measured, 2):
            if better != worse and high >= (1 + SCATTER) * low:
                one = f"{dataset}, {checkpoint}", (low, high), (better, worse)
                found.setdefault((names[better], names[worse], nfe[better]), one)
    agreed = {key: one for key, one in found.items() if (key[1], key[0], key[2]) not in found}
    families = ["all" if family == "all" else at for _, _, at in agreed]
    judged = judge(proof, [pair for _, _, pair in agreed.values()], families, metric)
    return [
        Ranking(better, worse, where, at, theirs, ours)
        for ((better, worse, at), (where, theirs, _)), ours in zip(agreed.items(), judged, strict=True)
    ]


def published_marks(
    rows: Shown, datasets: Sequence[tuple[str, int] | None], folder: Path, registry: Registry
) -> tuple[Published, ...]:
    """The literature's figures that stand beside ours: those of the same sampler, options and evaluations, on the data
    set and of the size of image that the run is of. None where our features are not Inception's, as theirs are.

    datasets: of each file's run, and the height of its images; None where that is not known.
    """
    extractors = {str(name) for name in plain_column(rows.known, "extractor")}
    known = {one for one in datasets if one}
    if rows.metric.name != "fid" or len(known) != 1 or not all("inception" in name for name in extractors):
        return ()
    ((dataset, side),) = known
    results = Results("", rows.known, rows.files[0].folder, rows.metric.name)
    frame = _matched(results, folder, registry)
    labels = rows.known["label"].tolist()
    ours = [] if rows.known.empty else sorted({f"{n:.0f}" for n in plain_column(rows.known, "samples") if n})
    found = []
    for one in frame.to_dict("records"):
        if _letters(one["dataset"]) in (_letters(dataset), _letters(f"{dataset}{side}")):
            theirs = f"{one['samples']:.0f}" if one["samples"] == one["samples"] else "unstated"
            about = f"{one['source']}: {theirs} samples, {one['checkpoint']}; here {' and '.join(ours)} samples"
            found.append(Published(float(one["nfe"]), float(one["fid"]), labels[one["row"]], about))
    return tuple(found)


def _letters(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


def _matched(results: Results, folder: Path, registry: Registry) -> pd.DataFrame:
    """Their rows with ours, which have no guidance; `row` is the place of ours among those that were measured."""
    tables = pd.concat([pd.read_csv(file) for file in sorted(folder.glob("*.csv"))], ignore_index=True)
    rows = results.rows.reset_index(drop=True)
    ours = rows[["sampler", "nfe", "fid"]].rename(columns={"fid": "our fid"})
    ours["row"] = ours.index
    ours["our spacing"] = rows["spacing"] if "spacing" in rows.columns else None
    ours["default"] = ~ours["sampler"].str.contains("spacing=")
    if "guidance" in rows.columns:
        ours = ours[rows["guidance"].fillna("") == ""]
    for frame in (ours, tables):
        frame["sampler"] = frame["sampler"].map(_without_spacing(frame["sampler"].unique(), registry))
    both = ours.merge(tables, on=["sampler", "nfe"])
    stated = both["spacing"].notna()
    same = (stated & (both["spacing"] == both["our spacing"])) | (~stated & both["default"])
    # one row a figure of theirs: two of our budgets may have come to the same evaluations
    return both[same].drop_duplicates([*tables.columns])


def _without_spacing(specs: Iterable[str], registry: Registry) -> dict[str, str]:
    """Each sampler in its shortest form, its spacing left out; as it stands where we have none of that name."""
    known = {name for r in registry.samplers for name in (r.cls.name, *r.cls.aliases)}
    short = {}
    for spec in specs:
        short[spec] = spec
        if spec.partition(":")[0] in known:
            try:
                sampler = registry.sampler(spec)
            except UserError:
                continue
            short[spec] = replace(sampler, spacing=type(sampler)().spacing, rho=None).spec()
    return short
