"""A worker in a process of its own: `python -m samplerbench.bench.pools.child FD PARENT`, over a socket to who started
it, whose process id is PARENT.

Messages are JSON, so that nothing that a plugin made is unpickled. Shards that could not be written to the cache follow
their message as bytes, as films do.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from ...errors import UserError, one_line
from ..maker import Failure
from ..remote import OtherSampler, Remote
from ..task import Setup, read_task

__all__ = ["serve"]


def serve(line: Connection) -> None:
    """Does what it is told until the line is cut."""

    def say(event: str, **said: Any) -> None:
        line.send_bytes(json.dumps({"event": event, **said}).encode(errors="backslashreplace"))

    first = json.loads(line.recv_bytes())
    try:
        remote = Remote(Setup.read(first["setup"]), notice=lambda text: say("notice", text=text))
    except Exception as error:
        say("unfit", reason=str(error) if isinstance(error, UserError) else one_line(error))
        return
    say("ready", about=remote.hardware)
    heard: SimpleQueue[bytes | None] = SimpleQueue()
    threading.Thread(target=_listen, args=(line, heard), daemon=True).start()
    while (text := heard.get()) is not None:
        task = read_task(text.decode())
        try:
            done = remote.do(
                task, lambda samples: say("advance", samples=samples), lambda samples: say("found", samples=samples)
            )
        except OtherSampler as error:
            say("refused", reason=str(error))
            continue
        except UserError as error:
            say("unfit", reason=str(error))
            return
        if isinstance(done, Failure):
            say("failed", failure=asdict(done))
        else:
            say("made", cached=done.cached, shards=len(done.data or ()))
            for data in done.data or ():
                line.send_bytes(data)


def _listen(line: Connection, heard: SimpleQueue[bytes | None]) -> None:
    """Hears tasks while others are done: a long one fills the line, and who gives it would have to wait."""
    with suppress(EOFError, OSError):
        while True:
            heard.put(line.recv_bytes())
    heard.put(None)


PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Ends this process when the one that started it is gone, however it went. On Linux native code is ended too that
    never comes back to Python.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    end_with(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it, who ends it
    os.set_inheritable(int(sys.argv[1]), False)  # what a plugin starts would hold the line when this process is gone
    with suppress(EOFError, ConnectionError):  # nobody is there any more
        serve(Connection(int(sys.argv[1])))
