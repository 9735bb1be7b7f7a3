"""Which pool `--workers` names."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from ...errors import UserError
from ..maker import Maker
from ..task import Setup
from .known import Known
from .names import check_workers
from .pool import Pool
from .serial import SerialPool

__all__ = ["pool_of"]


def pool_of(workers: str, timeout: float | None, maker: Maker, setup: Callable[[], Setup]) -> Pool:
    """The pool of that name. maker: the worker of this process. setup: what another is made from; it may raise
    UserError. timeout: seconds for a cell; with it, the one worker is a process too, so that it can be ended.
    """
    check_workers(workers)
    if workers == "serial" and timeout is None:
        return SerialPool(maker)
    from .crew import Crew

    if workers.startswith("ray"):
        from .on_ray import Actors

        return Known(maker, Crew(Actors(setup(), workers.partition(":")[2], maker.cache), timeout))
    from .processes import Processes

    return Known(maker, Crew(Processes(_setups(workers, setup()), maker.cache), timeout))


def _setups(workers: str, setup: Setup) -> list[Setup]:
    """One a process: each on a GPU of its own, or with its share of the processors."""
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if workers == "gpus":
        if not gpus:
            raise UserError("--workers gpus: this machine has no usable CUDA device; use a number of processes")
        return [replace(setup, device=f"cuda:{number}") for number in range(gpus)]
    count = 1 if workers == "serial" else int(workers)
    if setup.device.startswith("cuda"):
        return [
            replace(setup, device=f"cuda:{n % gpus}" if setup.device == "cuda" else setup.device) for n in range(count)
        ]
    threads = torch.get_num_threads() if count == 1 else max(1, _processors() // count)
    return [replace(setup, threads=threads)] * count


def _processors() -> int:
    """Those that this process may use: a job of a cluster has few of a machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
