"""Events in workers: every group handles each event, and what happens to one group is nothing to the others."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import pytest
import redis

from streamtask import RawEvent, RetryPolicy, TaskFailed, current
from streamtask.errors import UnknownGroup
from tests.support import aeventually
from tests.worker.kit import Lab, one_server
from tests.worker.topics_kit import TOPIC, Ordered, Paid, collect, dead, handler, own, pending, settled


def ms_of(time: tuple[int, int]) -> int:
    """A server's time in ms."""
    return time[0] * 1000 + time[1] // 1000


SOON = RetryPolicy(delays=(0.01,))


async def test_each_group_handles_each_event_once_and_the_topic_keeps_them(lab: Lab) -> None:
    seen = [collect(lab, group) for group in ("one", "two", "three")]
    async with lab.worker(), lab.worker():
        ids = lab.app.publish_many([Ordered(n=i) for i in range(100)])
        await settled(lab, "one", "two", "three")
    assert [sorted(one) for one in seen] == [list(range(100))] * 3
    assert [id.decode() for id, _ in lab.client.xrange(TOPIC)] == ids


async def test_a_group_that_fails_retries_alone_and_buries_in_its_own_dead_letters(lab: Lab) -> None:
    well = collect(lab, "well")
    attempts: list[tuple[int, int]] = []

    async def fails(event: Ordered) -> None:
        attempts.append((event.n, current().attempt))
        if event.n == 1 or current().attempt == 1:
            raise ValueError(f"no {event.n}")

    handler(lab, "ill", fails, max_retries=2, retry=SOON)
    async with lab.worker():
        first, second = lab.app.publish_many([Ordered(n=1), Ordered(n=2)], metadata={"trace_id": "t1"})
        await settled(lab, "well", "ill")
    assert sorted(well) == [1, 2]
    assert sorted(attempts) == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
    (letter,) = dead(lab, "ill")
    assert letter[b"event_type"] == b"Ordered"
    assert letter[b"payload"] == b'{"n":1}'
    assert letter[b"metadata"] == b'{"trace_id":"t1"}'
    assert letter[b"dead_group"] == b"ill"
    assert letter[b"dead_id"] == first.encode()
    assert letter[b"dead_error"] == b"ValueError: no 1"
    assert letter[b"dead_attempt"] == b"3"
    assert dead(lab, "well") == []
    assert {id for id, _ in lab.client.xrange(TOPIC)} == {first.encode(), second.encode()}


async def test_a_thread_handler_gets_events_and_the_envelope(lab: Lab) -> None:
    seen: list[tuple[str, str, str, str | None]] = []

    def handle(event: Ordered) -> None:
        seen.append((event.meta.type, event.meta.source, event.meta.metadata["k"], event.meta.stream_id))

    handler(lab, "threads", handle)
    async with lab.worker():
        id = await lab.app.apublish(Ordered(n=1), metadata={"k": "v"})
        await settled(lab, "threads")
    assert seen == [("Ordered", "tests", "v", id)]


async def test_handlers_of_a_group_may_live_in_different_workers(lab: Lab, make_lab: type[Lab]) -> None:
    orders = collect(lab, "shared", Ordered)
    other = make_lab()
    payments = collect(other, "shared", Paid)
    async with lab.worker(), other.worker():
        lab.app.publish_many([Ordered(n=i) if i % 2 else Paid(n=i) for i in range(60)])
        lab.client.xadd(TOPIC, {"event_id": "x", "event_type": "Unknown", "source": "s", "payload": "{}"})
        await settled(lab, "shared", timeout=20)
    assert sorted(orders) == list(range(1, 60, 2))
    assert sorted(payments) == list(range(0, 60, 2))
    assert dead(lab, "shared") == []
    assert [e["event_type"] for e in lab.events.named("task.ignored") + other.events.named("task.ignored")] == [
        "Unknown"
    ]


