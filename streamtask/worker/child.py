"""A worker's view of one child process: started, given calls, listened to, killed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from streamtask.child.ceilings import Ceilings
from streamtask.child.origin import HANDOVER, Handover, Origin
from streamtask.child.wire import LENGTHS, Call, Head, answer_of, parse
from streamtask.message import Message
from streamtask.policy import Outcome
from streamtask.worker.delivery import Delivery

#: Seconds between SIGTERM and SIGKILL, and that a child without work is given to end.
TERM_GRACE, END = 1.0, 2.0
#: Seconds between two looks whether it has ended.
LOOK = 0.01


class Child:
    """One process life. `answered(child, delivery, outcome)` is called for each call that it ends."""

    def __init__(self, answered: Callable[[Child, Delivery, Outcome], None]) -> None:
        self._answered = answered
        self.delivery: Delivery | None = None  # what runs in it
        self.serves = False  # it may be given calls
        self.served = False
        self.worn: int | None = None  # bytes of memory that it kept after its last call, if those were too many
        self._process: subprocess.Popen[bytes] | None = None
        self._killing: asyncio.TimerHandle | None = None
        self._code: int | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def start(self, origin: Origin, ceilings: Ceilings) -> None:
        """Start it: a fresh interpreter in a process group of its own, so that Ctrl-C is the worker's alone."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        handover = Handover(origin, theirs.fileno(), os.getpid(), logging.getLogger().level, ceilings)
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
        try:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - takes a few ms, and the kernel ends it with this thread
                [sys.executable, *flags, "-m", "streamtask.cli.child"],
                env={**os.environ, HANDOVER: handover.dump()},
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                process_group=0,
            )
            theirs.close()
            self._reader, self._writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """Its process id, once it was started."""
        assert self._process is not None
        return self._process.pid

    async def ready(self) -> bool:
        """Wait until it has imported the app; False when it has ended instead."""
        self.served = self.serves = await self._hear() is not None
        return self.served

    def begin(self, delivery: Delivery) -> None:
        """Give it a call."""
        self.delivery, self.worn = delivery, None
        assert self._writer is not None
        self._writer.write(_call(delivery).dump())

    async def ended(self) -> int:
        """Hear its answers until it ends; its exit code, negative for a signal."""
        while (heard := await self._hear()) is not None:
            head, body = heard
            delivery = self.delivery
            if delivery is None or delivery.message is None:
                continue
            if "began" in head:
                delivery.entered = True
            elif "worn" in head:
                self.worn = head["worn"]
            else:
                self.delivery = None
                self._answered(self, delivery, answer_of(head, body, _sent(delivery)))
        if self.delivery is not None:  # what it was doing goes to another; a process that is ending keeps its exit code
            self.kill()
        return await self._ending()

    def stop(self) -> None:
        """SIGTERM now, SIGKILL soon."""
        if self._killing is None:
            self._signal(signal.SIGTERM, os.kill)
            self._killing = asyncio.get_running_loop().call_later(TERM_GRACE, self.kill)

    def kill(self, others: Iterable[int] = ()) -> None:
        """End it as it stands, with its process group, and others that it has started."""
        self._signal(signal.SIGKILL, os.killpg)
        for pid in others:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    async def end(self) -> None:
        """Let it end, by force when it does not: the last word on this process."""
        if self._killing is not None:
            self._killing.cancel()
        if self._writer is not None:
            self._writer.close()
        if self._process is not None:
            if self._code is None:
                await self._ending()
            await self._reap(self._process.pid)

    def _signal(self, number: int, send: Callable[[int, int], None]) -> None:
        if self._process is not None and self._code is None:
            with suppress(ProcessLookupError, PermissionError):  # macOS refuses where all of a group have ended
                send(self._process.pid, number)

    async def _ending(self) -> int:
        """Wait for its end, and help along where it does not come."""
        try:
            return await asyncio.wait_for(self._wait(), END)
        except TimeoutError:
            self.kill()
            return await self._wait()

    async def _wait(self) -> int:
        """Wait for its end, and end what it had started. Not in the loop's pool of threads: tasks may have them all."""
        assert self._process is not None
        while (code := self._process.poll()) is None:  # noqa: ASYNC110 - the kernel sets no event
            await asyncio.sleep(LOOK)
        self.kill()
        self._code = code
        return code

    async def _reap(self, group: int) -> None:
        """In a container's first process what has lost its parent is ours, and nobody else's to take away."""
        deadline = time.monotonic() + END
        with suppress(ChildProcessError):  # none of them is ours
            while time.monotonic() < deadline:
                if os.waitpid(-group, os.WNOHANG)[0] == 0:  # noqa: ASYNC222 - it does not wait
                    await asyncio.sleep(LOOK)

    async def _hear(self) -> tuple[Head, bytes] | None:
        """The next frame that is no record of logging; None when there is none any more."""
        try:
            while True:
                lengths = LENGTHS.unpack(await self._reader.readexactly(LENGTHS.size))
                head = parse(await self._reader.readexactly(lengths[0]))
                body = await self._reader.readexactly(lengths[1])
                if "log" not in head:
                    return head, body
                _log(head["log"])
        except (asyncio.IncompleteReadError, OSError, ValueError):  # it was killed, perhaps in the middle of a frame
            return None


def _sent(delivery: Delivery) -> Message:
    """The message that a child has; no handler of events runs in one."""
    assert isinstance(delivery.message, Message), "only a message that was read can run"
    return delivery.message


def _call(delivery: Delivery) -> Call:
    task, message, context = delivery.task, _sent(delivery), delivery.context()
    assert task is not None, "only a known task is started"
    return Call(
        message,
        queue=context.queue,
        stream_id=context.stream_id,
        deliveries=context.deliveries,
        worker=context.worker,
        sent_ms=delivery.sent_ms,
        started_ms=delivery.started_ms,
        timeout=task.task_options.timeout,
        is_last_attempt=context.is_last_attempt,
    )


def _log(told: dict[str, Any]) -> None:
    """Let a record of the child's go the way of our own."""
    log = logging.getLogger(told["name"])
    if log.isEnabledFor(told["levelno"]):
        log.handle(logging.makeLogRecord({"levelname": logging.getLevelName(told["levelno"]), **told}))
