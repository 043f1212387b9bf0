"""A child process of a worker: runs the calls of `process=True` tasks, one at a time, for as long as its worker lives.

It is a fresh interpreter that has imported the app by itself. It holds no lease and speaks to Redis only where a task
does: the worker reads, renews and settles, and kills it where it must.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import random
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, BinaryIO

from streamtask.app import StreamTask
from streamtask.child.ceilings import NO_CEILINGS, Ceilings
from streamtask.child.origin import HANDOVER, Handover, Origin
from streamtask.child.wire import LENGTHS, Call, dump_answer, frame, parse
from streamtask.context import CURRENT, Context
from streamtask.memory import held
from streamtask.outcome import arguments, returned
from streamtask.policy import Facts, Failure, Misfit, Outcome, Raised, decide
from streamtask.task import Task
from streamtask.tasklog import TASK_FIELDS, TaskFilter

__all__ = ["HANDOVER", "ChildProcess", "Handover", "Origin"]

#: Seconds between two looks of a child whose worker is gone: does it run a task again?
LOOK = 0.1


class ChildProcess:
    """`serve()` answers calls until the worker is gone, or ends this process by SIGTERM."""

    def __init__(
        self, app: StreamTask, connection: socket.socket, level: int, ceilings: Ceilings = NO_CEILINGS
    ) -> None:
        self._tasks, self._socket, self._level, self._ceilings = app.tasks, connection, level, ceilings
        self._heard: BinaryIO = connection.makefile("rb")
        self._saying = threading.Lock()
        self._context: Context | None = None  # of the attempt that runs

    def serve(self) -> None:
        """The child's life."""
        self._prepare()
        with suppress(ConnectionError):  # the worker is gone
            self._say(frame({"ready": os.getpid()}))
            fresh = held()
            while (call := self._hear()) is not None:
                answer = self._answer(call)
                if self._ceilings.given and self._ceilings.reached(now := held(), fresh):
                    self._say(frame({"worn": now}))  # by what is left of the call, and of an exception's frames
                self._say(answer)

    def _prepare(self) -> None:
        """Be ready to be stopped, to crash, to be left alone, and to be forked."""
        signal.signal(signal.SIGTERM, self._terminated)
        faulthandler.enable()  # the stack of a crash goes where the worker's log goes
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(line_buffering=True)  # what was printed before a kill is not lost
        # Else the socket would not end with this process. Not by close(), which waits for the file that reads it.
        os.register_at_fork(after_in_child=partial(os.close, self._socket.fileno()))
        threading.Thread(target=self._watch, name="streamtask-watch", daemon=True).start()
        root = logging.getLogger()
        if not root.handlers:
            root.addHandler(_Records(self._say))
            root.setLevel(self._level)
        for handler in root.handlers:
            handler.addFilter(TaskFilter())

    # -- one call ----------------------------------------------------------------------------------------------------

    def _answer(self, call: Call) -> bytes:
        self._say(frame({"began": True}))  # from here on a death of this process is this call's
        began = time.monotonic()
        outcome = copy_context().run(self._run, call)

        def judge(outcome: Outcome) -> Any:
            """Only this process has the exception, and the functions of the task's retry policy."""
            options, now = self._tasks[call.message.task].task_options, call.started_ms
            now += (time.monotonic() - began) * 1000
            return decide(Facts(call.message, options, call.sent_ms, int(now), random.random(), call.worker), outcome)

        try:
            return dump_answer(outcome, judge)
        except Exception as error:  # noqa: BLE001 - a text of the user's that JSON cannot carry
            return dump_answer(Misfit("result", Failure("Unwritable", ascii(error)[:1000])), judge)

    def _run(self, call: Call) -> Outcome:
        task = self._tasks.get(call.message.task)
        if task is None:
            return Misfit("unknown_task", Failure("UnknownTask", f"no child knows the task {call.message.task!r}"))
        given = arguments(task, call.message.args)
        return self._call(call.context(), task, *given) if isinstance(given, tuple) else given

    def _call(self, context: Context, task: Task[..., Any], args: Any, kwargs: dict[str, Any]) -> Outcome:
        CURRENT.set(lambda: context)
        self._context = context
        try:
            return returned(task, task.fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - SystemExit in a task is the task's failure
            return Raised(error)
        finally:
            self._context = None

    # -- the worker --------------------------------------------------------------------------------------------------

    def _hear(self) -> Call | None:
        """The next call; None when the worker is gone."""
        lengths = self._heard.read(LENGTHS.size)
        if len(lengths) < LENGTHS.size:
            return None
        head, body = (self._heard.read(length) for length in LENGTHS.unpack(lengths))
        return Call.of(parse(head), body)

    def _say(self, packed: bytes) -> None:
        with self._saying:
            self._socket.sendall(packed)

    def _terminated(self, number: int, _: object) -> None:
        """The worker, or somebody else, wants this process to end: a task may clean up, in its `finally` blocks."""
        if self._context is not None:
            self._context.stop()
        raise SystemExit(128 + number)

    def _watch(self) -> None:
        """What runs must not go on when the worker is gone: another one has the message soon. On Linux the kernel sees
        to that when the worker is killed, also while a call holds the interpreter lock; elsewhere nobody else does.
        """
        hangup = select.poll()
        hangup.register(self._socket, 0)
        hangup.poll()
        while True:
            if self._context is not None:
                os.killpg(os.getpgrp(), signal.SIGKILL)
            time.sleep(LOOK)


class _Records(logging.Handler):
    """Lets the records of logging go the way of the worker's: one stream, in order."""

    def __init__(self, say: Any) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            stack = logging.Formatter().formatException(record.exc_info) if record.exc_info else record.exc_text
            told = {name: getattr(record, name, None) for name in TASK_FIELDS}
            log = {"name": record.name, "levelno": record.levelno, "msg": record.getMessage(), "exc_text": stack}
            self._say(frame({"log": {**log, **told}}))
        except Exception:  # noqa: BLE001 - logging must not raise into the code that logs
            self.handleError(record)
