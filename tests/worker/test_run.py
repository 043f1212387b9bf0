"""A message runs: on the loop, in a thread, with its result, with what it may know about itself."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamtask import current
from streamtask.errors import ResultExpired, ResultsDisabled, TaskFailed
from tests.worker.kit import Lab


@dataclass
class Point:
    """An argument and a result that is no JSON by itself."""

    x: int
    y: datetime


async def test_coroutines_and_threads_run_and_give_their_results(lab: Lab) -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    def where(a: int) -> str:
        return f"{threading.current_thread().name} {a}"

    added, placed = lab.task(add), lab.task(where)
    async with lab.worker():
        sums = await added.adelay_many((i, i) for i in range(50))
        places = await placed.adelay_many((i,) for i in range(20))
        assert [await r.aget(10) for r in sums] == [2 * i for i in range(50)]
        names = [await r.aget(10) for r in places]
    assert [name.split()[1] for name in names] == [str(i) for i in range(20)]
    assert all(name.startswith("streamtask-slot-") for name in names)
    assert len(lab.events.done_ids) == 70
    await lab.empty()
    assert lab.dead() == []


async def test_arguments_and_results_keep_their_types(lab: Lab) -> None:
    async def later(point: Point, by: timedelta) -> Point:
        return Point(point.x + 1, point.y + by)

    task = lab.task(later)
    async with lab.worker():
        moment = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
        result = await task.adelay(Point(1, moment), timedelta(hours=1))
        assert await result.aget(10) == Point(2, moment + timedelta(hours=1))


async def test_a_task_knows_its_message(lab: Lab) -> None:
    async def tell() -> dict[str, Any]:
        ctx = current()
        return {
            "id": ctx.id, "task": ctx.task, "queue": ctx.queue, "attempt": ctx.attempt, "deliveries": ctx.deliveries,
            "worker": ctx.worker, "stream_id": ctx.stream_id, "headers": dict(ctx.headers), "root": ctx.root,
            "age": (ctx.started_at - ctx.enqueued_at).total_seconds(), "last": ctx.is_last_attempt, "args": ctx.args,
            "left": (ctx.deadline - ctx.started_at).total_seconds(), "scheduled_for": ctx.scheduled_for,
        }  # fmt: skip

    task = lab.task(tell, queue="talk", timeout=60, max_retries=0)
    async with lab.worker() as worker:
        result = await task.options(headers={"a": "b"}).adelay()
        told = await result.aget(10)
    assert -1 < told.pop("age") < 60  # this process knows the server's clock to within a round trip
    assert told == {
        "id": result.id, "task": "tell", "queue": "talk", "attempt": 1, "deliveries": 1, "worker": worker.consumer,
        "stream_id": told["stream_id"], "headers": {"a": "b"}, "root": result.id, "left": 60.0, "last": True,
        "args": {}, "scheduled_for": None,
    }  # fmt: skip


async def test_a_thread_has_its_own_context_and_its_children_know_their_parent(lab: Lab) -> None:
    async def child() -> tuple[str | None, str]:
        return current().parent, current().root

    born = lab.task(child)

    def parent() -> str:
        return born.delay().id

    sent = lab.task(parent)
    async with lab.worker():
        result = await sent.adelay()
        child_id = await result.aget(10)
        assert await lab.app.result(child_id).aget(10) == [result.id, result.id]


async def test_a_waiter_is_told_and_a_later_reader_finds_the_record(lab: Lab) -> None:
    gate = asyncio.Event()

    async def slow() -> str:
        await gate.wait()
        return "here"

    task = lab.task(slow, result_ttl=60)
    listener = lab.client.pubsub(ignore_subscribe_messages=True)
    async with lab.worker():
        result = await task.adelay()
        listener.subscribe(lab.keys().result(result.id))
        waiting = asyncio.create_task(result.aget(10))
        gate.set()
        assert await waiting == "here"
        assert await result.astatus() == "done"
    assert listener.get_message(timeout=5) is None  # the subscription itself
    assert listener.get_message(timeout=5)["channel"].decode() == lab.keys().result(result.id)
    listener.close()
    assert 0 < lab.client.pttl(lab.keys().result(result.id)) <= 60_000
    lab.client.delete(lab.keys().result(result.id))
    with pytest.raises(ResultExpired):
        await result.aget(10)


async def test_without_results_nothing_is_kept(lab: Lab) -> None:
    async def quiet() -> object:
        return object()  # not JSON, and nobody minds

    task = lab.task(quiet, result=False)
    async with lab.worker():
        result = await task.adelay()
        await lab.empty()
    assert lab.events.done_ids == [result.id]
    assert lab.client.exists(lab.keys().result(result.id)) == 0
    with pytest.raises(ResultsDisabled):
        await result.aget(10)


@pytest.mark.parametrize("value", ["not a number", object(), {"a": {1, 2}}, float])
@pytest.mark.parametrize("threads", [False, True])
async def test_a_return_value_that_does_not_fit_is_a_failure(lab: Lab, value: object, threads: bool) -> None:
    async def coroutine() -> int:
        return value  # type: ignore[return-value]

    def thread() -> int:
        return value  # type: ignore[return-value]

    task = lab.task(thread if threads else coroutine, max_retries=3)
    async with lab.worker():
        result = await task.adelay()
        with pytest.raises(TaskFailed) as caught:
            await result.aget(10)
    assert caught.value.reason == "result"
    (dead,) = lab.dead()
    assert dead[b"dead_reason"] == b"result"
    assert dead[b"dead_attempt"] == b"1"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()])
@pytest.mark.parametrize("threads", [False, True])
async def test_no_exception_of_a_task_ends_the_worker(lab: Lab, error: BaseException, threads: bool) -> None:
    async def coroutine() -> None:
        raise error

    def thread() -> None:
        raise error

    async def next_one() -> str:
        return "still here"

    task, following = lab.task(thread if threads else coroutine, max_retries=0), lab.task(next_one)
    async with lab.worker():
        failed, good = await task.adelay(), await following.adelay()
        with pytest.raises(TaskFailed) as caught:
            await failed.aget(10)
        assert caught.value.error_type == type(error).__name__
        assert await good.aget(10) == "still here"
    assert lab.dead()[0][b"dead_reason"] == b"retries"
