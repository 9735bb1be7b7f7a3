"""How long a worker's device works at which part, and how much memory that takes."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["Clock", "Spans", "forget_peak", "peak_megabytes"]

Spans = list[tuple[str, Any, Any]]
"""Parts with their beginning and end."""


class Clock:
    """Seconds by part. On a GPU parts are timed by events in its stream, so that nothing waits for it until they are
    read.

    device: cpu, cuda or cuda:N.
    """

    def __init__(self, device: str) -> None:
        self._cuda, self._device = device.startswith("cuda"), device
        self._open: dict[str, Any] = {}
        self._spans: Spans = []

    def start(self, part: str) -> None:
        """A part begins; one that was begun and broken off is forgotten."""
        self._open[part] = self._now()

    def stop(self, part: str) -> None:
        """It ends."""
        self._spans.append((part, self._open.pop(part), self._now()))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is inside is a part; what raises is none."""
        self.start(name)
        yield
        self.stop(name)

    def take(self) -> Spans:
        """The parts since the last time, for `seconds`."""
        spans, self._open, self._spans = self._spans, {}, []
        return spans

    def done(self) -> None:
        """Waits until the device has done all that it was given."""
        if self._cuda:
            torch.cuda.synchronize(self._device)

    def seconds(self, spans: Spans) -> dict[str, float]:
        """The seconds of each part, 0 for others; only after `done`."""
        found: dict[str, float] = defaultdict(float)
        for part, start, stop in spans:
            found[part] += start.elapsed_time(stop) / 1000 if self._cuda else stop - start
        return found

    def _now(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event


def forget_peak(device: str) -> None:
    """From here on the peak of a GPU's memory is another; that of a process has no beginning."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)


def peak_megabytes(device: str) -> int:
    """The most memory that was in use: of a GPU what torch had of it since `forget_peak`, of a CPU what the process had
    since it began, in 10⁶ bytes.
    """
    if device.startswith("cuda"):
        return round(torch.cuda.max_memory_allocated(device) / 1e6)
    import resource  # not there on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)