async def test_an_event_of_a_sibling_that_is_gone_becomes_a_dead_letter_after_the_grace(make_lab: type[Lab]) -> None:
    lab, other = make_lab(unknown_grace=0.3), make_lab()
    collect(lab, "shared", Ordered)
    payments = collect(other, "shared", Paid)
    async with other.worker():
        pass
    async with lab.worker():
        lab.app.publish(Paid(n=1))
        await aeventually(lambda: len(dead(lab, "shared")) == 1)
        await settled(lab, "shared")
    assert payments == []
    (letter,) = dead(lab, "shared")
    assert letter[b"dead_reason"] == b"unknown_task"
    assert b"no worker of the group has a handler for Paid" in letter[b"dead_error"]


@pytest.mark.parametrize("start", ["beginning", "new", "time", "id"])
@one_server
async def test_a_late_group_begins_where_it_says(lab: Lab, start: str) -> None:
    ids = [lab.app.publish(Ordered(n=0))]
    before = int(ids[0].partition("-")[0])
    await aeventually(lambda: ms_of(lab.client.time()) > before)  # so that the second one has another millisecond
    ids.append(lab.app.publish(Ordered(n=1)))
    at = datetime.fromtimestamp(int(ids[1].partition("-")[0]) / 1000, UTC)
    late = collect(lab, "late", start={"time": at, "id": ids[0]}.get(start, start))
    async with lab.worker():
        lab.app.publish(Ordered(n=2))
        await settled(lab, "late")
    assert sorted(late) == {"beginning": [0, 1, 2], "new": [2]}.get(start, [1, 2])
    told = lab.events.named("worker.group")[0]
    assert told["events"] == (0 if start == "new" else 2)


@pytest.mark.parametrize("what", ["group", "topic", "all"])
async def test_a_lost_group_goes_on_where_it_was(lab: Lab, what: str) -> None:
    seen = collect(lab, "one")
    async with lab.worker():
        lab.app.publish_many([Ordered(n=i) for i in range(5)])
        await settled(lab, "one")
        if what == "group":
            lab.client.xgroup_destroy(TOPIC, "one")
        elif what == "topic":
            lab.client.delete(TOPIC)
        else:
            lab.client.flushall()
        lab.app.publish_many([Ordered(n=i) for i in range(5, 8)])
        await aeventually(lambda: len(seen) >= 8)
        await settled(lab, "one")
    assert sorted(seen) == list(range(8)), "none is lost, and none of those that were done runs again"


async def test_what_is_held_when_the_group_is_lost_comes_again(lab: Lab) -> None:
    seen: list[int] = []
    running, go_on = asyncio.Event(), asyncio.Event()

    async def slow(event: Ordered) -> None:
        running.set()
        await go_on.wait()
        seen.append(event.n)
        if len(seen) == 1:
            raise ValueError("its retry can be written nowhere")

    handler(lab, "one", slow, retry=SOON)
    async with lab.worker() as worker:
        lab.app.publish(Ordered(n=1))
        await running.wait()
        lab.client.xgroup_destroy(TOPIC, "one")
        await aeventually(lambda: lab.client.xinfo_groups(TOPIC))  # it is made again, one before what is held
        await aeventually(lambda: len(pending(lab, "one")) == 1)
        assert len(worker.queues[0].held) == 1
        go_on.set()
        await aeventually(lambda: len(seen) == 2)
        await settled(lab, "one")
    assert dead(lab, "one") == []


async def test_events_of_one_id_are_handled_once(lab: Lab) -> None:
    seen: list[int] = []
    running, go_on = asyncio.Event(), asyncio.Event()

    async def slow(event: Ordered) -> None:
        seen.append(event.n)
        running.set()
        await go_on.wait()

    handler(lab, "once", slow, once="event_id")
    every = collect(lab, "every")
    event = Ordered(n=1)
    async with lab.worker():
        lab.app.publish(event)
        await running.wait()
        lab.app.publish(event)  # while the first is being handled
        await aeventually(lambda: lab.client.zcard(own("once").due) == 1)
        go_on.set()
        lab.app.publish_many([event, Ordered(n=2)])
        await settled(lab, "once", "every")
    assert sorted(seen) == [1, 2]
    assert every == [1, 1, 1, 2]


