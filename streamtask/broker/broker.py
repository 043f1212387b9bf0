"""The worker's and the beat's verbs: fetch, settle, release, mark, sweep, move, tick. Nothing above knows a Redis
command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from streamtask.broker import keys as names
from streamtask.broker.keys import GROUP, QueueKeys
from streamtask.broker.link import READ_TIMEOUT, Arg, Command, Link, NoScriptError, ResponseError, call_of
from streamtask.broker.scripts import AGREE, ALL, BURY, DONE, GC, MARK, MOVE, READ, RELEASE, SETTLE, SWEEP, TICK
from streamtask.broker.server import Server, probe

#: Milliseconds for which a mover holds its queue.
MOVER_LOCK = 2000
#: Messages that one MOVE takes at most, so that other clients do not wait long.
MOVE_LIMIT = 100
#: Field strings that a dead letter takes over one by one: Lua can hand at most 8,000 to XADD.
MOST_FIELDS = 7000
#: Rows of the pending list that one SWEEP looks at.
SWEEP_PAGE = 1000
#: Longest wait in seconds of a read in Redis, and that where the right to end it is missing.
BLOCK, BLOCK_SHORT = 5.0, 1.0
#: Ten years in ms: so idle looks only what was given back. A read that waits with CLAIM is woken for that, and it must
#: not take what has run out: a server that stood still serves it before any owner can renew.
GIVEN_BACK = 315_360_000_000


class Entry(NamedTuple):
    """One entry as it was read. `deliveries` counts this delivery too, half of the fencing token."""

    id: bytes
    fields: list[bytes]
    deliveries: int


#: What was read: each stream's entries.
Found: TypeAlias = list[tuple[str, list[Entry]]]


class PartlyRead(Exception):
    """Of several reads some were refused; `found` is what the others gave, and is ours now."""

    def __init__(self, found: Found, error: Exception) -> None:
        super().__init__(str(error))
        self.found, self.error = found, error


@dataclass(frozen=True, slots=True)
class Taken:
    """What a look at others' rows gave. `waits`: for each queue the seconds until a lease can run out there at the
    soonest, None where no lease was looked at; `now`: the server's time in ms.
    """

    found: Found
    waits: list[float | None]
    now: int


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
        self._reader = Link(url, timeout=BLOCK + READ_TIMEOUT, name=consumer)
        self._writer = Link(url, name=consumer)
        self._control = Link(url, name=consumer)
        self._reader_id: int | None = None
        self._block = BLOCK

    async def connect(self) -> Server:
        """Find out what the server can do and give it the scripts."""
        self.server = await probe(self._writer, self.namespace)
        await self._writer.batch([("SCRIPT", "LOAD", script.text) for script in ALL])
        return self.server

    async def close(self) -> None:
        """Close all connections."""
        for link in (self._reader, self._writer, self._control):
            await link.close()

    async def declare(self, queues: Sequence[tuple[str, QueueKeys]]) -> None:
        """Make the streams and their group where they are missing, and the queues known. Safe to repeat."""
        commands: list[Command] = [("XGROUP", "CREATE", keys.stream, GROUP, "0", "MKSTREAM") for _, keys in queues]
        if queues:
            commands.append(("SADD", names.queues(self.namespace), *(name for name, _ in queues)))
            commands.append(("SADD", names.NAMESPACES, self.namespace))
        replies = await self._control.batch(commands)
        for (_, keys), made in zip(queues, replies, strict=False):
            if isinstance(made, ResponseError) and "BUSYGROUP" not in str(made):
                # A full Redis refuses before it looks whether the group is there; its queue can still be worked off.
                await self._refused(keys, made)

    async def _refused(self, keys: QueueKeys, error: ResponseError) -> None:
        try:
            await self._control.call("XPENDING", keys.stream, GROUP)
        except ResponseError:
            raise error from None

    async def agree(self, keys: QueueKeys, lease: float) -> float:
        """Join a queue's group; gives the lease (seconds) that all its workers use, be it the one asked for or not."""
        others = [one.name for one in await self.consumers(keys) if one.name != self.consumer]
        living = await self.present(others) if others else []
        absent = [name for name in others if name not in living]
        args: list[Arg] = [GROUP, self.consumer, round(lease * 1000), *absent]
        agreed: int = await self._control.run(AGREE, [keys.stream, keys.conf], args)
        return agreed / 1000

    async def held(self, keys: QueueKeys) -> list[tuple[bytes, int]]:
        """Entry id and delivery count of (up to 1,000) rows that stand under this consumer's name."""
        rows = await self._control.call("XPENDING", keys.stream, GROUP, "-", "+", 1000, self.consumer)
        return [(row[0], row[3]) for row in rows]

    async def leave(self, queues: Sequence[QueueKeys]) -> None:
        """Forget this consumer in the groups where it holds nothing any more."""
        for keys in queues:
            await self.forget(keys, [self.consumer])

    # -- reading ------------------------------------------------------------------------------------------------------

    async def fetch(self, wants: Sequence[tuple[QueueKeys, int]], wait: float | None) -> Found:
        """Read up to a count from each stream: new messages and, by native CLAIM, what was given back.

        With `wait` the read blocks for so many seconds at most while there is nothing; COUNT is one number for all
        streams then.
        """
        if wait is None and len(wants) > 1:
            alike = [[want for want in wants if want[1] == count] for count in {count for _, count in wants}]
            replies = await self._reader.batch([self._read(group, None) for group in alike])
            return _all_or_partly([reply if isinstance(reply, Exception) else _entries(reply) for reply in replies])
        await self._know_reader()
        block = None if wait is None else max(0.001, min(wait, self._block))
        return _entries(await self._reader.call(*self._read(wants, block)))

    async def take(
        self, wants: Sequence[tuple[QueueKeys, int]], leases: Sequence[float], deadline: int | None
    ) -> Taken:
        """What was given back and, unless the server's time is past `deadline` (ms), what has been idle for its queue's
        lease (seconds). None: only what was given back.
        """
        await self._know_reader()
        native = "1" if self.native else "0"
        calls = [
            call_of(
                READ,
                [keys.stream],
                (GROUP, self.consumer, count, 0 if deadline is None else int(lease * 1000), deadline or 0, native),
            )
            for (keys, count), lease in zip(wants, leases, strict=True)
        ]
        replies = await self._scripts(self._reader, calls)
        found = _all_or_partly([_taken(keys.stream, reply) for (keys, _), reply in zip(wants, replies, strict=True)])
        waits = [None if reply[1] < 0 else reply[1] / 1000 for reply in replies]
        return Taken(found, waits, max(reply[0] for reply in replies))

    async def unblock(self) -> None:
        """End a read that waits in Redis; what it would have read stays in the stream.

        A read that is still on its way there is not ended, so who needs its end asks again. Where the right to do this
        is missing, later reads wait for BLOCK_SHORT only.
        """
        if self._reader_id is not None and self._reader.connected:
            try:
                await self._control.call("CLIENT", "UNBLOCK", self._reader_id)
            except ResponseError:
                self._block = BLOCK_SHORT

    @property
    def native(self) -> bool:
        """Does the server have XREADGROUP ... CLAIM?"""
        return self.server is not None and self.server.claim

    def _read(self, wants: Sequence[tuple[QueueKeys, int]], block: float | None) -> Command:
        count = min(count for _, count in wants)
        command: list[Arg] = ["XREADGROUP", "GROUP", GROUP, self.consumer, "COUNT", count]
        if block is not None:
            command += ("BLOCK", int(block * 1000))
        if self.native:
            command += ("CLAIM", GIVEN_BACK)
        return [*command, "STREAMS", *(keys.stream for keys, _ in wants), *(">" for _ in wants)]

    async def _know_reader(self) -> None:
        if not self._reader.connected:
            self._reader_id = await self._reader.call("CLIENT", "ID")

    # -- settling -----------------------------------------------------------------------------------------------------

    async def settle(self, calls: Sequence[Command]) -> list[Any]:
        """Run prepared calls (`done_call`, `settle_call`, `release_call`) in one write; errors stand in the list."""
        return await self._scripts(self._writer, calls)

    def done_call(self, keys: QueueKeys, tokens: Sequence[Arg]) -> Command:
        """DONE for pairs of entry id and count, flat."""
        ackdel = "1" if self.server is not None and self.server.ackdel else "0"
        return call_of(DONE, [keys.stream], (GROUP, self.consumer, "task", ackdel, *tokens))

    def settle_call(self, keys: QueueKeys, extra: Sequence[str], items: Sequence[Arg]) -> Command:
        """SETTLE for items as in settle.lua; `extra` are the keys that they name, the first as number 7."""
        all_keys = (keys.stream, keys.due, keys.body, keys.dead, keys.suspects, keys.where, *extra)
        return call_of(SETTLE, all_keys, (GROUP, self.consumer, "task", *items))

    def release_call(self, keys: QueueKeys, items: Sequence[Arg], before: int = 0) -> Command:
        """RELEASE for items as in release.lua; `before`: only what was delivered before this ms of Redis time."""
        return call_of(RELEASE, [keys.stream, keys.suspects], (GROUP, self.consumer, before, *items))

    async def mark(self, keys: QueueKeys, items: Sequence[Arg]) -> list[int]:
        """MARK for triples of entry id, count, message id: -1 not ours, else the number of earlier marked starts."""
        reply: list[int] = await self._control.run(MARK, [keys.stream, keys.suspects], (GROUP, self.consumer, *items))
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
        args = (GROUP, deliveries, int(idle * 1000), start, SWEEP_PAGE)
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
        return (keys.stream, keys.dead, keys.suspects, keys.where, *extra), (GROUP, "task", MOST_FIELDS, *items)

    async def consumers(self, keys: QueueKeys) -> list[Consumer]:
        """The consumers of a queue's group, this one too."""
        rows = [
            dict(zip(flat[::2], flat[1::2], strict=True))
            for flat in await self._control.call("XINFO", "CONSUMERS", keys.stream, GROUP)
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
        await self._scripts(self._control, [call_of(GC, [keys.stream], (GROUP, name)) for name in consumers])

    # -- time ---------------------------------------------------------------------------------------------------------

    async def move(self, queues: Sequence[QueueKeys], force: bool = False) -> list[Moved]:
        """Move what is due in each queue; `force` although another process is the queue's mover."""
        args = (GROUP, self.consumer, MOVE_LIMIT, MOVER_LOCK, "1" if force else "0")
        calls = [call_of(MOVE, (q.due, q.body, q.stream, q.where, q.mover), args) for q in queues]
        moved = []
        for reply in await self._scripts(self._control, calls):
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

    async def _scripts(self, link: Link, calls: Sequence[Command]) -> list[Any]:
        replies = await link.batch(calls)
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:  # the server was restarted or its scripts flushed; these calls did not run
            again = await link.batch([("SCRIPT", "LOAD", s.text) for s in ALL] + [calls[i] for i in unknown])
            for i, reply in zip(unknown, again[len(ALL) :], strict=True):
                replies[i] = reply
        return replies


def _all_or_partly(replies: Sequence[Found | Exception]) -> Found:
    """What several reads gave; raises PartlyRead when some were refused and others gave something."""
    found = [one for reply in replies if not isinstance(reply, Exception) for one in reply]
    for reply in replies:
        if isinstance(reply, Exception):
            raise PartlyRead(found, reply) if found else reply
    return found


def _taken(stream: str, reply: Any) -> Found | Exception:
    if isinstance(reply, Exception):
        return reply
    return [(stream, [Entry(e[0], e[1], e[3] + 1) for e in reply[2]])] if reply[2] else []


def _entries(reply: Any) -> Found:
    """XREADGROUP's reply; entries have two elements without CLAIM (first deliveries), four with it."""
    if not reply:
        return []
    return [
        (stream.decode(), [Entry(e[0], e[1], e[3] + 1 if len(e) > 2 else 1) for e in entries if e[1] is not None])
        for stream, entries in reply
    ]
