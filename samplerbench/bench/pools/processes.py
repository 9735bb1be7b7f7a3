"""Workers in processes of this machine, one a GPU or several on the CPU."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import Any

from ..maker import Failure, arrived
from ..shards import ShardCache
from ..task import Setup, Task
from .events import Advanced, Died, Event, Finished, Found, Noticed, Ready, Refused, Unfit
from .hands import Hands

__all__ = ["Processes"]


class Processes(Hands):
    """setups: what the worker of each place is made from. cache: that of the run, where their shards are."""

    def __init__(self, setups: list[Setup], cache: ShardCache) -> None:
        self.setups, self.cache, self.count = setups, cache, len(setups)
        self._workers: dict[int, _Worker] = {}
        self._heard: Heard = SimpleQueue()

    def begin(self, place: int) -> None:
        self._workers[place] = _Worker(place, self.setups[place], self._heard)

    def give(self, place: int, task: Task) -> None:
        self._workers[place].tasks.append(task)
        self._workers[place].given.put(task.text())

    def wait(self, seconds: float | None) -> Iterator[Event]:
        with suppress(Empty):
            while True:
                worker, said, data = self._heard.get(timeout=seconds)
                if self._workers.get(worker.place) is worker:
                    yield self._event(worker, said, data)
                seconds = 0

    def _event(self, worker: _Worker, said: dict[str, Any], data: list[bytes]) -> Event:
        place = worker.place
        match said.pop("event"):
            case "made":
                return Finished(place, arrived(self.cache, worker.tasks.popleft(), said["cached"], data or None))
            case "failed":
                worker.tasks.popleft()
                return Finished(place, Failure(**said["failure"]))
            case "refused":
                worker.tasks.popleft()
                return Refused(place, said["reason"])
            case "died":
                del self._workers[place]
                return Died(place, said["reason"])
            case event:
                return EVENTS[event](place, *said.values())

    def end(self, place: int) -> None:
        if place in self._workers:
            self._workers.pop(place).end()

    def close(self) -> None:
        """Nothing is left."""


class _Worker:
    """A process. Two threads talk to it and listen, so that the run never waits for one that is frozen, even in the
    middle of a message. The last of them to end closes the line.

    tasks: that it has, in their order. given: what it is to be told; None ends that. heard: gets what it says.
    """

    def __init__(self, place: int, setup: Setup, heard: Heard) -> None:
        self.place, self.tasks, self.given = place, deque[Task](), SimpleQueue[str | None]()
        ours, theirs = socket.socketpair()
        line = Connection(ours.detach())
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "samplerbench.bench.pools.child", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=2,  # what plugins print does not go among results
                process_group=0,  # Ctrl-C is for the run alone
            )
        self.given.put(json.dumps({"setup": asdict(setup)}))
        threading.Thread(target=self._talk, args=(line,), daemon=True).start()
        threading.Thread(target=self._listen, args=(line, heard), daemon=True).start()

    def _talk(self, line: Connection) -> None:
        with suppress(OSError):  # it is dead, and who listens will say so
            while (text := self.given.get()) is not None:
                line.send_bytes(text.encode())

    def _listen(self, line: Connection, heard: Heard) -> None:
        with suppress(Exception):  # it is gone, or what it says is no message
            while True:
                said = json.loads(line.recv_bytes())
                heard.put((self, said, [line.recv_bytes() for _ in range(said.get("shards", 0))]))
        self.given.put(None)
        heard.put((self, {"event": "died", "reason": self._how_it_died()}, []))

    def _how_it_died(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        status = self._process.returncode
        self.end()
        if status is None:
            return "it closed its line"
        return f"ended by {signal.Signals(-status).name}" if status < 0 else f"it ended with status {status}"

    def end(self) -> None:
        _kill(self._process)


Heard = SimpleQueue[tuple[_Worker, dict[str, Any], list[bytes]]]
"""What workers say: who, a message, and the shards behind it."""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a worker, with what a plugin has started in it and not ended."""
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):  # where the system itself hangs in it
        process.wait(timeout=5)


EVENTS: dict[str, Callable[..., Event]] = {
    "ready": Ready,
    "unfit": Unfit,
    "advance": Advanced,
    "found": Found,
    "notice": Noticed,
}
