"""Unique keys and chosen ids: held while a message is not final, then free."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from streamtask import Reject, RetryPolicy, Unique, current
from streamtask.errors import TaskFailed
from tests.support import aeventually
from tests.worker.kit import Lab, one_server

SLOW_RETRY = RetryPolicy(base=0.3, factor=1, jitter="none")


async def test_a_key_is_held_while_its_message_waits_runs_and_waits_again(lab: Lab) -> None:
    gate, running = asyncio.Event(), asyncio.Event()

    async def summary(user: str, day: int) -> int:
        if current().attempt == 1:
            raise OSError("first")
        running.set()
        await gate.wait()
        return day

    task = lab.task(summary, unique=Unique(by=("user",)), retry=SLOW_RETRY)
    first = await task.adelay("ann", 1)
    while_waiting = await task.adelay("ann", 2)
    other = await task.adelay("bob", 3)
    async with lab.worker():
        await aeventually(lambda: lab.client.zcard(lab.keys().due) == 2)
        while_due = await task.adelay("ann", 4)
        await asyncio.wait_for(running.wait(), 10)
        while_running = await task.adelay("ann", 5)
        gate.set()
        assert [await r.aget(10) for r in (first, while_waiting, while_due, while_running)] == [1] * 4
        assert await other.aget(10) == 3
        await lab.empty()
        after = await task.adelay("ann", 6)
        assert await after.aget(10) == 6
    assert [r.duplicate for r in (first, other, while_waiting, while_due, while_running, after)] == [
        False, False, True, True, True, False,
    ]  # fmt: skip
    assert {r.id for r in (first, while_waiting, while_due, while_running)} == {first.id}
    assert list(lab.client.scan_iter("*:unique:summary:*")) == []


async def test_a_dead_letter_frees_its_key(lab: Lab) -> None:
    async def fail(n: int) -> None:
        raise Reject("never")

    task = lab.task(fail, unique=True)
    async with lab.worker():
        for _ in range(3):
            result = await task.adelay(1)
            assert not result.duplicate
            with pytest.raises(TaskFailed):
                await result.aget(10)
    assert len(lab.dead()) == 3
    assert list(lab.client.scan_iter("*:unique:fail:*")) == []


async def test_a_convicted_message_frees_its_key_although_nobody_reads_it(lab: Lab) -> None:
    async def work(n: int) -> None:
        raise AssertionError("a convicted message must not run")

    task = lab.task(work, unique=True)
    result = await task.adelay(1)
    (entry,) = lab.ghost()
    lab.client.xclaim(lab.keys().stream, "workers", "ghost", 0, [entry], idle=3_600_000, retrycount=3, justid=True)
    lab.client.hset(lab.keys().suspects, result.id, "1 0-1 3 ghost")
    assert (await task.adelay(1)).duplicate
    async with lab.worker(lease=0.6):
        await lab.empty()
    ((dead),) = lab.dead()
    assert dead[b"dead_reason"] == b"poison"
    assert not (await task.adelay(1)).duplicate


async def test_an_expired_message_frees_its_key(lab: Lab) -> None:
    async def never(n: int) -> None:
        raise AssertionError

    task = lab.task(never, unique=True, expires=0.001)
    first = await task.adelay(1)
    assert (await task.adelay(1)).duplicate
    async with lab.worker():
        await lab.empty()
    assert await first.astatus() == "expired"
    assert not (await task.adelay(1)).duplicate


async def test_a_key_that_lives_by_the_clock_outlives_its_message(lab: Lab) -> None:
    async def once(n: int) -> int:
        return n

    task = lab.task(once, unique=Unique(until=timedelta(seconds=60)))
    async with lab.worker():
        first = await task.adelay(1)
        assert await first.aget(10) == 1
        await lab.empty()
        second = await task.adelay(1)
    assert (second.duplicate, second.id) == (True, first.id)
    (key,) = lab.client.scan_iter("*:unique:once:*")
    assert 0 < lab.client.pttl(key) <= 60_000


@one_server
async def test_a_key_follows_a_countdown(lab: Lab) -> None:
    async def later(n: int) -> int:
        return n

    task = lab.task(later, unique=True)
    async with lab.worker():
        first = await task.options(countdown=0.3).adelay(1)
        second = await task.adelay(1)
        assert (second.duplicate, await second.aget(10)) == (True, 1)
        await lab.empty()
        assert not (await task.adelay(1)).duplicate
    assert first.id == second.id


@one_server
async def test_a_message_id_is_accepted_once(lab: Lab) -> None:
    ran: list[int] = []

    async def note(n: int) -> int:
        ran.append(n)
        return n

    task = lab.task(note)
    named = task.options(message_id="order-1")
    async with lab.worker():
        first, again = await named.adelay(1), await named.adelay(2)
        assert [await first.aget(10), await again.aget(10)] == [1, 1]
        await lab.empty()
        late = await task.options(message_id="order-1", countdown=0.01).adelay(3)
        assert (late.duplicate, late.id) == (True, "order-1")
        other = await task.options(message_id="order-2", countdown=0.01).adelay(4)
        assert await other.aget(10) == 4
    assert ran == [1, 4]
    assert (again.duplicate, again.id, other.duplicate) == (True, "order-1", False)


async def test_a_key_ends_with_a_message_without_a_result(lab: Lab) -> None:
    async def quiet(n: int) -> None: ...

    task = lab.task(quiet, unique=True, result=False)
    async with lab.worker():
        for _ in range(2):
            assert not (await task.adelay(1)).duplicate
            await lab.empty()
    assert list(lab.client.scan_iter("*:unique:quiet:*")) == []
