"""once="event_id" as workers ask it: who goes on, who waits, and what becomes of a lock that nobody opens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from streamtask import Event, StreamTask
from streamtask.broker.broker import Broker
from streamtask.broker.reader import Entry
from streamtask.worker.delivery import Delivery, QueueState
from streamtask.worker.once import ask_once
from streamtask.worker.queues import subscription_queues
from tests.redis.kit import LONG
from tests.redis.topics import TOPIC, Topic, event


class Ordered(Event, topic=TOPIC):
    n: int = 0


@pytest.fixture
async def broker(url: str) -> AsyncIterator[Broker]:
    broker = Broker(url, "ns", "w1")
    await broker.connect()
    yield broker
    await broker.close()


@pytest.fixture
def queues() -> list[QueueState]:
    """The topic and the group's own queue, of a group with once=."""
    app = StreamTask("ns")
    app.on(Ordered, group="g", name="h", once="event_id")(lambda event: None)
    return subscription_queues(app.subscriptions.values(), "w1")


def delivery(queue: QueueState, id: str, n: int = 0) -> Delivery:
    fields = [part if isinstance(part, bytes) else part.encode() for part in event(n)]
    found = Delivery(queue, Entry(id.encode(), fields, 1), 0.0, 0.0)
    assert queue.subscription is not None
    found.task = queue.subscription.handler("Ordered")
    return found


async def test_the_first_goes_on_and_the_second_learns_who_has_it(
    topic: Topic, broker: Broker, queues: list[QueueState]
) -> None:
    first, second, other = topic.hold_events("Ordered", "Ordered", "Ordered")
    seen, own = queues
    one, two = delivery(seen, first), delivery(seen, second)
    assert await ask_once(broker, [one, two, delivery(seen, other, n=1)]) == ["", first, ""]
    again = Delivery(own, Entry(b"9-9", [*one.fields, b"id", first.encode(), b"meta", b"{}"], 1), 0.0, 0.0)
    assert await ask_once(broker, [two, again]) == [first, ""], "also in order when both of a group's queues ask"


async def test_a_lock_whose_holder_has_ended_without_opening_it_is_taken_over(
    topic: Topic, broker: Broker, queues: list[QueueState]
) -> None:
    """As after a lost server: the rows are as they were, and the lock is older or newer."""
    first, second = topic.hold_events("Ordered", "Ordered")
    topic.once("e0", first, 0)
    two = delivery(queues[0], second)
    assert await ask_once(broker, [two]) == [first], "it is held"
    topic.done(first, 1, kind="topic")
    assert await ask_once(broker, [two]) == [""]
    assert topic("GET", topic.keys.once("e0")) == second.encode()


async def test_a_holder_that_was_buried_is_no_holder(topic: Topic, broker: Broker, queues: list[QueueState]) -> None:
    first, second = topic.hold_events("Ordered", "Ordered")
    topic.once("e0", first, 0)
    topic.done(first, 1, kind="topic")
    topic("SET", topic.keys.result(first), '{"state":"dead"}', "PX", LONG)
    assert await ask_once(broker, [delivery(queues[0], second)]) == [""]


async def test_a_holder_that_waits_for_its_retry_is_one(topic: Topic, broker: Broker, queues: list[QueueState]) -> None:
    first, second = topic.hold_events("Ordered", "Ordered")
    topic.once("e0", first, 0)
    topic.done(first, 1, kind="topic")
    topic("ZADD", topic.own.keys.due, topic.time() + LONG, first)
    assert await ask_once(broker, [delivery(queues[0], second)]) == [first]


async def test_what_is_done_is_done(topic: Topic, broker: Broker, queues: list[QueueState]) -> None:
    (id,) = topic.hold_events("Ordered")
    topic("SET", topic.keys.once("e0"), "done", "PX", LONG)
    assert await ask_once(broker, [delivery(queues[0], id)]) == ["done"]
