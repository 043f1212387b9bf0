"""Batches: gathered by size and time, acknowledged after the function has returned, each item with its own outcome."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamtask import BatchError, Reject, RetryPolicy, Snooze, TaskFailed, current
from tests.support import aeventually
from tests.worker.kit import Lab, one_server
from tests.worker.topics_kit import TOPIC, Ordered, dead, own, pending, settled

SOON = RetryPolicy(delays=(0.01,))


def batch(lab: Lab, fn: Any, size: int = 10, wait: float = 0.2, **options: Any) -> Any:
    """Make a local function a batch task under its own name."""
    return lab.app.batch(size=size, wait=wait, name=fn.__name__, **options)(fn)


@pytest.mark.parametrize("in_threads", [False, True])
async def test_items_come_together_and_each_gets_its_result(lab: Lab, in_threads: bool) -> None:
    batches: list[list[int]] = []

    async def double(items: list[int]) -> list[int]:
        batches.append(items)
        assert current(None) is None, "no single message is the one that runs"
        return [2 * item for item in items]

    def double_here(items: list[int]) -> list[int]:
        batches.append(items)
        return [2 * item for item in items]

    made = batch(lab, double_here if in_threads else double)
    async with lab.worker():
        results = await made.adelay_many([made.s(i) for i in range(25)])
        assert [await result.aget(5) for result in results] == [2 * i for i in range(25)]
        await lab.empty()
    assert sorted(i for items in batches for i in items) == list(range(25))
    assert max(map(len, batches)) == 10, "full ones start at once, the rest after its time"
    assert len(batches) <= 6


async def test_a_batch_error_fails_only_those_that_it_names(lab: Lab) -> None:
    attempts: dict[int, int] = {}

    async def store(items: list[int]) -> None:
        errors: dict[int, Exception] = {}
        for place, item in enumerate(items):
            attempts[item] = attempts.get(item, 0) + 1
            if item == 1:
                errors[place] = ValueError("never")
            elif item == 2 and attempts[2] == 1:
                errors[place] = Snooze(0.01)
            elif item == 3:
                errors[place] = Reject("no threes")
        if errors:
            raise BatchError(errors)

    made = batch(lab, store, max_retries=1, retry=SOON, wait=0.05)
    async with lab.worker():
        results = await made.adelay_many([made.s(i) for i in range(5)])
        for i in (0, 2, 4):
            assert await results[i].aget(5) is None
        with pytest.raises(TaskFailed, match="never"):
            await results[1].aget(5)
        with pytest.raises(TaskFailed, match="no threes"):
            await results[3].aget(5)
        await lab.empty()
    assert attempts == {0: 1, 1: 2, 2: 2, 3: 1, 4: 1}
    assert sorted(letter[b"args"] for letter in lab.dead()) == [b'{"item":1}', b'{"item":3}']


async def test_any_other_error_and_a_timeout_fail_them_all(lab: Lab) -> None:
    runs: list[int] = []

    async def broken(items: list[int]) -> None:
        runs.append(len(items))
        if items[0] < 0:
            raise ValueError("all of them")
        await asyncio.Event().wait()

    made = batch(lab, broken, max_retries=0, timeout=0.1, size=3)
    async with lab.worker():
        for numbers, error in (([-1, -2, -3], "all of them"), ([1, 2, 3], "longer than its timeout")):
            for result in await made.adelay_many([made.s(i) for i in numbers]):
                with pytest.raises(TaskFailed, match=error):
                    await result.aget(5)
        await lab.empty()
    assert runs == [3, 3]


@one_server
async def test_what_a_batch_function_must_not_return_is_a_failure_of_each(lab: Lab) -> None:
    async def short(items: list[int]) -> list[int]:
        return items[1:]

    made = batch(lab, short, max_retries=0)
    async with lab.worker():
        result = await made.adelay(1)
        with pytest.raises(TaskFailed, match="one result for each of its 1 items; this is a list of 0"):
            await result.aget(5)


async def test_an_item_that_cannot_be_read_fails_alone(make_lab: type[Lab]) -> None:
    lab = make_lab(unknown_grace=0.05)
    seen: list[int] = []

    async def store(items: list[int]) -> None:
        seen.extend(items)

    made = batch(lab, store, wait=0.05)
    lab.client.xadd(lab.keys().stream, {"task": "store", "args": '{"item": "x"}'})
    await made.adelay_many([made.s(1), made.s(2)])
    async with lab.worker():
        await aeventually(lambda: len(lab.dead()) == 1)
        await lab.empty()
    assert sorted(seen) == [1, 2]
    assert lab.dead()[0][b"dead_reason"] == b"arguments"


async def test_events_in_batches_are_acknowledged_after_the_flush(lab: Lab) -> None:
    running, go_on, written = asyncio.Event(), asyncio.Event(), list[int]()

    async def index(events: list[Ordered]) -> None:
        running.set()
        await go_on.wait()
        written.extend(event.n for event in events)
        bad = {i: ValueError("not this one") for i, event in enumerate(events) if event.n == 3}
        if bad:
            raise BatchError(bad)

    lab.app.on(Ordered, group="index")(batch(lab, index, size=5, wait=0.1, max_retries=1, retry=SOON))
    assert lab.app.tasks == {}, "its items come by the topic"
    async with lab.worker():
        lab.app.publish_many([Ordered(n=i) for i in range(5)])
        await running.wait()
        assert len(pending(lab, "index")) == 5
        go_on.set()
        await settled(lab, "index")
    assert sorted(written) == [0, 1, 2, 3, 3, 4]
    assert [letter[b"payload"] for letter in dead(lab, "index")] == [b'{"n":3}']
    assert lab.client.xlen(own("index").stream) == 0
    assert lab.client.xlen(TOPIC) == 5


async def test_a_batch_whose_items_are_taken_away_goes_on_with_the_others(lab: Lab) -> None:
    running, go_on, ended = asyncio.Event(), asyncio.Event(), list[int]()

    async def slow(items: list[int]) -> None:
        running.set()
        try:
            await go_on.wait()
        finally:
            ended.extend(items)

    made = batch(lab, slow, size=3)
    async with lab.worker() as worker:
        await made.adelay_many([made.s(i) for i in range(3)])
        await running.wait()
        first = next(iter(worker.queues[0].held))
        lab.steal(first)
        await worker.leases.renew_all()
        await aeventually(lambda: worker.queues[0].held[first].stopped_as is not None)
        go_on.set()
        await aeventually(lambda: len(lab.pending()) == 1)
        assert lab.pending()[0][:2] == (first.decode(), "thief")
        lab.client.xack(lab.keys().stream, "workers", first)
        lab.client.xdel(lab.keys().stream, first)
    assert sorted(ended) == [0, 1, 2]


async def test_at_a_stop_what_is_gathered_goes_back_and_what_runs_is_given_its_grace(lab: Lab) -> None:
    running, stopped = asyncio.Event(), list[int]()

    async def slow(items: list[int]) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append(len(items))
            raise

    made = batch(lab, slow, size=3, wait=60.0)
    async with lab.worker(grace=0.05) as worker:
        await made.adelay_many([made.s(i) for i in range(5)])
        await running.wait()
        await aeventually(lambda: len(worker.queues[0].held) == 5)
    assert stopped == [3]
    assert {(owner, count) for _, owner, count in lab.pending()} <= {("released", 0), ("released", 1)}
    assert len(lab.pending()) == 5


@one_server
async def test_at_most_once_holds_for_batches_too(lab: Lab) -> None:
    seen: list[int] = []

    async def store(items: list[int]) -> None:
        seen.extend(items)
        if 1 in items:
            raise ValueError("once is enough")

    made = batch(lab, store, size=2, wait=0.1, idempotent=False)
    async with lab.worker():
        results = await made.adelay_many([made.s(i) for i in range(3)])
        await aeventually(lambda: len(lab.dead()) + sum(r.status() == "done" for r in results) == 3)
        await lab.empty()
    assert sorted(seen) == [0, 1, 2]
