"""Workers as actors on a Ray cluster, one a GPU, or one a processor where the run is on CPUs.

Ray restarts nothing here and retries nothing: the crew's loop does. An actor is told a task in plain text, and answers
in plain text; its shard is a file in the shared folder, or bytes where the folder is not shared.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...errors import UserError, one_line
from ...files import PART
from ..maker import Failure, arrived
from ..shards import ShardCache
from ..task import Setup, Task, read_task
from .events import Advanced, Died, Event, Finished, Found, Noticed, Ready, Refused, Unfit
from .hands import Hands

__all__ = ["Actors"]


class Actor:
    """The worker on the other side."""

    def begin(self, said: str, token: str) -> str:
        """Loads what a setup names; what it says is JSON. token: a file in the folder of shards, if that is shared."""
        from ..remote import Remote

        setup, self.notices = Setup.read(json.loads(said)), list[str]()
        shared = (Path(setup.cache) / token).is_file()
        try:
            self.remote = Remote(setup, self.notices.append, shared)
        except Exception as error:
            return json.dumps({"unfit": str(error) if isinstance(error, UserError) else one_line(error)})
        return json.dumps({"ready": self.remote.hardware, "shared": shared})

    def make(self, text: str) -> tuple[str, list[bytes] | None]:
        """Does a task: JSON, and the bytes of its film, or of its shards where they are not in the shared folder."""
        from ..remote import OtherSampler

        try:
            done = self.remote.do(read_task(text))
        except UserError as error:
            return json.dumps({"refused" if isinstance(error, OtherSampler) else "unfit": str(error)}), None
        notices = self.notices.copy()
        self.notices.clear()
        if isinstance(done, Failure):
            return json.dumps({"failure": asdict(done), "notices": notices}), None
        return json.dumps({"cached": done.cached, "notices": notices}), done.data


class Actors(Hands):
    """setup: what workers are made from. address: of a cluster; '' starts one on this machine. cache: that of the run.

    Raises UserError where Ray is not installed, the address does not answer, or the cluster has nothing to run on.
    """

    queued = True

    def __init__(self, setup: Setup, address: str, cache: ShardCache) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise UserError("--workers ray needs Ray: pip install 'samplerbench[ray]'") from None
        self.ray: Any = ray  # its types do not say what can be given by name
        self.cache = cache
        self._ours = not self.ray.is_initialized()
        if self._ours:
            try:
                _answers(address)
                before = signal.getsignal(signal.SIGTERM)
                self.ray.init(address=address or "local", log_to_driver=False, logging_level="error")
                with suppress(ValueError):  # not in the main thread, where Ray sets none either
                    signal.signal(signal.SIGTERM, before)  # Ray's own prints pages and aborts
            except Exception as error:
                raise UserError(f"--workers ray:{address}: no cluster answers there ({one_line(error)})") from None
        gpu = setup.device.startswith("cuda")
        self.count = int(self.ray.cluster_resources().get("GPU" if gpu else "CPU", 0))
        if not self.count:
            raise UserError(f"--workers ray: the cluster has no {'GPU' if gpu else 'processor'} to run on")
        needs = {"num_gpus": 1} if gpu else {"num_cpus": 1}
        self._actor: Any = self.ray.remote(**needs, max_restarts=0, max_task_retries=0)(Actor)
        self._setup = json.dumps(asdict(replace(setup, device="cuda") if gpu else replace(setup, threads=1)))
        self._token = f".shared-{secrets.token_hex(8)}{PART}"  # of a run that was killed, `cache --delete` removes it
        self._handles: dict[int, Any] = {}
        self._waiting: dict[Any, tuple[int, Task | None]] = {}

    def begin(self, place: int) -> None:
        self.cache.root.mkdir(parents=True, exist_ok=True)
        (self.cache.root / self._token).touch()
        self._handles[place] = self._actor.remote()
        self._waiting[self._handles[place].begin.remote(self._setup, self._token)] = place, None

    def give(self, place: int, task: Task) -> None:
        self._waiting[self._handles[place].make.remote(task.text())] = place, task

    def wait(self, seconds: float | None) -> Iterator[Event]:
        self.ray.wait(list(self._waiting), num_returns=1, timeout=seconds)
        ready, _ = self.ray.wait(list(self._waiting), num_returns=len(self._waiting), timeout=0)
        for ref in ready:
            if ref in self._waiting:
                yield from self._heard(ref)

    def _heard(self, ref: Any) -> list[Event]:
        place, task = self._waiting.pop(ref)
        try:
            answer = self.ray.get(ref)
        except self.ray.exceptions.RayError as error:
            self._forget(place)
            return [Died(place, _reason(error))]
        if task is None:
            said = json.loads(answer)
            return [Ready(place, said["ready"]) if "ready" in said else Unfit(place, said["unfit"])]
        said = json.loads(answer[0])
        if "unfit" in said:
            return [Unfit(place, said["unfit"])]
        if "refused" in said:
            return [Refused(place, said["refused"])]
        told: list[Event] = [Noticed(place, text) for text in said["notices"]]
        if "failure" in said:
            return [*told, Finished(place, Failure(**said["failure"]))]
        counts = (Found(place, said["cached"]), Advanced(place, task.count - said["cached"]))
        told += [one for one in counts if one.samples]
        return [*told, Finished(place, arrived(self.cache, task, said["cached"], answer[1]))]

    def _forget(self, place: int) -> None:
        self._handles.pop(place, None)
        self._waiting = {ref: owner for ref, owner in self._waiting.items() if owner[0] != place}

    def end(self, place: int) -> None:
        if place in self._handles:
            self.ray.kill(self._handles[place])
            self._forget(place)

    def close(self) -> None:
        (self.cache.root / self._token).unlink(missing_ok=True)
        if self._ours:
            self.ray.shutdown()


def _reason(error: Exception) -> str:
    """Why an actor is gone, without the pages of advice that Ray has for it."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):  # it was raised by what the actor did
        return one_line(cause)
    said = " ".join(str(error).split())
    where = re.search(r"\bip: (\S+)", said)
    why = (
        re.search(r"exit detail: (.*?)\. ", said) or re.search(r"because (.*?)\. ", said) or re.match(r"(.*?)\. ", said)
    )
    return f"{type(error).__name__}: {(why[1] if why else said)[:LONG]}" + (f", on {where[1]}" if where else "")


LONG = 160  # characters of a reason
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # of HTTP/2, RFC 9113, section 3.4
SETTINGS = 4  # the kind of frame that a server says first
PATIENCE = 10.0  # seconds


def _answers(address: str) -> None:
    """Raises OSError where nobody listens at HOST:PORT, or somebody who does not speak as Ray does, gRPC: Ray itself
    waits minutes for both.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as line:
        if os.environ.get("RAY_USE_TLS", "0") == "0":
            line.sendall(HELLO)
            head = line.recv(9)
            if len(head) < 9 or head[3] != SETTINGS:
                raise ConnectionError("what listens there is not Ray")