async def test_an_event_id_that_was_buried_may_be_handled_again(lab: Lab) -> None:
    seen: list[int] = []

    async def fails_first(event: Ordered) -> None:
        seen.append(event.n)
        if len(seen) == 1:
            raise ValueError("the first time")

    handler(lab, "once", fails_first, once="event_id", max_retries=0)
    event = Ordered(n=1)
    async with lab.worker():
        lab.app.publish(event)
        await aeventually(lambda: len(dead(lab, "once")) == 1)
        lab.app.publish(event)
        await settled(lab, "once")
    assert seen == [1, 1]


async def test_publish_waits_for_groups_and_hears_of_their_failures(lab: Lab) -> None:
    go_on = asyncio.Event()

    async def later(event: Ordered) -> None:
        await go_on.wait()

    async def retries(event: Ordered) -> None:
        if current().attempt == 1 or event.n == 2:
            raise ValueError("not yet")

    handler(lab, "later", later)
    handler(lab, "retries", retries, max_retries=1, retry=SOON)
    with pytest.raises(UnknownGroup, match="has no group 'later'"):
        await lab.app.apublish(Ordered(n=0), wait_for=["later"])
    assert lab.client.xlen(TOPIC) == 0
    async with lab.worker():
        await lab.app.apublish(Ordered(n=1), wait_for=["retries"])
        with pytest.raises(TimeoutError, match=r"not handled after 0\.05 s by later"):
            await lab.app.apublish(Ordered(n=1), wait_for=["later"], timeout=0.05)
        go_on.set()
        await lab.app.apublish(Ordered(n=1), wait_for=["later", "retries"])
        with pytest.raises(TaskFailed, match="not yet") as failed:
            await lab.app.apublish(Ordered(n=2), wait_for=["later", "retries"])
    assert failed.value.reason == "retries"


async def test_what_nobody_can_read_is_buried_with_its_bytes_and_what_can_be_guessed_is_handled(lab: Lab) -> None:
    raw: list[RawEvent] = []

    async def any_type(event: RawEvent) -> None:
        raw.append(event)

    typed = collect(lab, "typed")
    handler(lab, "raw", any_type, TOPIC)
    lab.client.xadd(TOPIC, {"event_type": b"\xff\xfe", "payload": b"\x00"})
    lab.client.xadd(TOPIC, {"nothing": "of ours"})
    id = lab.client.xadd(
        TOPIC, {"event_type": "Ordered", "created_at": "yesterday", "metadata": "{", "payload": '{"n":7}'}
    )
    async with lab.worker():
        await settled(lab, "typed", "raw")
    assert typed == [7]
    reasons = [
        (letter[b"dead_reason"], letter.get(b"payload"), letter.get(b"nothing")) for letter in dead(lab, "typed")
    ]
    assert sorted(reasons, key=str) == [(b"decode", None, b"of ours"), (b"decode", b"\x00", None)]
    assert [letter[b"dead_reason"] for letter in dead(lab, "raw")] == [b"decode"]
    assert [(event.meta.type, event.meta.id) for event in raw] == [
        ("", raw[0].meta.stream_id),
        ("Ordered", id.decode()),
    ]
    assert raw[1].json() == {"n": 7}
    assert raw[1].meta.metadata == {}


