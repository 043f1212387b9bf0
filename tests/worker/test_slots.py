"""Slots: never more at once than allowed, nothing hoarded, no queue starved."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter

import pytest

from tests.support import aeventually
from tests.worker.kit import Lab, two_servers

pytestmark = two_servers


class Gauge:
    """How many are inside at once; thread-safe."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("threads", [False, True])
async def test_no_more_run_at_once_than_there_are_slots(lab: Lab, idempotent: bool, threads: bool) -> None:
    inside = Gauge()

    async def coroutine(n: int) -> None:
        with inside:
            await asyncio.sleep(0.001)

    def thread(n: int) -> None:
        with inside:
            time.sleep(0.001)

    task = lab.task(thread if threads else coroutine, result=False, idempotent=idempotent)
    await task.adelay_many((n,) for n in range(600))
    async with lab.worker(concurrency=3, threads=3):
        await lab.empty()
    assert len(lab.events.done_ids) == 600
    assert inside.most == 3
    assert lab.dead() == []


async def test_slots_are_not_overbooked_after_the_loop_stood_still(lab: Lab) -> None:
    """What is buffered waits for a renewal then; the renewed ones must not all start at once."""
    inside = Gauge()
    blocked = False

    async def work(n: int) -> None:
        nonlocal blocked
        with inside:
            if n == 300:
                time.sleep(0.8)  # longer than the lease
                blocked = True
            await asyncio.sleep(0.002)

    task = lab.task(work, result=False)
    await task.adelay_many((n,) for n in range(600))
    async with lab.worker(concurrency=2, lease=0.6):
        await lab.empty()
    assert blocked
    assert inside.most == 2
    assert len(lab.events.done_ids) == 600


async def test_long_tasks_are_not_hoarded(lab: Lab) -> None:
    gate = asyncio.Event()

    async def long(n: int) -> None:
        await gate.wait()

    task = lab.task(long, result=False)
    await task.adelay_many((n,) for n in range(50))
    async with lab.worker(concurrency=2) as one:
        await aeventually(lambda: len(lab.pending()) >= 2)
        assert len(lab.pending()) == 2
        async with lab.worker(concurrency=5) as two:
            await aeventually(lambda: len(lab.pending()) >= 7)
            owners = Counter(owner for _, owner, _ in lab.pending())
            assert owners == {one.consumer: 2, two.consumer: 5}
            gate.set()
            await lab.empty()
    assert len(lab.events.done_ids) == 50


async def test_what_was_read_ahead_goes_to_a_worker_with_free_slots(lab: Lab) -> None:
    gate = asyncio.Event()
    started: dict[int, str] = {}

    async def work(n: int) -> None:
        from streamtask import current

        started[n] = current().worker
        if n in (200, 201):
            await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(concurrency=2) as one:
        await task.adelay_many((n - 2000,) for n in range(2000))  # the rate that makes it read ahead
        await lab.empty()
        await task.adelay_many((n,) for n in range(200, 260))  # two long ones, and many short ones behind them
        await aeventually(lambda: 200 in started and 201 in started)
        assert len([1 for _, owner, _ in lab.pending() if owner == one.consumer]) > 2, "nothing was read ahead"
        async with lab.worker(concurrency=2) as two:
            await aeventually(lambda: len(started) == 2060)
            gate.set()
            await lab.empty()
    assert Counter(started[n] for n in range(200, 260)) == {one.consumer: 2, two.consumer: 58}
    assert len(lab.events.done_ids) == 2060
    given_back = lab.events.named("task.released")
    assert given_back
    assert not any(event["started"] for event in given_back)


async def test_who_gave_back_what_waited_too_long_reads_nothing_ahead_until_a_slot_has_turned_over(lab: Lab) -> None:
    """Else it would come back at once, for as long as the rate of the last second says that tasks are short."""
    gates = [asyncio.Event() for _ in range(3)]
    started: list[int] = []

    async def work(n: int) -> None:
        started.append(n)
        await gates[n].wait()

    task = lab.task(work, result=False)
    async with lab.worker(lease=30.0, concurrency=1, prefetch=10) as worker:
        worker._prefetch.rate = lambda _kind: 1000.0  # type: ignore[method-assign]
        await task.adelay_many((n,) for n in range(3))
        await aeventually(lambda: started == [0] and len(worker.queues[0].held) == 3)

        def given_back() -> bool:
            """Once more, should a read that waited in Redis just then have brought them again."""
            worker.executor.overdue(0.0)
            return [row[1] for row in lab.pending()].count("released") == 2

        await aeventually(given_back)
        assert worker.executor.demand(("coroutine",)) == 0
        gates[0].set()
        await aeventually(lambda: started == [0, 1] and len(worker.queues[0].held) == 2)
        for gate in gates:
            gate.set()
        await lab.empty()


async def test_a_message_that_was_only_read_ahead_keeps_its_count(lab: Lab) -> None:
    gate = asyncio.Event()
    deliveries: Counter[int] = Counter()

    async def work(n: int) -> None:
        from streamtask import current

        deliveries[current().deliveries] += 1
        if n == 200:
            await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(concurrency=1):
        await task.adelay_many((n - 2000,) for n in range(2000))
        await lab.empty()
        await task.adelay_many((n,) for n in range(200, 220))
        await aeventually(lambda: lab.events.named("task.released"))
        gate.set()
        await lab.empty()
    assert deliveries == {1: 2020}


@pytest.mark.parametrize("concurrency", [1, 4, 100])
async def test_many_queues_are_all_served(lab: Lab, concurrency: int) -> None:
    ran: Counter[str] = Counter()
    tasks = []
    for number in range(12):

        async def note(queue: str) -> None:
            ran[queue] += 1

        tasks.append(lab.task(note, name=f"note{number}", queue=f"q{number}", result=False))
    async with lab.worker(concurrency=concurrency):
        for task in tasks:
            await task.adelay_many((task.queue,) for _ in range(20))
        await lab.empty(*(task.queue for task in tasks))
    assert ran == dict.fromkeys((task.queue for task in tasks), 20)


@pytest.mark.parametrize("concurrency", [1, 2, 10])
async def test_a_full_queue_does_not_starve_the_other(lab: Lab, concurrency: int) -> None:
    order: list[str] = []

    async def big(n: int) -> None:
        order.append("big")
        await asyncio.sleep(0)

    async def small(n: int) -> None:
        order.append("small")

    many, few = lab.task(big, queue="big", result=False), lab.task(small, queue="small", result=False)
    await many.adelay_many((n,) for n in range(3000))
    async with lab.worker(concurrency=concurrency):
        await aeventually(lambda: len(order) > 100)
        await few.adelay_many((n,) for n in range(20))
        sent = len(order)
        await aeventually(lambda: order.count("small") == 20)
        waited = len(order) - sent - 20
        await lab.empty("big", "small")
    assert waited < 2000, f"the small queue waited for {waited} messages of the big one"
