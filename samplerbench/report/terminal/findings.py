"""What `samplerbench check` prints."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rich.table import Table
from rich.text import Text

from ...check.checks import check_sampler
from ...sampler import Sampler
from .console import plain_console

__all__ = ["print_findings"]

STYLES = {"passed": "green", "failed": "bold red", "skipped": "dim"}


def print_findings(samplers: Sequence[Sampler]) -> int:
    """Checks samplers one after the other, a table each. Returns 1 where something failed, else 0."""
    console = plain_console()
    failures = 0
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are small; more threads only get in each other's way
    try:
        for sampler in samplers:
            table = Table("check", "", "found", title=sampler.spec(), title_justify="left")
            findings = check_sampler(sampler)
            for finding in findings:
                table.add_row(finding.check, Text(finding.verdict, STYLES[finding.verdict]), Text(finding.text))
            console.print(table)
            failures += sum(finding.verdict == "failed" for finding in findings)
            for details in {finding.text: finding.details for finding in findings}.values():  # one error told once
                if details:
                    console.print(Text(details, "dim"))
    finally:
        torch.set_num_threads(before)
    console.print(f"{failures} checks failed." if failures else "All checks passed.")
    return 1 if failures else 0
