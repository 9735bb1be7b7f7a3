"""The names of pools."""

from __future__ import annotations

import re
from difflib import get_close_matches

from ...errors import UserError

__all__ = ["check_workers"]

NAMES = ("serial", "gpus", "ray")
EXPECTED = "expected serial, a number of processes, gpus, or ray[:ADDRESS]"
MOST = 1024
ADDRESS = re.compile(r"(auto|local|(ray://)?[^:/\s]+:\d+)?")  # those that Ray takes


def check_workers(workers: str) -> None:
    """Raises UserError for what is no pool."""
    if workers in NAMES:
        return
    pool, colon, address = workers.partition(":")
    if pool == "ray" and colon:
        if not ADDRESS.fullmatch(address):
            raise UserError(f"--workers {workers}: expected ray:HOST:PORT, such as ray:10.0.0.1:6379, or ray:auto")
    elif re.fullmatch(r"[0-9]{1,9}", workers) and 1 <= int(workers) <= MOST:
        return
    elif re.fullmatch(r"[+-]?\d+(\.\d*)?", workers):
        raise UserError(f"--workers {workers}: a number of processes is a whole one from 1 to {MOST}")
    else:
        near = get_close_matches(workers.lower(), NAMES, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UserError(f"--workers {workers}: {EXPECTED}{hint}")
