"""The names of pools."""

from __future__ import annotations

from ...errors import UserError

__all__ = ["check_workers"]

EXPECTED = "expected serial, a number of processes, gpus, or ray[:ADDRESS]"
MOST = 1024


def check_workers(workers: str) -> None:
    """Raises UserError for what is no pool."""
    if workers in ("serial", "gpus", "ray") or workers.startswith("ray:"):
        return
    if not workers.isdecimal():
        raise UserError(f"--workers {workers}: {EXPECTED}")
    if not 1 <= int(workers) <= MOST:
        raise UserError(f"--workers {workers}: a number of processes is from 1 to {MOST}")
