"""Waiting for facts: helpers for tests that watch other threads, tasks and processes. No test sleeps."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar, overload

T = TypeVar("T")


def alive(pid: int) -> bool:
    """Whether a process lives; a zombie that its parent has not waited for does not (Linux)."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Lost:
    """Time that this machine did not give to who asked for it, in seconds: what limits of time must allow for."""

    #: Seconds that it sleeps; what it oversleeps beyond `USUAL` is lost.
    SLEEP, USUAL = 0.01, 0.01

    def __init__(self) -> None:
        self.seconds = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.is_set():
            asleep = time.monotonic()
            self._ended.wait(self.SLEEP)
            self.seconds += max(0.0, time.monotonic() - asleep - self.SLEEP - self.USUAL)


class _Wait:
    """What the two helpers share: the deadline, and the words of the failure."""

    def __init__(self, predicate: Callable[[], object], timeout: float) -> None:
        self.predicate, self.timeout = predicate, timeout
        self.deadline = time.monotonic() + timeout
        self.last: object = None

    def check_time(self) -> None:
        """Raise AssertionError with the predicate's source and its last answer once the time is over."""
        if time.monotonic() < self.deadline:
            return
        try:
            asked = inspect.getsource(self.predicate).strip()
        except (OSError, TypeError):
            asked = repr(self.predicate)
        error = self.last if isinstance(self.last, AssertionError) else None
        raise AssertionError(f"not true within {self.timeout} s: {asked}\nlast answer: {self.last!r}") from error


def eventually(predicate: Callable[[], T], timeout: float = 10, every: float = 0.02) -> T:
    """Ask until the answer is true, and return it; AssertionError after `timeout` seconds.

    An AssertionError inside the predicate means "not yet"; any other exception ends the wait. Blocks: in coroutines
    use `aeventually`.
    """
    wait = _Wait(predicate, timeout)
    while True:
        try:
            answer = predicate()
            if answer:
                return answer
            wait.last = answer
        except AssertionError as error:
            wait.last = error
        wait.check_time()
        time.sleep(every)


@overload
async def aeventually(predicate: Callable[[], Awaitable[T]], timeout: float = ..., every: float = ...) -> T: ...
@overload
async def aeventually(predicate: Callable[[], T], timeout: float = ..., every: float = ...) -> T: ...
async def aeventually(predicate: Callable[[], Any], timeout: float = 10, every: float = 0.02) -> Any:
    """The same in a coroutine; the predicate may be a plain or an async function."""
    wait = _Wait(predicate, timeout)
    while True:
        try:
            answer = predicate()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return answer
            wait.last = answer
        except AssertionError as error:
            wait.last = error
        wait.check_time()
        await asyncio.sleep(every)
