"""Threads that run `def` tasks: they take what waits for them by themselves, and what they ended reaches the loop in
batches.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue

from streamtask.policy import Outcome
from streamtask.worker.batches import Batched
from streamtask.worker.delivery import Delivery


class Threads:
    """At most `size` daemon threads, started when needed. `attempt(delivery)` is run by a thread, in a context of its
    own, and gives the outcome, or None when nothing has begun; `ended(pairs)` is called on the loop with what ended.

    More may be submitted than there are threads: who is free takes the next, without a turn of the loop in between.
    Who takes a delivery out of `_waiting` has it, be it a thread or the loop, which may want it back.
    """

    def __init__(
        self,
        size: int,
        attempt: Callable[[Delivery], Outcome | Batched | None],
        ended: Callable[[list[tuple[Delivery, Outcome | Batched | None]]], None],
    ) -> None:
        self.size, self._attempt, self._ended = size, attempt, ended
        self._waiting: dict[Delivery, None] = {}
        self._calls: SimpleQueue[Delivery | None] = SimpleQueue()
        self._finished: deque[tuple[Delivery, Outcome | Batched | None]] = deque()
        self._threads = 0
        self._held = 0  # submitted, and neither taken back nor reported as ended
        self._woken = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, delivery: Delivery) -> None:
        """Run it as soon as a thread is free."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._held += 1
        self._waiting[delivery] = None
        if self._threads < min(self._held, self.size):
            self._threads += 1
            threading.Thread(target=self._serve, name=f"streamtask-slot-{self._threads}", daemon=True).start()
        self._calls.put(delivery)

    def take_back(self, delivery: Delivery) -> bool:
        """Did no thread have it yet? Then it is the caller's again."""
        if self._waiting.pop(delivery, self) is self:
            return False
        self._held -= 1
        return True

    @property
    def waiting(self) -> list[Delivery]:
        """What no thread has taken yet, the oldest first; threads may take it meanwhile."""
        return list(self._waiting)

    def close(self) -> None:
        """Let idle threads end."""
        for _ in range(self._threads):
            self._calls.put(None)

    def _serve(self) -> None:
        while (delivery := self._calls.get()) is not None:
            if self._waiting.pop(delivery, self) is self:
                continue  # it was taken back
            self._finished.append((delivery, copy_context().run(self._attempt, delivery)))
            del delivery  # a user's objects must not live until the next one
            if not self._woken:
                self._woken = True
                try:
                    self._loop.call_soon_threadsafe(self._collect)  # type: ignore[union-attr]  # set by submit
                except RuntimeError:  # the loop is closed: the process is on its way out
                    return

    def _collect(self) -> None:
        self._woken = False  # before the look, so that a completion after it wakes the loop again
        ended = [self._finished.popleft() for _ in range(len(self._finished))]
        self._held -= len(ended)
        self._ended(ended)
