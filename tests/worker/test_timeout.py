"""Time limits: attempts that take too long, and messages that are too old to start."""

from __future__ import annotations

import asyncio
import threading

import pytest

from streamtask import RetryPolicy, current
from streamtask.errors import Expired
from tests.support import aeventually
from tests.worker.kit import Lab

QUICK = RetryPolicy(base=0.05, factor=2, jitter="none")


async def test_a_coroutine_that_takes_too_long_is_cancelled_and_tried_again(lab: Lab) -> None:
    ended: list[str] = []

    async def slow() -> str:
        try:
            if current().attempt == 1:
                await asyncio.Event().wait()
        finally:
            ended.append(f"attempt {current().attempt}")
        return "second time lucky"

    task = lab.task(slow, timeout=0.1, max_retries=2, retry=QUICK)
    async with lab.worker():
        assert await (await task.adelay()).aget(10) == "second time lucky"
    (event,) = lab.events.named("task.retry")
    assert event["error_type"] == "TimeoutError"
    assert "0.1 s" in event["error"]
    assert ended == ["attempt 1", "attempt 2"]


async def test_a_thread_that_takes_too_long_is_told_and_counted_when_it_ends(lab: Lab) -> None:
    running = threading.Semaphore(0)
    overlaps: list[bool] = []
    inside = threading.Lock()

    def slow() -> str:
        overlaps.append(not inside.acquire(blocking=False))
        try:
            running.release()
            while current().attempt == 1:
                current().raise_if_cancelled()
            return "done"
        finally:
            inside.release()

    task = lab.task(slow, timeout=0.1, max_retries=1, retry=RetryPolicy(base=0, jitter="none"))
    async with lab.worker(threads=2):
        assert await (await task.adelay()).aget(10) == "done"
    (event,) = lab.events.named("task.retry")
    assert event["error_type"] == "TimeoutError"
    assert overlaps == [False, False]


async def test_what_a_task_returns_in_spite_of_its_timeout_is_kept(lab: Lab) -> None:
    def stubborn() -> str:
        while not current().cancelled:
            pass
        return "finished all the same"

    async def polite() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "finished all the same"
        return "never"

    tasks = [lab.task(stubborn, timeout=0.05, max_retries=0), lab.task(polite, timeout=0.05, max_retries=0)]
    async with lab.worker():
        for task in tasks:
            assert await (await task.adelay()).aget(10) == "finished all the same"
    assert lab.dead() == []


async def test_what_is_too_old_is_not_started(lab: Lab) -> None:
    ran: list[str] = []

    async def note(text: str) -> None:
        ran.append(text)

    task = lab.task(note, expires=60)
    old = await task.options(expires=0.01).adelay("old")
    fresh = await task.adelay("fresh")
    await aeventually(lambda: _age(lab, old.id) > 100)
    async with lab.worker():
        await fresh.aget(10)
        with pytest.raises(Expired):
            await old.aget(10)
        assert await old.astatus() == "expired"
        await lab.empty()
    assert ran == ["fresh"]
    assert lab.dead() == []
    assert [event["id"] for event in lab.events.named("task.expired")] == [old.id]


def _age(lab: Lab, id: str) -> float:
    """Milliseconds since this message was added."""
    seconds, micros = lab.client.time()
    (entry,) = [e for e, fields in lab.client.xrange(lab.keys().stream) if fields[b"id"] == id.encode()]
    return float(seconds * 1000 + micros / 1000 - int(entry.split(b"-")[0]))


async def test_a_retry_counts_its_expiry_from_the_first_sending(lab: Lab) -> None:
    async def fail() -> None:
        raise OSError("down")

    task = lab.task(fail, expires=0.3, max_retries=None, retry=RetryPolicy(base=0.05, factor=1, jitter="none"))
    async with lab.worker():
        with pytest.raises(Expired):
            await (await task.adelay()).aget(10)
