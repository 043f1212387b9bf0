"""A delivery: a message in this worker's hands, and the queue it came from."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from streamtask.broker.broker import Entry
from streamtask.broker.keys import QueueKeys
from streamtask.context import Context
from streamtask.message import MAX_NAME, Message
from streamtask.options import TaskOptions
from streamtask.policy import Facts, Outcome
from streamtask.task import Kind, Task

#: A unique key's hash in a message's meta, found without parsing it: a message that was convicted may kill the parser.
_UNIQUE = re.compile(rb'"unique": ?"([0-9a-f]{1,64})"')


#: What holds for a message whose task this worker does not know.
UNKNOWN = TaskOptions()


class State(Enum):
    """Where a delivery is inside this process; nothing of it is written to Redis.

    It goes on only, but for one step back: what is running, and is not surely ours any more when its function is to
    begin, is buffered again, until a renewal tells.
    """

    BUFFERED = "buffered"
    RUNNING = "running"
    SETTLING = "settling"


@dataclass(slots=True)
class QueueState:
    """One queue as this worker sees it: the kinds of slots that its tasks use, the lease (seconds) that its workers
    agreed on, and what this one holds of it, by entry id.
    """

    name: str
    keys: QueueKeys
    kinds: tuple[Kind, ...]
    lease: float = 15.0
    held: dict[bytes, Delivery] = field(default_factory=dict)


class Delivery:
    """One entry that was delivered to this process. (consumer, `count`) is its fencing token.

    `confirmed_at` is the monotonic time at which it was surely ours; a start needs it to be fresh.
    `stopped_as` says what a cancelled attempt counts as; `given_back`, that it may come again as a new delivery.
    `unsure`: it waits for a renewal to say that it is ours, and is in no buffer meanwhile.
    `released_ms`: when it was first given back, in ms of Redis time; a second try must not touch what came after.
    `alone`: a call with its verdict was refused, so the next one holds no other; `by_copy`: its body cannot be sent.
    """

    __slots__ = (
        "alone", "by_copy", "confirmed_at", "context", "count", "ended_at", "entered", "fields", "given_back", "id",
        "marked", "message", "queue", "received_at", "released_ms", "reserved", "runner", "started_at", "started_ms",
        "state", "stopped_as", "task", "uncertain", "unsure",
    )  # fmt: skip

    def __init__(self, queue: QueueState, entry: Entry, now: float, confirmed_at: float) -> None:
        self.queue, self.id, self.fields, self.count = queue, entry.id, entry.fields, entry.deliveries
        self.received_at, self.confirmed_at = now, confirmed_at
        self.state = State.BUFFERED
        self.task: Task[..., Any] | None = None
        self.message: Message | None = None
        self.context: Context | None = None
        self.runner: asyncio.Task[None] | None = None
        self.stopped_as: Outcome | None = None
        self.started_at, self.started_ms, self.ended_at, self.released_ms = 0.0, 0, 0.0, 0
        self.alone = self.by_copy = False
        self.uncertain = self.marked = self.reserved = self.given_back = self.entered = self.unsure = False

    @property
    def kind(self) -> Kind:
        """The kind of slot that it needs."""
        return self.task.kind if self.task is not None else "thread"

    @property
    def task_field(self) -> bytes:
        """What the entry's field `task` says; ours is the first field."""
        fields = self.fields
        if len(fields) >= 2 and fields[0] == b"task":
            return fields[1][: MAX_NAME * 4]
        for name, value in zip(fields[::2], fields[1::2], strict=False):
            if name == b"task":
                return value[: MAX_NAME * 4]
        return b""

    @property
    def task_name(self) -> str | None:
        """The registered name, as far as it is known: a suspect that is buried was never decoded."""
        if self.message is not None:
            return self.message.task
        return self.task.name if self.task is not None else None

    @property
    def settling(self) -> bool:
        """Has it got its verdict?"""
        return self.state is State.SETTLING

    @property
    def entered_ms(self) -> int:
        """When this entry was added, in ms of Redis time."""
        return int(self.id.partition(b"-")[0])

    @property
    def sent_ms(self) -> int:
        """When the message was first accepted, in ms of Redis time."""
        sent: int | None = self.message.meta.get("sent_at") if self.message is not None and self.message.meta else None
        return self.entered_ms if sent is None else sent

    def facts(self, worker: str, now: int, random: float, unknown_grace: float) -> Facts:
        """What the decision on it rests on; `unknown_grace` (seconds) where its task has none of its own."""
        options = self.task.task_options if self.task is not None else UNKNOWN
        own = options.unknown_grace
        return Facts(self.message, options, self.sent_ms, now, random, worker, unknown_grace if own is None else own)

    def is_late(self, now: int) -> bool:
        """Was it to be started before `now` (ms of Redis time)? Once it is decoded."""
        ttl: float | None = self.message.meta.get("ttl") if self.message is not None else None
        return ttl is not None and self.sent_ms + ttl * 1000 < now

    @property
    def unique(self) -> str | None:
        """The hash of the unique key that it holds, as far as it is known: before decoding, what the entry says."""
        if self.message is not None:
            unique: str | None = self.message.meta.get("unique")
            return unique
        for name, value in zip(self.fields[::2], self.fields[1::2], strict=False):
            if name == b"meta" and (found := _UNIQUE.search(value[:65_536])):
                return found[1].decode()
        return None

    @property
    def message_id(self) -> str:
        """The message id as far as it is known: before decoding, what the entry says."""
        if self.message is not None:
            return self.message.id
        for name, value in zip(self.fields[::2], self.fields[1::2], strict=False):
            if name == b"id" and 0 < len(value) <= 256:
                return value.decode(errors="replace")
        return self.id.decode()
