"""Sending: a producer's command is built once, as data; the blocking or the asyncio client carries it."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from streamtask.address import Address, safe_url
from streamtask.broker import keys as names
from streamtask.broker.keys import QueueKeys
from streamtask.broker.link import (
    CONNECTION_ERRORS,
    Command,
    LinkPool,
    NoScriptError,
    SyncLinkPool,
    call_of,
)  # fmt: skip
from streamtask.broker.scripts import ALL, DEFER, ENQ
from streamtask.context import Context
from streamtask.embedded import ensure
from streamtask.errors import NoRedis, SendError
from streamtask.message import Message, new_id
from streamtask.options import CallOptions

#: Messages in one round trip of `delay_many`.
CHUNK = 1000
#: Milliseconds for which a `message_id` chosen by the caller is remembered: 7 days.
MESSAGE_ID_TTL = 7 * 86_400_000
T = TypeVar("T")
#: A conversation as data: yields commands, is sent their replies, returns what it found out.
Steps = Generator[list[Command], list[Any], T]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What Redis said: the entry id where there is one, or the id of the message that was there before."""

    entry_id: str | None = None
    holder: str | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """On its way; `due` is ms from now, or since the epoch if `absolute`; `locks` are keys and their ttl in ms."""

    message: Message
    queue: str
    keys: QueueKeys
    due: int | None = None
    absolute: bool = False
    locks: tuple[tuple[str, int], ...] = ()

    def command(self) -> Command:
        """XADD where nothing more is asked for, else the script that is needed."""
        fields = self.message.fields()
        if self.due is not None:
            when = (self.due, 1 if self.absolute else 0)
            lock_args = (len(self.locks), *(ttl for _, ttl in self.locks))
            keys = (self.keys.due, self.keys.body, *(key for key, _ in self.locks))
            return call_of(DEFER, keys, (self.message.id, *when, *lock_args, *fields))
        if self.locks:
            keys = (self.keys.stream, *(key for key, _ in self.locks))
            return call_of(ENQ, keys, (self.message.id, len(self.locks), *(ttl for _, ttl in self.locks), *fields))
        return ("XADD", self.keys.stream, "*", *fields)

    def receipt(self, reply: Any) -> Receipt:
        """Read the command's reply."""
        if isinstance(reply, bytes):
            return Receipt(entry_id=reply.decode())
        status, text = reply
        if status == 1:
            return Receipt(entry_id=None if self.due is not None else text.decode())
        return Receipt(holder=self.message.id if status == 2 else text.decode())


def build(
    keys: QueueKeys,
    task: str,
    queue: str,
    args: bytes,
    meta: dict[str, Any],
    call: CallOptions,
    lock: tuple[str, int, str] | None,
    context: Context | None,
) -> Outgoing:
    """A message and how it must be sent. `lock` is a unique key: its hash, its ttl in ms, the meta's `unique`."""
    message_id = call.message_id or new_id()
    locks: tuple[tuple[str, int], ...] = ()
    if call.message_id:
        locks = ((keys.sent(message_id), MESSAGE_ID_TTL),)
    if lock is not None:
        locks = (*locks, (keys.unique(task, lock[0]), lock[1]))
    if context is not None:
        meta = {**meta, "parent": context.id, "root": context.root}
    due, absolute = None, False
    if call.eta is not None:
        due, absolute = int(call.eta.timestamp() * 1000), True
    elif call.countdown:
        due = int(call.countdown * 1000)
    if due is not None:
        meta = {**meta, "deferred": True}  # tells the worker that `where` knows this message
    return Outgoing(Message(message_id, task, args, meta), queue, keys, due, absolute, locks)


