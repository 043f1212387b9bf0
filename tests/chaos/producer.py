"""Sends the messages of a chaos run from a thread, and keeps what became of each send."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streamtask import StreamTask
from streamtask.errors import SendError
from tests.chaos.tasks import RETRIES

#: Messages of one `delay_many`.
BATCH = 20


@dataclass
class Sent:
    """One message that was to be sent. `n` is its argument, by which its runs are known. Times are monotonic."""

    n: int
    task: str
    fails: int = 0
    countdown: float = 0.0
    key: int | None = None
    id: str | None = None  # known when Redis has answered; of a duplicate, the holder's
    duplicate: bool = False
    doubtful: bool = False  # Redis did not answer, or refused
    began: float = 0.0
    ended: float = 0.0

    @property
    def accepted(self) -> bool:
        """Did Redis take it as a message of its own?"""
        return not self.doubtful and not self.duplicate

    @property
    def dies(self) -> bool:
        """Does it fail more often than it is tried?"""
        return self.fails > RETRIES


class Producer(threading.Thread):
    """Sends until `count` were accepted and no more is `wanted`, never more than `ahead` of what `finished` says."""

    def __init__(self, app: StreamTask, count: int, seed: str, ahead: int = 400) -> None:
        super().__init__(name="chaos-producer", daemon=True)
        self.app, self.count, self._ahead, self._seed = app, count, ahead, seed
        self._dice = random.Random(seed)
        self.sent: list[Sent] = []
        self.accepted = self.refused = 0
        self.finished = 0  # told by the test
        self.wanted = True  # told by the test: a fault that is still to come needs work to be in the middle of
        self.error: BaseException | None = None
        self._ending = threading.Event()

    def run(self) -> None:
        """Send; what breaks is kept for the test."""
        try:
            while (self.accepted < self.count or self.wanted) and not self._ending.is_set():
                if self.accepted - self.finished > self._ahead:
                    self._ending.wait(0.02)
                else:
                    self._send()
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.error = error

    def stop(self) -> None:
        """Send nothing more."""
        self._ending.set()
        self.join(30)

    def _send(self) -> None:
        """One message, or now and then a batch."""
        if self._dice.random() < 0.03:
            batch = [self._note("quick") for _ in range(BATCH)]
            calls = [(one.n, self._seconds()) for one in batch]
            self._deliver(batch, lambda: self.app.tasks["quick"].delay_many(calls))
            return
        one = self._drawn()
        task: Any = self.app.tasks[one.task]
        more = {"fails": one.fails} if one.task.startswith("flaky") else {}
        if one.key is not None:
            more = {"key": one.key}
        if one.countdown:
            task = task.options(countdown=one.countdown)
        seconds = self._seconds()
        self._deliver([one], lambda: [task.delay(one.n, seconds, **more)])

    def _drawn(self) -> Sent:
        """The next message, of a kind that the dice choose."""
        kinds = {"quick": 50, "answer": 20, "flaky": 10, "flaky_thread": 5, "single": 15}
        one = self._note(self._dice.choices(list(kinds), list(kinds.values()))[0])
        if one.task.startswith("flaky"):
            one.fails = self._dice.choice([0, 1, 1, 1, 2, 2, RETRIES + 1])
        if one.task == "single":
            one.key = self._dice.randrange(10)
        if one.task in {"quick", "answer"} and self._dice.random() < 0.1:
            one.countdown = self._dice.uniform(0.1, 2.0)
        return one

    def _note(self, task: str) -> Sent:
        self.sent.append(Sent(len(self.sent), task))
        return self.sent[-1]

    def _seconds(self) -> float:
        """How long it runs: short as a rule, now and then up to two leases."""
        return self._dice.uniform(1.0, 4.0) if self._dice.random() < 0.03 else self._dice.uniform(0.0, 0.05)

    def _deliver(self, batch: list[Sent], send: Callable[[], list[Any]]) -> None:
        began = time.monotonic()
        failed: dict[int, Exception] = {}
        results: list[Any] = []
        try:
            results = send()
        except SendError as error:
            failed = error.errors or dict.fromkeys(range(len(batch)), error)
            self.refused += 1
        ended = time.monotonic()
        for index, one in enumerate(batch):
            one.began, one.ended, one.doubtful = began, ended, index in failed
            if results:
                one.id, one.duplicate = results[index].id, results[index].duplicate
            self.accepted += one.accepted
        if failed:
            self._ending.wait(0.05)  # as a producer would
