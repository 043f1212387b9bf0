"""The worker's and the beat's verbs: fetch, settle, release, mark, sweep, move, tick. Nothing above knows a Redis
command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from streamtask.broker import keys as names
from streamtask.broker.keys import QueueKeys
from streamtask.broker.link import Arg, Command, Link, ResponseError, call_of, group_is_gone, run_all
from streamtask.broker.reader import Reader
from streamtask.broker.scripts import (
    AGREE,
    ALL,
    BURY,
    DONE,
    GC,
    HANDLED,
    HANDLES,
    IGNORE,
    MARK,
    MOVE,
    ONCE,
    RELEASE,
    SETTLE,
    SWEEP,
    TICK,
    TRIM,
)  # fmt: skip
from streamtask.broker.server import Server, probe

#: Milliseconds for which a mover holds its queue.
MOVER_LOCK = 2000
#: Messages that one MOVE takes at most, so that other clients do not wait long.
MOVE_LIMIT = 100
#: Field strings that a dead letter takes over one by one: Lua can hand at most 8,000 to XADD.
MOST_FIELDS = 7000
#: Entries of a topic that are counted at most to say how many wait.
COUNTED = 1000
#: Rows of the pending list that one SWEEP looks at.
SWEEP_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Moved:
    """What a MOVE did: messages moved, seconds until the next (None: none, or not ours), the server's time in ms.

    `parked`: something was given back and waits for a reader.
    """

    count: int
    wait: float | None
    now: int
    leader: bool
    parked: bool


class Hopeless(NamedTuple):
    """A row that was delivered far too often: its token, and what the entry says of itself ("" for nothing)."""

    id: bytes
    owner: bytes
    deliveries: int
    message_id: str
    task: str
    unique: str


class Consumer(NamedTuple):
    """A consumer of a queue's group, and the seconds since it last read, renewed or claimed anything."""

    name: str
    inactive: float


@dataclass(frozen=True, slots=True)
class Ticked:
    """What a TICK did: status as in tick.lua, the last tick and the server's time in ms, messages sent."""

    status: int
    last: int
    now: int
    sent: int


