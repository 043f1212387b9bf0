"""The clients of a process that sends: a conversation with Redis is data, and either client carries it."""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, TypeVar

from streamtask.address import Address, safe_url
from streamtask.broker.bundles import Bundles
from streamtask.broker.link import CONNECTION_ERRORS, LinkPool, SyncLinkPool
from streamtask.broker.sending import CHUNK, After, Again, Item, Receipts, Sending, Turn
from streamtask.embedded import ensure
from streamtask.errors import NoRedis, SendError

T = TypeVar("T")
#: A conversation as data: yields commands, is sent their replies, returns what it found out.
Steps = Generator[Turn, list[Any], T]


class _Client(NamedTuple):
    """What sends in one event loop."""

    pool: LinkPool
    bundles: Bundles


class Sender:
    """One app's clients in this process: an asyncio pool a loop, and one blocking pool; all dropped after a fork."""

    def __init__(self, where: Address, namespace: str, timeout: float, size: int = 50) -> None:
        """`size`: connections of an event loop at most."""
        self.address, self.namespace, self._size = where, namespace, size
        self._url, self._timeout = where.url, timeout
        self._sending = Sending(namespace, timeout)
        self._sync: SyncLinkPool | None = None
        self._loops: dict[asyncio.AbstractEventLoop, _Client] = {}
        ref = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forget(ref()))

    def send(self, outgoing: Sequence[Item]) -> Receipts:
        """Send all, a thousand a round trip; a refusal stands at its message's place.

        Raises SendError when Redis is away, and MaybeSent when answers were lost.
        """
        return self.drive(self._sending.send(outgoing))

    async def asend(self, outgoing: Sequence[Item]) -> Receipts:
        """The asyncio twin of `send`."""
        if len(outgoing) == 1 and not outgoing[0].scripted:
            return [await self._client().bundles.send(outgoing[0])]
        return await self.adrive(self._sending.send(outgoing))

    def send_each(self, items: Sequence[Item]) -> Receipts:
        """Send all of one stream, a thousand a round trip; each one's receipt, or the error of its own."""
        receipts: Receipts = []
        for start in range(0, len(items), CHUNK):
            receipts += self.drive(self._sending.send_apart(items[start : start + CHUNK]))
        return receipts

    async def asend_each(self, items: Sequence[Item]) -> Receipts:
        """The asyncio twin of `send_each`; what comes one by one, side by side, goes in one write."""
        if len(items) == 1 and not items[0].scripted:
            try:
                return [await self._client().bundles.send(items[0])]
            except SendError as error:
                return [error]
        receipts: Receipts = []
        for start in range(0, len(items), CHUNK):
            receipts += await self.adrive(self._sending.send_apart(items[start : start + CHUNK]))
        return receipts

    def drive(self, steps: Steps[T]) -> T:
        """Carry a conversation over the blocking client."""
        if self._sync is None:
            self._sync = SyncLinkPool(self.url(), timeout=self._timeout)
        try:
            turn = next(steps)
            while True:
                try:
                    if isinstance(turn, Again):
                        time.sleep(turn.pause)
                        replies = self._sync.once(turn.commands, turn.timeout)
                    elif isinstance(turn, After):
                        time.sleep(turn.pause)
                        replies = self._sync.batch(turn.commands)
                    else:
                        replies = self._sync.batch(turn)
                except CONNECTION_ERRORS as error:
                    turn = steps.throw(self.unreachable(error))
                else:
                    turn = steps.send(replies)
        except StopIteration as end:
            found: T = end.value
            return found

    async def adrive(self, steps: Steps[T]) -> T:
        """Carry a conversation over the running loop's client."""
        pool = self._client().pool
        try:
            turn = next(steps)
            while True:
                try:
                    if isinstance(turn, Again):
                        await asyncio.sleep(turn.pause)
                        replies = await pool.once(turn.commands, turn.timeout)
                    elif isinstance(turn, After):
                        await asyncio.sleep(turn.pause)
                        replies = await pool.batch(turn.commands)
                    else:
                        replies = await pool.batch(turn)
                except CONNECTION_ERRORS as error:
                    turn = steps.throw(self.unreachable(error))
                else:
                    turn = steps.send(replies)
        except StopIteration as end:
            found: T = end.value
            return found

    async def adetached(self, steps: Steps[T]) -> T:
        """Carry a conversation to its end, also when who waits for it is cancelled."""
        return await asyncio.shield(asyncio.ensure_future(self.adrive(steps)))

    def _client(self) -> _Client:
        """The running loop's."""
        loop = asyncio.get_running_loop()
        client = self._loops.get(loop)
        if client is None:
            for known in list(self._loops):
                if known.is_closed():  # nobody can close its connections any more; they end with their pool
                    self._loops.pop(known, None)
            pool = LinkPool(self.url(), timeout=self._timeout, size=self._size)
            bundles = Bundles(lambda items: self.adrive(self._sending.send_apart(items)))
            client = self._loops[loop] = _Client(pool, bundles)
        return client

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
        client = self._loops.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.pool.close()


#: Clients that a forked child found in its memory. Kept, for to close them would end the parent's connections.
_inherited: list[object] = []


def _forget(sender: Sender | None) -> None:
    """In a forked child: the parent's connections are the parent's."""
    if sender is not None:
        _inherited.append((sender._sync, sender._loops))
        sender._sync = None
        sender._loops = {}
        sender._sending.forked()
