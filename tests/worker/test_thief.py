"""Leases that go at any moment of a message's life: no slot leaks, no loop falls asleep, everything ends."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import pytest

from streamtask import RetryPolicy, current
from tests.support import aeventually
from tests.worker.kit import Lab

LEASE = 0.6


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("threads", [False, True])
async def test_entries_that_are_stolen_at_any_moment_all_end(lab: Lab, idempotent: bool, threads: bool) -> None:
    starts: Counter[int] = Counter()

    async def coroutine(n: int) -> None:
        starts[n] += 1
        await asyncio.sleep(0.004)

    def thread(n: int) -> None:
        starts[n] += 1
        time.sleep(0.004)

    task = lab.task(thread if threads else coroutine, result=False, idempotent=idempotent)
    await task.adelay_many((n,) for n in range(300))
    dice = random.Random(7)
    stolen = 0
    async with lab.worker(lease=LEASE, concurrency=3, threads=3) as worker:
        until = time.monotonic() + 0.8
        while lab.left() and time.monotonic() < until:
            held = [entry for entry, owner, _ in lab.pending() if owner == worker.consumer]
            for entry in dice.sample(held, min(len(held), 2)):
                lab.steal(entry)
                stolen += 1
            await asyncio.sleep(dice.random() * 0.004)
        await lab.empty(timeout=20)
        await aeventually(lambda: set(worker.executor.running.values()) == {0} and worker.executor.idle)
        again = await task.adelay_many((n,) for n in range(300, 310))
        await lab.empty()
    assert stolen > 10
    assert len(again) == 10
    assert all(starts[n] == 1 for n in range(300, 310))
    if idempotent:
        assert set(starts) == set(range(310))
        assert {dead[b"dead_reason"] for dead in lab.dead()} <= {b"poison"}
    else:
        assert max(starts.values()) == 1, "at most once"
        assert len(lab.dead()) + len(lab.events.done_ids) == 310


async def test_retries_and_results_under_theft(lab: Lab) -> None:
    async def flaky(n: int) -> int:
        await asyncio.sleep(0.003)
        if current().attempt == 1 and n % 3 == 0:
            raise OSError("first")
        return n

    task = lab.task(flaky, max_deliveries=50, retry=RetryPolicy(base=0.01, jitter="none"))
    results = await task.adelay_many((n,) for n in range(200))
    dice = random.Random(11)
    async with lab.worker(lease=LEASE, concurrency=5) as worker:
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            held = [entry for entry, owner, _ in lab.pending() if owner == worker.consumer]
            if held:
                lab.steal(dice.choice(held))
            await asyncio.sleep(0.002)
        assert [await result.aget(20) for result in results] == list(range(200))
        await lab.empty()
    assert lab.dead() == []
    assert len(lab.events.done_ids) == len(set(lab.events.done_ids)) == 200
