"""A topic on a real server, and groups on it, seen through plain commands: what the tests of topics' scripts share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from streamtask.broker.keys import QueueKeys, lost, published, queue_keys, topic_keys
from streamtask.broker.link import Arg
from streamtask.broker.scripts import HANDLED, HANDLES, IGNORE, ONCE, PUBLISH, TRIM
from streamtask.envelope import encode
from streamtask.message import new_id
from tests.redis.kit import LONG, Stage

TOPIC = "shop:events"


class Topic(Stage):
    """One group's view of a topic: the verbs of `Stage` work on the topic's stream and the group's own keys."""

    def __init__(self, url: str, group: str = "g", topic: str = TOPIC) -> None:
        super().__init__(url)
        self.topic, self.keys = topic, topic_keys(topic, group)

    def seen_by(self, group: str) -> Topic:
        """Another group on the same topic."""
        other = Topic.__new__(Topic)
        other.url, other.link, other.topic = self.url, self.link, self.topic
        other.keys = topic_keys(self.topic, group)
        return other

    def hold_events(self, *types: str, me: str = "w1") -> list[str]:
        """Publish an event of each type, and read them as a worker."""
        self.group()
        for n, type in enumerate(types):
            self.link.call("XADD", self.topic, "*", *event(n, type))
        return self.read(me)

    @property
    def own(self) -> Topic:
        """The group's own queue."""
        other = self.seen_by(self.keys.group)
        other.keys = queue_keys("", f"{self.topic}/{self.keys.group}")
        return other

    def begin(self, start: str = "0") -> Topic:
        """Make the group."""
        self("XGROUP", "CREATE", self.keys.stream, self.keys.group, start, "MKSTREAM")
        return self

    def publish(
        self,
        n: Arg = 0,
        *,
        most: int = 0,
        full: int = 0,
        overflow: str = "refuse",
        lock: str = "",
        ttl: int = LONG,
        pid: str = "",
        id: str = "",
        fields: Sequence[Arg] = (),
    ) -> list[Any]:
        """PUBLISH; gives its reply, ids as text."""
        keys = [self.topic, lost(self.topic), *([published(self.topic, lock)] if lock else [])]
        flat = fields or ("event_id", f"e{n}", "event_type", "Ordered", "payload", f'{{"n":{n}}}')
        status, said = self.run(PUBLISH, keys, most, full, overflow, ttl, pid, id or new_id(), *flat)
        return [status, said.decode() if isinstance(said, bytes) else said]

    def fill(self, count: int) -> list[str]:
        """Add entries by plain XADD; gives their ids."""
        calls = [("XADD", self.topic, "*", "event_id", f"e{n}", "event_type", "Ordered") for n in range(count)]
        return [id.decode() for id in self.link.batch(calls)]

    def trim(self, most: int = 0, full: int = 0, overflow: str = "refuse") -> list[int]:
        """TRIM; gives how many went, and how many were given up."""
        found: list[int] = self.run(TRIM, [self.topic, lost(self.topic)], most, full, overflow)
        return found

    def lost(self) -> dict[str, int]:
        """What each group lost to the hard cap."""
        return {group: int(count) for group, count in self.hash(lost(self.topic)).items()}

    def finish(self, count: int = 10_000) -> list[str]:
        """Read entries and have done with them."""
        ids = self.read(count=count)
        if ids:
            self("XACK", self.keys.stream, self.keys.group, *ids)
        return ids

    def handles(self, *types: str) -> int:
        """HANDLES."""
        found: int = self.run(HANDLES, [self.keys.stream, self.keys.types], self.keys.group, *types)
        return found

    def ignore(self, *items: Arg, me: str = "w1") -> list[int]:
        """IGNORE of id, count, type; gives its statuses."""
        keys: QueueKeys = self.keys
        found: list[int] = self.run(IGNORE, [keys.stream, keys.types], keys.group, me, keys.kind, *items)
        return found

    def once(self, *items: Arg, ttl: int = LONG) -> list[str]:
        """ONCE for event ids, each with a message id and whether the holder is gone."""
        locks = [self.keys.once(str(id)) for id in items[::3]]
        args = [arg for i in range(0, len(items), 3) for arg in items[i + 1 : i + 3]]
        return [text.decode() for text in self.run(ONCE, locks, ttl, *args)]

    def handled(self, entry_id: str) -> str:
        """HANDLED; gives what it says."""
        own = self.own.keys
        keys = [self.topic, own.due, own.where, own.result(entry_id)]
        said: bytes = self.run(HANDLED, keys, self.keys.group, entry_id)
        return said.decode()


def event(n: int = 0, type: str = "Ordered") -> list[bytes | str]:
    """An event's fields."""
    return encode(f"e{n}", type, "tests", datetime.now(UTC), b'{"n":%d}' % n)
