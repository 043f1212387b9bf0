"""What tests of events share: a topic, its events, and what Redis holds of a group's view of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamtask import Event
from streamtask.broker.keys import QueueKeys, queue_keys, topic_keys
from tests.support import aeventually
from tests.worker.kit import Lab

TOPIC = "shop:orders"


class Ordered(Event, topic=TOPIC, source="tests"):
    """An order came in."""

    n: int


class Paid(Event, topic=TOPIC, source="tests"):
    """It was paid."""

    n: int


def own(group: str) -> QueueKeys:
    """The keys of a group's own queue."""
    return queue_keys("lab", f"{TOPIC}/{group}")


def handler(lab: Lab, group: str, fn: Callable[..., Any], event: Any = Ordered, **options: Any) -> None:
    """Make a local function the handler of a group, under its own name."""
    lab.app.on(event, group=group, name=fn.__name__, **options)(fn)


def collect(lab: Lab, group: str, event: Any = Ordered, **options: Any) -> list[int]:
    """A group that notes what it handles."""
    seen: list[int] = []

    async def note(event: Any) -> None:
        seen.append(event.n)

    handler(lab, group, note, event, **options)
    return seen


def pending(lab: Lab, group: str) -> list[tuple[str, str, int]]:
    """The group's pending list on the topic: (entry id, consumer, deliveries) a row."""
    rows = lab.client.xpending_range(TOPIC, group, "-", "+", 1000)
    return [(row["message_id"].decode(), row["consumer"].decode(), row["times_delivered"]) for row in rows]


def dead(lab: Lab, group: str) -> list[dict[bytes, bytes]]:
    """The group's dead letters, oldest first."""
    return [fields for _, fields in lab.client.xrange(own(group).dead)]


async def settled(lab: Lab, *groups: str, timeout: float = 10) -> None:
    """Wait until each group is at the end of the topic, and nothing waits or runs for it."""

    def at_the_end(group: str) -> bool:
        for row in lab.client.xinfo_groups(TOPIC):
            if row["name"] == group.encode():
                unread = lab.client.xrange(TOPIC, f"({row['last-delivered-id'].decode()}", "+", count=1)
                done = not unread and row["pending"] == 0
                return done and lab.client.xlen(own(group).stream) + lab.client.zcard(own(group).due) == 0
        return False

    for group in groups:
        await aeventually(lambda group=group: at_the_end(group), timeout)
        keys = topic_keys(TOPIC, group)
        for name in (keys.body, keys.where, keys.suspects):
            assert lab.client.hgetall(name) == {}, name
