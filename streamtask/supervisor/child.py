"""A parent's view of one worker process: started, listened to, asked to end, killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from streamtask.heartbeat import Heartbeat, Worn, parse
from streamtask.supervisor.parent import HANDOVER, NOW, Hello

#: Seconds that what a dead process said last may take to be read.
LAST_WORDS = 1.0
#: Lines that are kept of what a process that stands still says.
STACK = 200
#: Bytes of the longest line: a hello with its banner.
LINE = 2**20


class Child:
    """One process life. `pid`, `hello` and `heartbeat` are there as soon as they are known.

    `ready`, `worn_out` and `spent` are done when it has said so, `end` with its exit code.
    """

    end: asyncio.Task[int]

    def __init__(self, greeted: Callable[[Child], None]) -> None:
        self._greeted = greeted
        self.pid = 0
        self.hello: Hello | None = None
        self.heartbeat: Heartbeat | None = None
        self.heard_at: float | None = None
        self.ready_at: float | None = None
        self.worn: Worn | None = None  # what it said first of its wear
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.worn_out: asyncio.Future[None] = loop.create_future()
        self.spent: asyncio.Future[None] = loop.create_future()
        self.stalled = False
        self.stack: list[str] = []  # where it stands still, told just before it is killed
        self.unstarted: str | None = None  # why it could not be started
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def name(self) -> str:
        """What to call it in texts."""
        return self.hello.consumer if self.hello is not None else f"process {self.pid}"

    async def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it: a fresh interpreter in a process group of its own, so that Ctrl-C is this process's to pass on."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                env={**environment, HANDOVER: str(theirs.fileno())},
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                process_group=0,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=LINE)
        self._listening = asyncio.create_task(self._listen(reader))

    async def ended(self) -> int:
        """Wait for its end; its exit code, negative for a signal."""
        assert self._process is not None
        assert self._writer is not None
        code = await self._process.wait()
        await asyncio.wait([self._listening], timeout=LAST_WORDS)  # something it started may hold the socket open
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        self._writer.close()
        return code

    @property
    def served(self) -> float:
        """Seconds since it began to take messages."""
        return 0.0 if self.ready_at is None else time.monotonic() - self.ready_at

    def silent_for(self, now: float) -> float:
        """Seconds since its loop last turned. One that has not begun to beat (it imports the app) is not silent."""
        return 0.0 if self.heard_at is None else now - self.heard_at

    def drain(self) -> None:
        """Ask it to end; what is not that far yet, and holds nothing, ends at once."""
        self._signal(signal.SIGTERM)

    def stop_now(self) -> None:
        """Ask it to end at once. By the socket: a process that is sent SIGTERM by others, too, must not take that for
        a second wish.
        """
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(NOW)

    def kill(self) -> None:
        """End it as it stands, with all that it started: others begin anew what it was doing."""
        self._signal(signal.SIGKILL, os.killpg)

    def _signal(self, number: int, kill: Callable[[int, int], None] = os.kill) -> None:
        if self._process is not None and self._process.returncode is None:
            # Not send_signal: it may take the exit code from asyncio's waitpid. macOS refuses a group of the dead.
            with suppress(ProcessLookupError, PermissionError):
                kill(self.pid, number)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError, ValueError):  # it has died in the middle of a line
            while line := await reader.readline():
                self._heard(line)

    def _heard(self, line: bytes) -> None:
        if not line.startswith(b"{"):
            if len(self.stack) < STACK:
                self.stack.append(line.decode(errors="replace").rstrip())
            return
        self.stack.clear()
        self.heard_at = time.monotonic()
        said = json.loads(line)
        if "hello" in said:
            self.hello = Hello.of(said["hello"])
            self._greeted(self)
            return
        self.heartbeat = parse(line)
        if self.ready_at is None and self.heartbeat.ready_since is not None:
            self.ready_at = self.heard_at
            _done(self.ready)
        if self.heartbeat.worn is not None:
            self.worn = self.worn or self.heartbeat.worn
            _done(self.worn_out)
            if self.heartbeat.worn.spent:
                _done(self.spent)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
