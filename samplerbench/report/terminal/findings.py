"""What `samplerbench check` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from torch import Tensor

from ...check.checks import check_on_paths, check_sampler
from ...check.denoising import Compared
from ...check.finding import Finding
from ...check.model import check_model
from ...diffusion.schedule import NoiseSchedule
from ...models.model import Model
from ...sampler import Sampler
from .console import error_console, plain_console

__all__ = ["print_findings", "print_proof"]

STYLES = {"passed": "green", "failed": "bold red", "skipped": "dim"}
VERDICTS = {
    "worse": ("declared wins", "green"),
    "better": ("FAILED", "bold red"),
    "cannot tell": ("cannot tell", "dim"),
}


def print_findings(samplers: Sequence[Sampler], paths: Mapping[str, NoiseSchedule] | None = None) -> int:
    """Checks samplers one after the other, a table each: every check, or those that depend on the path on each of
    `paths`. Returns 1 where something failed, else 0.
    """
    console = plain_console()
    failures: list[Finding] = []
    with _one_thread():
        for sampler in samplers:
            findings = check_sampler(sampler) if paths is None else check_on_paths(sampler, paths)
            if paths is None:
                console.print(_listed(sampler.spec(), findings))
            else:
                _print_matrix(console, sampler.spec(), findings)
            failures += _told(console, findings)
    console.print(_summary(len(failures)))
    return 1 if failures else 0


def print_proof(model: Model, images: Tensor | None, samples: int | None, seed: int, device: str, data: str) -> int:
    """Checks a model, and prints findings and readings. Returns 1 where something failed, else 0."""
    console = plain_console()
    with error_console(quiet=False).status("") as status:
        proof = check_model(model, images, samples, seed, device, status.update)
    console.print(_listed(model.name, proof.findings))
    if proof.compared:
        on = f"{proof.on} of {data}" if data else proof.on
        console.print(_readings(proof.compared, on))
    failures = _told(console, proof.findings)
    console.print(_summary(len(failures)))
    return 1 if failures else 0


def _summary(failures: int) -> str:
    return f"{failures} check{'' if failures == 1 else 's'} failed." if failures else "All checks passed."


@contextmanager
def _one_thread() -> Iterator[None]:
    """The tensors are small; more threads only get in each other's way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _listed(title: str, findings: Sequence[Finding]) -> Table:
    table = Table(Column("check", no_wrap=True), Column(no_wrap=True), "found", title=title, title_justify="left")
    again: Counter[str] = Counter()
    for finding in findings:
        raised = finding.verdict == "failed" and next((text for text in again if finding.text.endswith(text)), None)
        if raised:  # one mistake makes many checks raise the same
            again[raised] += 1
            continue
        if finding.details:
            again[finding.text] = 0
        table.add_row(finding.check, Text(finding.verdict, STYLES[finding.verdict]), Text(finding.text))
    for text, count in again.items():
        if count:
            table.add_row(
                _counted(count), Text("failed", STYLES["failed"]), Text(f"the same: {text.partition(':')[0]}")
            )
    return table


def _counted(checks: int) -> str:
    return f"{checks} check{'' if checks == 1 else 's'} more"


def _print_matrix(console: Console, title: str, findings: Sequence[Finding]) -> None:
    """A row for each path, and below what failed."""
    table = Table(Column("path", no_wrap=True), Column(no_wrap=True), "checks", title=title, title_justify="left")
    rows: dict[str, dict[str, list[str]]] = {}
    for finding in findings:
        rows.setdefault(finding.path, {}).setdefault(finding.verdict, []).append(finding.check)
    for path, found in rows.items():
        verdict = next(word for word in ("failed", "passed", "skipped") if word in found)
        parts = [f"{word} {', '.join(names)}" for word, names in found.items()]
        table.add_row(path, Text(verdict, STYLES[verdict]), Text("; ".join(parts)))
    console.print(table)
    failed: dict[str, list[str]] = {}
    for finding in findings:
        if finding.verdict == "failed":
            failed.setdefault(finding.text, []).append(f"{finding.path}, {finding.check}")
    for text, places in failed.items():
        more = f" and {_counted(len(places) - 1)}" if len(places) > 1 else ""
        console.print(Text(f"{places[0]}{more}: {text}", STYLES["failed"]))


def _readings(compared: Sequence[Compared], on: str) -> Table:
    title = f"squared error of other readings over the declared one's, {on}"
    table = Table("reading", "error ×", "99 % interval", "", title=title, title_justify="left")
    for one in compared:
        word, style = VERDICTS[one.verdict]
        interval = "" if one.interval is None else f"{_short(one.interval[0])} to {_short(one.interval[1])}"
        table.add_row(one.reading.name, _short(one.ratio), interval, Text(word, style))
    return table


def _short(value: float) -> str:
    return f"{value:.4f}" if value < 2 else f"{value:.4g}"


def _told(console: Console, findings: Sequence[Finding]) -> list[Finding]:
    """The findings that failed; the traceback of each error is printed once."""
    for details in {finding.text: finding.details for finding in findings}.values():
        if details:
            console.print(Text(details, "dim"))
    return [finding for finding in findings if finding.verdict == "failed"]
