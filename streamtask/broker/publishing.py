"""One event on its way to its topic: what is written, within which limits, and the commands that do it.

It stands beside `outgoing.Outgoing`: `sending.Sending` carries both, and repeats what was not answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streamtask.broker import keys as names
from streamtask.broker.link import Arg, Command, call_of
from streamtask.broker.outgoing import MESSAGE_ID_TTL, REMEMBERED, Receipt
from streamtask.broker.scripts import PUBLISH
from streamtask.errors import QueueFull
from streamtask.message import new_id
from streamtask.topic import TopicLimits

__all__ = ["Publication", "TopicLimits"]


#: What holds for a topic that nobody declared.
LIMITS = TopicLimits()


class _Stream(NamedTuple):
    """The keys of a topic, as far as sending asks for them."""

    stream: str


class _Told(NamedTuple):
    """What error texts call it."""

    task: str
    id: str


@dataclass(frozen=True, slots=True)
class Publication:
    """An event for `topic` with its fields, flat. `key`: published under the same key before, it is not added again
    (for 7 days). `id` is of this publication: an event that is published twice on purpose is added twice, whatever its
    own id, and one that is sent twice for want of an answer is added once.
    """

    event_id: str
    event_type: str
    fields: Sequence[bytes | str]
    topic: str
    limits: TopicLimits = LIMITS
    key: str | None = None
    id: str = field(default_factory=new_id)

    #: What `Sending` asks of a message that waits for its time.
    due = None

    @property
    def keys(self) -> _Stream:
        """Where it goes."""
        return _Stream(self.topic)

    @property
    def message(self) -> _Told:
        """How error texts call it."""
        return _Told(f"{self.event_type} for {self.topic}", self.event_id)

    @property
    def scripted(self) -> bool:
        """Does its script answer the same, however often it is asked?"""
        return self.key is not None

    @property
    def doubt(self) -> str:
        """What to do when nobody knows whether it was added."""
        if self.key is not None:
            return "publish it again under the same key, and it is there once"
        return "look for its event id in the topic before you publish it again; with key= it may be published again"

    def registered(self, namespace: str) -> tuple[str, str]:
        """The set that knows of its topic, and what stands there."""
        return names.topics(namespace), self.topic

    def size(self) -> int:
        """Bytes of what is sent."""
        return sum(map(len, self.fields))

    def command(self) -> Command:
        """PUBLISH that remembers the key; without one, the event id for a while, so that it may be repeated."""
        if self.key is not None:
            return self._publish(names.published(self.topic, f"key:{self.key}"), MESSAGE_ID_TTL)
        return self._publish(names.published(self.topic, f"id:{self.id}"), REMEMBERED * 1000)

    def plain(self) -> Command:
        """For who may only XADD: limits are kept by others then."""
        return ("XADD", self.topic, "*", *self.fields)

    def idempotent(self, pid: str) -> Command:
        """PUBLISH whose XADD Redis takes once from this producer id."""
        return self._publish(None, 0, pid)

    def remembered(self, *, load: bool = False) -> Command:
        """As `command`; with `load` the script's text goes along, for a server that does not know it yet."""
        call = self.command()
        return ("EVAL", PUBLISH.text, *call[2:]) if load else call

    def receipt(self, reply: Any) -> Receipt | Exception:
        """Read the command's reply."""
        if isinstance(reply, bytes):
            return Receipt(reply.decode())
        status, said = reply
        if status < 0:
            return QueueFull(
                f"the topic {self.topic!r} is full: {said:,} entries, {self.limits.hard_max_length:,} are allowed "
                f"(hard_max_length). A group does not keep up; see `streamtask topics show {self.topic}`"
            )
        return Receipt(said.decode(), holder=said.decode() if status == 0 else None)

    def _publish(self, lock: str | None, ttl: int, pid: str = "") -> Command:
        limits = self.limits
        keys = (self.topic, names.lost(self.topic), *((lock,) if lock is not None else ()))
        args: list[Arg] = [limits.max_length, limits.hard_max_length, limits.overflow, ttl, pid, self.id]
        return call_of(PUBLISH, keys, (*args, *self.fields))
