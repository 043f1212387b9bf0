"""A delivery: a message in this worker's hands, and the queue it came from."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from streamtask.broker.keys import QueueKeys
from streamtask.broker.reader import Entry
from streamtask.context import Context
from streamtask.envelope import EventMessage, decode_message, short_field
from streamtask.message import MAX_NAME, Message, Unreadable, decode
from streamtask.options import Batching, TaskOptions
from streamtask.policy import Facts, Failure, Late, Misfit, Outcome
from streamtask.subscription import Handler, Subscription
from streamtask.task import Kind, Task
from streamtask.worker.clock import RedisClock

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
    agreed on, what this one holds of it, by entry id, and the worker's consumer name.

    A subscription has two: its topic, and its own queue for what failed there. `start` is where its group begins on the
    topic if it must be made; `last_seen` the newest entry that this worker has seen there. `stride`: so many messages
    are asked for at least, since its functions take so many at once. `strays` counts events of types that only others
    handle, which were given back one after the other; what is given back is left to them until `shy_until`.
    """

    name: str
    keys: QueueKeys
    kinds: tuple[Kind, ...]
    lease: float = 15.0
    held: dict[bytes, Delivery] = field(default_factory=dict)
    worker: str = ""
    subscription: Subscription | None = None
    start: str = "0"
    stride: int = 1
    last_seen: str = ""
    strays: int = 0
    shy_until: float = 0.0

    @property
    def begin(self) -> str:
        """Where a group that is lost must begin anew: of a queue at its first entry, since what was done is gone; of a
        topic behind what this worker has done with.
        """
        if self.keys.kind == "task" or not self.last_seen:
            return self.start
        return min((just_before(id.decode()) for id in self.held), key=parts, default=self.last_seen)

    def saw(self, entry_id: str) -> None:
        """An entry of the topic has been read."""
        if not self.last_seen or parts(entry_id) > parts(self.last_seen):
            self.last_seen = entry_id


def parts(entry_id: str) -> tuple[int, int]:
    """An entry id as numbers, to be compared."""
    ms, _, seq = entry_id.partition("-")
    return int(ms), int(seq or 0)


def just_before(entry_id: str) -> str:
    """The largest id that is smaller."""
    ms, seq = parts(entry_id)
    return f"{ms}-{seq - 1}" if seq else f"{max(0, ms - 1)}-18446744073709551615"


class Delivery:
    """One entry that was delivered to this process. (consumer, `count`) is its fencing token.

    `confirmed_at` is the monotonic time at which it was surely ours; a start needs it to be fresh.
    `stopped_as` says what a cancelled attempt counts as; `given_back`, that it may come again as a new delivery.
    `unsure`: it waits for a renewal to say that it is ours, and is in no buffer meanwhile.
    `released_ms`: when it was first given back, in ms of Redis time; a second try must not touch what came after.
    `alone`: a call with its verdict was refused, so the next one holds no other; `by_copy`: its body cannot be sent.

    What most deliveries never change is said once, for the class: a worker makes tens of thousands a second.
    """

    state = State.BUFFERED
    task: Task[..., Any] | None = None
    kind: Kind = "thread"  # of slot that it needs
    message: Message | EventMessage | None = None
    batching: Batching | None = None  # how its function gathers what it takes; None: it takes one at a time
    batch: list[Delivery] | None = None  # whose leader it is
    leader: Delivery | None = None  # of the batch that it runs in
    runner: asyncio.Task[None] | None = None
    stopped_as: Outcome | None = None
    started_at = ended_at = 0.0
    started_ms = released_ms = 0
    alone = by_copy = uncertain = marked = reserved = given_back = entered = unsure = False

    def __init__(self, queue: QueueState, entry: Entry, now: float, confirmed_at: float) -> None:
        self.queue = queue
        self.id, self.fields, self.count = entry
        self.received_at, self.confirmed_at = now, confirmed_at

    def read(self, clock: RedisClock) -> Misfit | Late | None:
        """Decode it; the outcome of what cannot be read, or comes too late to be started."""
        try:
            if self.queue.subscription is None:
                message: Message | EventMessage = decode(self.id.decode(), self.fields)
            else:
                message = self._event()
            self.message = message
        except Unreadable as error:
            return Misfit("decode", Failure("Unreadable", str(error)))
        except Exception as error:  # noqa: BLE001 - whatever it is: nobody can read it
            return Misfit("decode", Failure.of(error))
        return Late() if message.meta and self.is_late(clock.now()) else None

    def _event(self) -> EventMessage:
        handler = self.task.name if self.task is not None else ""
        own = self.queue.keys.kind == "task"
        return decode_message(self.id.decode(), self.fields, handler, own=own)

    @property
    def event_type(self) -> str:
        """Of an event, also before it is read."""
        return short_field(self.fields, b"event_type")

    @property
    def event_id(self) -> str:
        """Of an event, also before it is read: the id by which it is known, whatever entry brought it."""
        return short_field(self.fields, b"event_id") or self.message_id

    @property
    def once(self) -> str | None:
        """The key that remembers its event id, where its handler asked for that."""
        return self.queue.keys.once(self.event_id) if isinstance(self.task, Handler) and self.task.once else None

    def context(self) -> Context:
        """What `current()` gives in its attempt; once it is decoded. Made when it is first asked for, on any thread."""
        made: Context | None = self.__dict__.get("made_context")
        if made is None:
            made = self.__dict__.setdefault("made_context", self._new_context())
            if self.stopped_as is not None:  # asked only now, so that a stop in between is not missed
                made.stop()
        return made

    def stop_context(self) -> None:
        """Let the running function see that it is to end, if it looks."""
        made: Context | None = self.__dict__.get("made_context")
        if made is not None:
            made.stop()

    def _new_context(self) -> Context:
        message, options = self.message, self.options
        assert message is not None, "only a message that was read can run"
        return Context(
            message,
            queue=self.queue.name,
            stream_id=self.id.decode(),
            deliveries=self.count,
            worker=self.queue.worker,
            sent_ms=self.sent_ms,
            started_ms=self.started_ms,
            timeout=options.timeout,
            is_last_attempt=options.max_retries is not None and message.attempt >= options.max_retries,
        )

    def unstart(self) -> None:
        """It did not begin after all: it is buffered, as if nobody had tried."""
        self.state, self.started_at, self.started_ms = State.BUFFERED, 0.0, 0
        self.runner, self.entered, self.stopped_as, self.leader = None, False, None, None
        self.__dict__.pop("made_context", None)

    @property
    def options(self) -> TaskOptions:
        """Its task's options."""
        return self.task.task_options if self.task is not None else UNKNOWN

    @property
    def unmarked(self) -> bool:
        """Does its start need a mark that it has not got yet?"""
        assert self.task is not None, "only a known task is started"
        return self.count >= self.task.task_options.max_deliveries and not self.marked

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
        own = self.options.unknown_grace
        return Facts(
            self.message, self.options, self.sent_ms, now, random, worker, unknown_grace if own is None else own
        )

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
        if self.queue.subscription is not None:
            own = self.queue.keys.kind == "task" and len(self.fields) >= 4 and self.fields[-4] == b"id"
            return (self.fields[-3] if own else self.id).decode(errors="replace")
        for name, value in zip(self.fields[::2], self.fields[1::2], strict=False):
            if name == b"id" and 0 < len(value) <= 256:
                return value.decode(errors="replace")
        return self.id.decode()