class Broker:
    """The connections of one worker or beat process: one for reads that wait, one for everything else.

    Methods raise redis-py's errors; `streamtask.broker.link.passing` tells which of them pass by themselves.
    """

    def __init__(self, url: str, namespace: str, consumer: str) -> None:
        self.url, self.namespace, self.consumer = url, namespace, consumer
        self.server: Server | None = None
        self._readers: list[Reader] = []
        self._writer = Link(url, name=consumer)
        self._control = Link(url, name=consumer)

    async def connect(self) -> Server:
        """Find out what the server can do and give it the scripts."""
        self.server = await probe(self._writer, self.namespace)
        await self._writer.batch([("SCRIPT", "LOAD", script.text) for script in ALL])
        return self.server

    async def close(self) -> None:
        """Close all connections."""
        for reader in self._readers:
            await reader.close()
        for link in (self._writer, self._control):
            await link.close()

    async def declare(self, queues: Sequence[tuple[str, QueueKeys, str]]) -> list[QueueKeys]:
        """Make the streams and their groups where they are missing, and the queues known; gives those that were made.
        Safe to repeat.

        The third of each says where a new group begins: "0", since of a queue what was done is gone, or for a topic an
        entry id or "$".
        """
        commands: list[Command] = [
            ("XGROUP", "CREATE", keys.stream, keys.group, start, "MKSTREAM") for _, keys, start in queues
        ]
        if queues:
            commands.append(("SADD", names.queues(self.namespace), *dict.fromkeys(name for name, _, _ in queues)))
            commands.append(("SADD", names.NAMESPACES, self.namespace))
        if topics := [keys.stream for _, keys, _ in queues if keys.kind == "topic"]:
            commands.append(("SADD", names.topics(self.namespace), *topics))
        replies = await self._control.batch(commands)
        for (_, keys, _), made in zip(queues, replies, strict=False):
            if isinstance(made, ResponseError) and "BUSYGROUP" not in str(made):
                # A full Redis refuses before it looks whether the group is there; its queue can still be worked off.
                await self._refused(keys, made)
        return [keys for (_, keys, _), made in zip(queues, replies, strict=False) if not isinstance(made, Exception)]

    async def _refused(self, keys: QueueKeys, error: ResponseError) -> None:
        try:
            await self._control.call("XPENDING", keys.stream, keys.group)
        except ResponseError:
            raise error from None

    async def waiting(self, keys: QueueKeys) -> int:
        """Messages of a queue that nobody has; of a topic, what its group has not been given, counted up to COUNTED."""
        if keys.kind == "topic":
            place = await self.place(keys)
            return len(await self._control.call("XRANGE", keys.stream, f"({place or '0-0'}", "+", "COUNT", COUNTED))
        length: int = await self._control.call("XLEN", keys.stream)
        try:
            pending: int = (await self._control.call("XPENDING", keys.stream, keys.group))[0]
        except ResponseError as error:
            if group_is_gone(error):  # the first read will find out, and have it made again
                return length
            raise
        return max(0, length - pending)

    async def agree(self, keys: QueueKeys, lease: float) -> float:
        """Join a queue's group; gives the lease (seconds) that all its workers use, be it the one asked for or not."""
        others = [one.name for one in await self.consumers(keys) if one.name != self.consumer]
        living = await self.present(others) if others else []
        absent = [name for name in others if name not in living]
        args: list[Arg] = [keys.group, self.consumer, round(lease * 1000), *absent]
        agreed: int = await self._control.run(AGREE, [keys.stream, keys.conf], args)
        return agreed / 1000

    async def held(self, keys: QueueKeys) -> list[tuple[bytes, int]]:
        """Entry id and delivery count of (up to 1,000) rows that stand under this consumer's name."""
        rows = await self._control.call("XPENDING", keys.stream, keys.group, "-", "+", 1000, self.consumer)
        return [(row[0], row[3]) for row in rows]

    async def leave(self, queues: Sequence[QueueKeys]) -> None:
        """Forget this consumer in the groups where it holds nothing any more."""
        for keys in queues:
            await self.forget(keys, [self.consumer])

    def reader(self, group: str) -> Reader:
        """A connection of its own that reads for one consumer group; closed with the broker."""
        reader = Reader(self.url, self.consumer, group, self._control, lambda: self.native)
        self._readers.append(reader)
        return reader

    @property
    def native(self) -> bool:
        """Does the server have XREADGROUP ... CLAIM?"""
        return self.server is not None and self.server.claim

    # -- settling -----------------------------------------------------------------------------------------------------

    async def settle(self, calls: Sequence[Command]) -> list[Any]:
        """Run prepared calls (`done_call`, `settle_call`, `release_call`) in one write; errors stand in the list."""
        return await run_all(self._writer, calls)

    def done_call(self, keys: QueueKeys, tokens: Sequence[Arg]) -> Command:
        """DONE for pairs of entry id and count, flat."""
        ackdel = "1" if self.server is not None and self.server.ackdel else "0"
        return call_of(DONE, [keys.stream], (keys.group, self.consumer, keys.kind, ackdel, *tokens))

    def settle_call(self, keys: QueueKeys, extra: Sequence[str], items: Sequence[Arg]) -> Command:
        """SETTLE for items as in settle.lua; `extra` are the keys that they name, the first as number 7."""
        all_keys = (keys.stream, keys.due, keys.body, keys.dead, keys.suspects, keys.where, *extra)
        return call_of(SETTLE, all_keys, (keys.group, self.consumer, keys.kind, *items))

    def release_call(self, keys: QueueKeys, items: Sequence[Arg], before: int = 0) -> Command:
        """RELEASE for items as in release.lua; `before`: only what was delivered before this ms of Redis time."""
        return call_of(RELEASE, [keys.stream, keys.suspects], (keys.group, self.consumer, before, *items))

    def ignore_call(self, keys: QueueKeys, items: Sequence[Arg]) -> Command:
        """IGNORE for triples of entry id, count, event type."""
        return call_of(IGNORE, [keys.stream, keys.types], (keys.group, self.consumer, keys.kind, *items))

    async def handles(self, keys: QueueKeys, types: Sequence[str]) -> None:
        """Say that this worker handles events of these types for the group."""
        await self._control.run(HANDLES, [keys.stream, keys.types], (keys.group, *types))

    async def place(self, keys: QueueKeys) -> str | None:
        """The last entry that the group was given; None when there is no group."""
        for flat in await self._control.call("XINFO", "GROUPS", keys.stream):
            group = dict(zip(flat[::2], flat[1::2], strict=True))
            if group[b"name"] == keys.group.encode():
                place: str = group[b"last-delivered-id"].decode()
                return place
        return None

    async def waiting_after(self, keys: QueueKeys, entry_id: str) -> tuple[int, bool] | None:
        """None when no entry of a stream comes after this one; else its length, and whether all of it comes after: if
        not, so many there are at the most.
        """
        found = await self._control.call("XRANGE", keys.stream, f"({entry_id}", "+", "COUNT", 1)
        if not found:
            return None
        length: int = await self._control.call("XLEN", keys.stream)
        (first,) = await self._control.call("XRANGE", keys.stream, "-", "+", "COUNT", 1)
        return length, first[0] == found[0][0]

    async def once(self, keys: QueueKeys, items: Sequence[tuple[str, str, bool]], ttl: int) -> list[str]:
        """ONCE for triples of event id, message id, whether the lock's holder is gone; `ttl` in ms. See once.lua."""
        locks = [keys.once(event_id) for event_id, _, _ in items]
        args: list[Arg] = [arg for _, message_id, gone in items for arg in (message_id, int(gone))]
        reply = await self._control.run(ONCE, locks, (ttl, *args))
        return [text.decode() for text in reply]

    async def is_over(self, topic: str, keys: QueueKeys, message_id: str) -> bool:
        """Has the group done with the topic's entry `message_id`, or never had it?"""
        script_keys = (topic, keys.due, keys.where, keys.result(message_id))
        said: bytes = await self._control.run(HANDLED, script_keys, (keys.group, message_id))
        return said == b"done" or said[:1] == b"{"

    async def trim(self, topic: str, most: int, full: int, overflow: str) -> tuple[int, int]:
        """TRIM; how many entries went because all had done with them, and how many were given up."""
        done, given_up = await self._control.run(TRIM, [topic, names.lost(topic)], (most, full, overflow))
        return done, given_up

    async def mark(self, keys: QueueKeys, items: Sequence[Arg]) -> list[int]:
        """MARK for triples of entry id, count, message id: -1 not ours, else the number of earlier marked starts."""
        reply: list[int] = await self._control.run(
            MARK, [keys.stream, keys.suspects], (keys.group, self.consumer, *items)
        )
        return reply

    async def marked(self, keys: QueueKeys, message_id: str, token: tuple[bytes, int]) -> bool:
        """Is there a mark of another delivery than the one with this entry id and count?"""
        mark: bytes | None = await self._control.call("HGET", keys.suspects, message_id)
        return mark is not None and not mark.endswith(b" %b %d %b" % (*token, self.consumer.encode()))

    # -- what dead workers leave --------------------------------------------------------------------------------------

    async def sweep(self, keys: QueueKeys, deliveries: int, idle: float, start: str) -> tuple[str, list[Hopeless]]:
        """Rows of one page that were delivered so often and have been left alone for `idle` seconds.

        `start` is "-" or what the last page gave; "" comes after the last one. Rows without an entry are acknowledged.
        """
        args = (keys.group, deliveries, int(idle * 1000), start, SWEEP_PAGE)
        following, *flat = await self._control.run(SWEEP, [keys.stream], args)
        rows = [flat[i : i + 6] for i in range(0, len(flat), 6)]
        found = [
            Hopeless(id, owner, count, *(text.decode(errors="replace") for text in said))
            for id, owner, count, *said in rows
        ]
        return following.decode(), found

    async def bury(self, keys: QueueKeys, extra: Sequence[str], items: Sequence[Arg]) -> list[Any]:
        """BURY for items as in bury.lua, at once; its statuses."""
        reply: list[Any] = await self._control.run(BURY, *self._bury(keys, extra, items))
        return reply

    def bury_call(self, keys: QueueKeys, extra: Sequence[str], items: Sequence[Arg]) -> Command:
        """BURY for `settle`; `extra` are the keys that items name, the first as number 5."""
        return call_of(BURY, *self._bury(keys, extra, items))

    def _bury(
        self, keys: QueueKeys, extra: Sequence[str], items: Sequence[Arg]
    ) -> tuple[tuple[str, ...], tuple[Arg, ...]]:
        return (keys.stream, keys.dead, keys.suspects, keys.where, *extra), (keys.group, keys.kind, MOST_FIELDS, *items)

    async def consumers(self, keys: QueueKeys) -> list[Consumer]:
        """The consumers of a queue's group, this one too."""
        rows = [
            dict(zip(flat[::2], flat[1::2], strict=True))
            for flat in await self._control.call("XINFO", "CONSUMERS", keys.stream, keys.group)
        ]
        # `idle` counts tries, too, and before Redis 7.2 it is all there is; `inactive` is -1 for who never got any.
        seen = [(row[b"name"].decode(), row.get(b"inactive", -1), row[b"idle"]) for row in rows]
        return [Consumer(name, (idle if inactive < 0 else inactive) / 1000) for name, inactive, idle in seen]

    async def present(self, consumers: Sequence[str]) -> list[str]:
        """Those of whom a worker's presence is there."""
        replies = await self._control.batch([("EXISTS", names.worker(self.namespace, name)) for name in consumers])
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return [name for name, there in zip(consumers, replies, strict=True) if there]

    async def forget(self, keys: QueueKeys, consumers: Sequence[str]) -> None:
        """Remove consumers from a queue's group, each only if it holds nothing."""
        await run_all(self._control, [call_of(GC, [keys.stream], (keys.group, name)) for name in consumers])

    # -- time ---------------------------------------------------------------------------------------------------------

    async def move(self, queues: Sequence[QueueKeys], force: bool = False) -> list[Moved]:
        """Move what is due in each queue; `force` although another process is the queue's mover."""
        args = (self.consumer, MOVE_LIMIT, MOVER_LOCK, "1" if force else "0")
        calls = [call_of(MOVE, (q.due, q.body, q.stream, q.where, q.mover), (q.group, *args)) for q in queues]
        moved = []
        for reply in await run_all(self._control, calls):
            if isinstance(reply, Exception):
                raise reply
            count, wait, now, leader, parked = reply
            moved.append(Moved(count, None if wait < 0 else wait / 1000, now, leader == 1, parked == 1))
        return moved

    async def tick(
        self,
        keys: QueueKeys,
        schedule: str,
        expected: str,
        last: int,
        lock: tuple[str, int] | None,
        items: Sequence[Arg],
    ) -> Ticked:
        """Offer ticks: compare-and-set of a schedule's last tick from `expected` to `last` (ms), with the messages."""
        script_keys = (keys.stream, keys.ticks, *((lock[0],) if lock else ()))
        args = (schedule, expected, last, lock[1] if lock else 0, *items)
        status, found, now, sent = await self._control.run(TICK, script_keys, args)
        return Ticked(status, int(found), int(now), sent)

    async def call(self, *command: Arg) -> Any:
        """One plain command on the control connection, for presence and the like."""
        return await self._control.call(*command)
