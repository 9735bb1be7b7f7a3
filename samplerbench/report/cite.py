"""BibTeX for what was used: of samplers by their names, or of all that a run rests on.

A sampler, guider, metric or extractor says its source in `paper`. An arXiv number there is looked up in
`references.bib`; of what is not in it the entry is made of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import UserError
from ..options import parse_spec, split_budgets
from ..registry import Registry
from .bundle import results_file
from .said import read_run

__all__ = ["bibtex"]

ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5}|[a-z-]+/\d{7})")
YEAR = re.compile(r"\b(?:19|20)\d\d\b")
DATASETS = {"fashionmnist": "xiao2017fashion", "cifar10": "krizhevsky2009learning"}
FIDELITY = "obukhov2020torchfidelity"  # whose FID ours is


def bibtex(named: Sequence[str], registry: Registry) -> tuple[str, list[str]]:
    """The entries for samplers, by name or spec, and for runs, by folder or bundle; each once. And what has no source
    that it says, in lines.

    Raises UserError for what is neither.
    """
    found: dict[str, str] = {}
    silent: list[str] = []
    for name in named:
        for kind, used, paper in _used(name, registry):
            if not paper:
                silent.append(f"{kind} {used} names no paper")
            for key, entry in _entries(used, paper):
                found.setdefault(key, entry)
    return "\n\n".join(found.values()), list(dict.fromkeys(silent))


def _used(name: str, registry: Registry) -> Iterator[tuple[str, str, str]]:
    """Kind, name and source of all that a name stands for. A source that is a key of ours starts with '@'."""
    path = Path(name)
    if not path.exists() or any(name in (r.cls.name, *r.cls.aliases) for r in registry.samplers):
        cls = registry.entry(parse_spec(split_budgets(name)[0])[0]).cls
        yield "sampler", cls.name, cls.paper
        return
    run = read_run(results_file(path).parent)
    if run is None:
        raise UserError(f"{name} has no run.json, which says what was used")
    for kind in ("samplers", "metrics"):
        for used in _part(run, kind):
            yield kind[:-1], used, _paper(registry, kind, used)
    given = _part(run, "config").get("guidance")
    for spec in given if isinstance(given, list) else []:
        guider = spec.partition(":")[0]
        if guider := "" if guider == "1" else "cfg" if guider[:1].isdigit() else guider:
            yield "guider", guider, _paper(registry, "guiders", guider)
    extractor = str(_part(run, "extractor").get("name", "")).partition(":")[0]
    if extractor:
        yield "extractor", extractor, _paper(registry, "extractors", extractor) or f"@{FIDELITY}"
    yield "torch-fidelity", "", f"@{FIDELITY}"
    dataset = str(_part(run, "model").get("dataset") or "").lower().replace("-", "")
    if dataset in DATASETS:
        yield "dataset", dataset, f"@{DATASETS[dataset]}"
    yield "samplerbench", "", "@samplerbench"


def _part(run: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = run.get(name)
    return part if isinstance(part, dict) else {}


def _paper(registry: Registry, kind: str, name: str) -> str:
    """The source that a registered class says; of one that is not here none is known."""
    try:
        return str(getattr(registry.find(kind, name).cls, "paper", ""))
    except UserError:
        return ""


def _entries(name: str, paper: str) -> Iterable[tuple[str, str]]:
    known = _known()
    if paper.startswith("@"):
        return [(paper, _samplerbench() if paper == "@samplerbench" else known[paper[1:]])]
    numbers = list(dict.fromkeys(ARXIV.findall(paper)))
    if not numbers:
        return [(name, _made(name, paper, ""))] if paper else []
    return [(number, known.get(number) or _made(name, paper, number)) for number in numbers]


def _made(name: str, paper: str, number: str) -> str:
    """An entry of what a plugin says of its source."""
    year = YEAR.search(paper)
    fields = {"note": paper, "year": year[0] if year else "", "eprint": number}
    fields["archiveprefix"] = "arXiv" if number else ""
    return _entry(name, {key: value.translate(ESCAPED) for key, value in fields.items() if value})


ESCAPED = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"})


def _samplerbench() -> str:
    fields = {"title": "samplerbench", "author": "{samplerbench developers}", "note": f"version {__version__}"}
    return _entry("samplerbench", fields)


def _entry(key: str, fields: Mapping[str, str]) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@misc{{{key},", *lines, "}"])


@cache
def _known() -> Mapping[str, str]:
    """The entries of references.bib, by their arXiv numbers and by their keys."""
    text = resources.files(__package__).joinpath("references.bib").read_text(encoding="utf-8")
    found = {}
    for entry in text.strip().split("\n\n"):
        number = re.search(r"eprint = \{(.*?)\}", entry)
        found[entry.partition("{")[2].partition(",")[0]] = entry
        if number:
            found[number[1]] = entry
    return found
