"""Threads that run `def` tasks: a hand-off of our own, and completions that reach the loop in batches."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

from streamtask.context import CURRENT
from streamtask.outcome import returned
from streamtask.policy import Outcome, Raised
from streamtask.worker.delivery import Delivery

Job = tuple[Delivery, tuple[Any, ...], dict[str, Any]]


class Threads:
    """At most `size` daemon threads, started when needed. `ended(delivery, outcome)` is called on the loop; the outcome
    is None when `may_begin(delivery)`, which is asked in the thread, said no right before the call.

    One wake-up of the loop serves all completions that are there by then; a future a task would cost ten times as much.
    """

    def __init__(
        self, size: int, may_begin: Callable[[Delivery], bool], ended: Callable[[Delivery, Outcome | None], None]
    ) -> None:
        self.size, self._may_begin, self._ended = size, may_begin, ended
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._finished: deque[tuple[Delivery, Outcome | None]] = deque()
        self._threads = 0
        self._busy = 0
        self._woken = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, job: Job) -> None:
        """Run a job; the caller keeps to `size` jobs at a time."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._busy += 1
        if self._busy > self._threads:
            self._threads += 1
            threading.Thread(target=self._serve, name=f"streamtask-slot-{self._threads}", daemon=True).start()
        self._jobs.put(job)

    def close(self) -> None:
        """Let idle threads end."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            delivery, args, kwargs = job
            begins = self._may_begin(delivery)
            self._finished.append((delivery, copy_context().run(_run, delivery, args, kwargs) if begins else None))
            del delivery, args, kwargs, job  # a user's objects must not live until the next job
            if not self._woken:
                self._woken = True
                try:
                    self._loop.call_soon_threadsafe(self._collect)  # type: ignore[union-attr]  # set by submit
                except RuntimeError:  # the loop is closed: the process is on its way out
                    return

    def _collect(self) -> None:
        self._woken = False  # before the look, so that a completion after it wakes the loop again
        while self._finished:
            delivery, outcome = self._finished.popleft()
            self._busy -= 1
            self._ended(delivery, outcome)


def _run(delivery: Delivery, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outcome:
    task = delivery.task
    assert task is not None, "only a known task is started"
    CURRENT.set(delivery.context)
    try:
        return returned(task, task.fn(*args, **kwargs))
    except BaseException as error:  # noqa: BLE001 - SystemExit in a task is the task's failure, never the worker's end
        return Raised(error)