async def test_a_payload_that_does_not_fit_waits_for_who_knows_it_then_dies(make_lab: type[Lab]) -> None:
    lab = make_lab(unknown_grace=0.05)
    collect(lab, "one")
    lab.client.xadd(TOPIC, {"event_id": "e", "event_type": "Ordered", "source": "s", "payload": '{"m":7}'})
    async with lab.worker():
        await aeventually(lambda: len(dead(lab, "one")) == 1)
    (letter,) = dead(lab, "one")
    assert letter[b"dead_reason"] == b"arguments"
    assert b"n: Field required" in letter[b"dead_error"]


async def test_no_group_keeps_another_out_of_the_only_slot(lab: Lab) -> None:
    order: list[str] = []

    async def busy(event: Ordered) -> None:
        order.append("busy")
        await asyncio.sleep(0.15)

    async def quiet(event: Paid) -> None:
        order.append("quiet")

    async def task() -> None:
        order.append("task")

    handler(lab, "busy", busy)
    handler(lab, "quiet", quiet, Paid)
    made = lab.task(task, result=False)
    lab.app.publish_many([Ordered(n=i) for i in range(30)])
    async with lab.worker(concurrency=1):
        await aeventually(lambda: "busy" in order)
        lab.app.publish(Paid(n=1))
        made.delay()
        await aeventually(lambda: {"quiet", "task"} <= set(order))
        assert order.count("busy") < 15, order
        lab.client.delete(TOPIC)


async def test_a_stop_gives_topic_deliveries_back_and_a_sibling_has_them_at_once(lab: Lab) -> None:
    ran: list[str] = []
    go_on = asyncio.Event()

    async def slow(event: Ordered) -> None:
        ran.append(current().worker)
        await go_on.wait()

    handler(lab, "one", slow)
    async with lab.worker(concurrency=1, grace=0.05) as first:
        lab.app.publish_many([Ordered(n=1), Ordered(n=2)])
        await aeventually(lambda: len(ran) == 1)
        first.stop_now()
        await aeventually(lambda: lab.events.named("worker.stopped"))
        assert {owner for _, owner, _ in pending(lab, "one")} <= {"released"}
    go_on.set()
    began = time.monotonic()
    async with lab.worker():
        await settled(lab, "one")
    assert len(ran) == 3
    assert time.monotonic() - began < 10
    assert dead(lab, "one") == []


async def test_an_event_that_a_cap_drops_under_a_running_handler_lets_it_finish(lab: Lab) -> None:
    ended: list[int] = []
    running, go_on = asyncio.Event(), asyncio.Event()

    async def slow(event: Ordered) -> None:
        running.set()
        await go_on.wait()
        ended.append(event.n)

    handler(lab, "one", slow)
    lab.app.topic(TOPIC, max_length=2, hard_max_length=3, overflow="drop")
    async with lab.worker(concurrency=1) as worker:
        lab.app.publish(Ordered(n=0))
        await running.wait()
        lab.app.publish_many([Ordered(n=i) for i in range(1, 5)])
        assert await worker.leases.renew_all()
        go_on.set()
        await settled(lab, "one")
    assert ended[0] == 0
    assert int(lab.client.hget("{shop:orders}:lost", "one")) == 5 - len(ended) + 1


async def test_a_worker_starts_at_a_full_redis_and_works_when_there_is_room(
    make_lab: type[Lab], own_server: object
) -> None:
    server = own_server("redis-8.6")  # type: ignore[operator]
    lab = make_lab(url=server.url)
    lab.app.publish(Ordered(n=1))
    seen = collect(lab, "one")
    used = lab.client.info("memory")["used_memory"]
    lab.client.config_set("maxmemory", used)
    with pytest.raises(redis.ResponseError, match="maxmemory"):
        lab.client.set("x", "y")

    async def make_room() -> None:
        await aeventually(lambda: any("makes no consumer group" in e["msg"] for e in lab.events.named("redis.lost")))
        lab.client.config_set("maxmemory", 0)

    making = asyncio.create_task(make_room())
    async with lab.worker():
        await making
        await settled(lab, "one")
    assert seen == [1]
