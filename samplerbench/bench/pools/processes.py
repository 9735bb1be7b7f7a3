"""Workers in processes of this machine, one a GPU or several on the CPU."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection, wait

from ..maker import Failure, Made, arrived
from ..shards import ShardCache
from ..task import Setup, ShardTask
from .crew import Hands
from .events import Advanced, Died, Event, Finished, Found, Noticed, Ready, Refused, Unfit

__all__ = ["Processes"]


class Processes(Hands):
    """setups: what the worker of each place is made from. cache: that of the run, where their shards are."""

    def __init__(self, setups: list[Setup], cache: ShardCache) -> None:
        self.setups, self.cache, self.count = setups, cache, len(setups)
        self._lines: dict[int, Connection] = {}
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._tasks: dict[int, list[ShardTask]] = {}

    def begin(self, place: int) -> None:
        ours, theirs = socket.socketpair()
        line = Connection(ours.detach())
        self._running[place] = subprocess.Popen(
            [sys.executable, "-P", "-m", "samplerbench.bench.pools.child", str(theirs.fileno()), str(os.getpid())],
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=2,  # what plugins print does not go among results
            process_group=0,  # Ctrl-C is for the run alone
        )
        self._lines[place], self._tasks[place] = line, []
        line.send_bytes(json.dumps({"setup": asdict(self.setups[place])}).encode())  # heard by `theirs`, if it is dead
        theirs.close()

    def give(self, place: int, task: ShardTask) -> None:
        self._tasks[place].append(task)
        with suppress(OSError):  # it is dead, and `wait` will say so
            self._lines[place].send_bytes(task.text().encode())

    def wait(self, seconds: float | None) -> list[Event]:
        ready = wait(list(self._lines.values()), seconds)
        places = [place for place, line in self._lines.items() if line in ready]
        return [event for place in places if (event := self._hear(place)) is not None]

    def _hear(self, place: int) -> Event | None:
        line = self._lines[place]
        try:
            said = json.loads(line.recv_bytes())
            match said.pop("event"):
                case "made":
                    return Finished(place, self._made(place, said["cached"], said["sent"]))
                case "failed":
                    self._tasks[place].pop(0)
                    return Finished(place, Failure(**said["failure"]))
                case "refused":
                    self._tasks[place].pop(0)
                    return Refused(place, said["reason"])
                case event:
                    return EVENTS[event](place, *said.values())
        except (EOFError, OSError):
            return Died(place, self._how_it_died(place))

    def _made(self, place: int, cached: int, sent: bool) -> Made | Failure:
        task = self._tasks[place].pop(0)
        data = [self._lines[place].recv_bytes() for _ in task.shards()] if sent else None
        return arrived(self.cache, task, cached, data)

    def _how_it_died(self, place: int) -> str:
        self._lines.pop(place).close()
        process = self._running.pop(place)
        try:
            status = process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            _kill(process)
            return "it closed its line"
        return f"ended by {signal.Signals(-status).name}" if status < 0 else f"it ended with status {status}"

    def end(self, place: int) -> None:
        if place in self._running:
            self._lines.pop(place).close()
            process = self._running.pop(place)
            _kill(process)

    def close(self) -> None:
        """Nothing is left."""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a worker, with what a plugin has started in it and not ended."""
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


EVENTS: dict[str, Callable[..., Event]] = {
    "ready": Ready,
    "unfit": Unfit,
    "advance": Advanced,
    "found": Found,
    "notice": Noticed,
}