class Sender:
    """One app's clients in this process: an asyncio pool a loop, and one blocking pool; all dropped after a fork."""

    def __init__(self, where: Address, namespace: str, timeout: float) -> None:
        self.address, self.namespace = where, namespace
        self._url, self._timeout = where.url, timeout
        self._announced: set[str] = set()
        self._sync: SyncLinkPool | None = None
        self._loops: dict[asyncio.AbstractEventLoop, LinkPool] = {}
        ref = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forget(ref()))

    def send(self, outgoing: Sequence[Outgoing]) -> list[Receipt | Exception]:
        """Send all, a thousand a round trip; an error stands at its message's place, SendError when Redis is away."""
        return self.drive(self._sending(outgoing))

    async def asend(self, outgoing: Sequence[Outgoing]) -> list[Receipt | Exception]:
        """The asyncio twin of `send`."""
        return await self.adrive(self._sending(outgoing))

    def drive(self, steps: Steps[T]) -> T:
        """Carry a conversation over the blocking client."""
        if self._sync is None:
            self._sync = SyncLinkPool(self.url(), timeout=self._timeout)
        try:
            commands = next(steps)
            while True:
                try:
                    replies = self._sync.batch(commands)
                except CONNECTION_ERRORS as error:
                    commands = steps.throw(self.unreachable(error))
                else:
                    commands = steps.send(replies)
        except StopIteration as end:
            found: T = end.value
            return found

    async def adrive(self, steps: Steps[T]) -> T:
        """Carry a conversation over the running loop's client."""
        pool = self._pool()
        try:
            commands = next(steps)
            while True:
                try:
                    replies = await pool.batch(commands)
                except CONNECTION_ERRORS as error:
                    commands = steps.throw(self.unreachable(error))
                else:
                    commands = steps.send(replies)
        except StopIteration as end:
            found: T = end.value
            return found

    def _pool(self) -> LinkPool:
        loop = asyncio.get_running_loop()
        pool = self._loops.get(loop)
        if pool is None:
            for known in list(self._loops):
                if known.is_closed():  # nobody can close its connections any more; they end with their pool
                    self._loops.pop(known, None)
            pool = self._loops[loop] = LinkPool(self.url(), timeout=self._timeout)
        return pool

    def url(self) -> str:
        """The server's URL. A private server is started here when the address asks for one and it does not run (any
        more).
        """
        if self.address.url.startswith("embedded://"):
            self._url = ensure(self.address.url)
        return self._url

    def unreachable(self, error: BaseException) -> SendError:
        """The error that says what to do when Redis does not answer."""
        found: SendError
        if self.address.source == "default":
            found = NoRedis(
                f"no Redis at {self._url} and no address was given. Set STREAMTASK_URL=redis://host:6379/0, "
                "pass StreamTask(name, url), or run `streamtask dev` for a private server (and set "
                "STREAMTASK_URL=embedded:// in the terminals beside it)"
            )
        else:
            found = SendError(f"Redis at {safe_url(self._url)} (from {self.address.source}) did not answer: {error}")
        found.__cause__ = error
        return found

    def close(self) -> None:
        """Close the blocking client; it opens again when needed."""
        if self._sync is not None:
            self._sync.close()

    async def aclose(self) -> None:
        """Close the running loop's client; it opens again when needed."""
        pool = self._loops.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.close()

    def _sending(self, outgoing: Sequence[Outgoing]) -> Steps[list[Receipt | Exception]]:
        receipts: list[Receipt | Exception] = []
        for start in range(0, len(outgoing), CHUNK):
            try:
                receipts += yield from self._chunk(outgoing[start : start + CHUNK])
            except SendError as error:  # the chunks before it were answered; of this one, some may have been accepted
                refused = {i: receipt for i, receipt in enumerate(receipts) if isinstance(receipt, Exception)}
                error.errors = refused | dict.fromkeys(range(start, len(outgoing)), error)
                raise
        return receipts

    def _chunk(self, chunk: Sequence[Outgoing]) -> Steps[list[Receipt | Exception]]:
        fresh = {item.queue for item in chunk} - self._announced
        announcement: list[Command] = []
        if fresh:
            announcement = [("SADD", names.queues(self.namespace), *fresh), ("SADD", names.NAMESPACES, self.namespace)]
        replies = yield [*announcement, *(item.command() for item in chunk)]
        if not any(isinstance(reply, Exception) for reply in replies[: len(announcement)]):
            self._announced |= fresh
        replies = replies[len(announcement) :]
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            again = yield [("SCRIPT", "LOAD", s.text) for s in ALL] + [chunk[i].command() for i in unknown]
            for i, reply in zip(unknown, again[len(ALL) :], strict=True):
                replies[i] = reply
        pairs = zip(chunk, replies, strict=True)
        return [reply if isinstance(reply, Exception) else item.receipt(reply) for item, reply in pairs]


#: Clients that a forked child found in its memory. Kept, for to close them would end the parent's connections.
_inherited: list[object] = []


def _forget(sender: Sender | None) -> None:
    """In a forked child: the parent's connections are the parent's."""
    if sender is not None:
        _inherited.append((sender._sync, sender._loops))
        sender._sync = None
        sender._loops = {}
