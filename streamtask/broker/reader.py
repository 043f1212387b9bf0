"""Reads for one consumer group: what is new, what was given back, what nobody has renewed.

One XREADGROUP names one group, so each group of a worker has a reader, with a connection of its own: a read that waits
keeps it busy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from streamtask.broker.keys import QueueKeys
from streamtask.broker.link import READ_TIMEOUT, Arg, Command, Link, ResponseError, call_of, run_all
from streamtask.broker.scripts import READ

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


class Reader:
    """Of one group. `control` is the connection that ends a read which waits; `native()` tells whether the server has
    XREADGROUP ... CLAIM. Methods raise redis-py's errors.
    """

    def __init__(self, url: str, consumer: str, group: str, control: Link, native: Callable[[], bool]) -> None:
        self.group, self._consumer, self._control, self._native = group, consumer, control, native
        self._link = Link(url, timeout=BLOCK + READ_TIMEOUT, name=consumer)
        self._client_id: int | None = None
        self._block = BLOCK

    @property
    def native(self) -> bool:
        """Does the server have XREADGROUP ... CLAIM?"""
        return self._native()

    async def fetch(
        self, wants: Sequence[tuple[QueueKeys, int]], wait: float | None, *, given_back: bool = True
    ) -> Found:
        """Read up to a count from each stream: new messages and, by native CLAIM, what was given back.

        With `wait` the read blocks for so many seconds at most while there is nothing; COUNT is one number for all
        streams then. `given_back=False` leaves that to others.
        """
        if wait is None and len(wants) > 1:
            alike = [[want for want in wants if want[1] == count] for count in {count for _, count in wants}]
            replies = await self._link.batch([self._read(group, None, given_back) for group in alike])
            return _all_or_partly([reply if isinstance(reply, Exception) else _entries(reply) for reply in replies])
        await self._know_client()
        block = None if wait is None else max(0.001, min(wait, self._block))
        return _entries(await self._link.call(*self._read(wants, block, given_back)))

    async def take(
        self, wants: Sequence[tuple[QueueKeys, int]], leases: Sequence[float], deadline: int | None
    ) -> Taken:
        """What was given back and, unless the server's time is past `deadline` (ms), what has been idle for its queue's
        lease (seconds). None: only what was given back.
        """
        await self._know_client()
        native = "1" if self.native else "0"
        calls = [
            call_of(
                READ,
                [keys.stream],
                (
                    keys.group,
                    self._consumer,
                    count,
                    0 if deadline is None else int(lease * 1000),
                    deadline or 0,
                    native,
                ),
            )
            for (keys, count), lease in zip(wants, leases, strict=True)
        ]
        replies = await run_all(self._link, calls)
        found = _all_or_partly([_taken(keys.stream, reply) for (keys, _), reply in zip(wants, replies, strict=True)])
        waits = [None if reply[1] < 0 else reply[1] / 1000 for reply in replies]
        return Taken(found, waits, max(reply[0] for reply in replies))

    async def unblock(self) -> None:
        """End a read that waits in Redis; what it would have read stays in the stream.

        A read that is still on its way there is not ended, so who needs its end asks again. Where the right to do this
        is missing, later reads wait for BLOCK_SHORT only.
        """
        if self._client_id is not None and self._link.connected:
            try:
                await self._control.call("CLIENT", "UNBLOCK", self._client_id)
            except ResponseError:
                self._block = BLOCK_SHORT

    async def close(self) -> None:
        """Close the connection."""
        await self._link.close()

    def _read(self, wants: Sequence[tuple[QueueKeys, int]], block: float | None, given_back: bool) -> Command:
        count = min(count for _, count in wants)
        command: list[Arg] = ["XREADGROUP", "GROUP", self.group, self._consumer, "COUNT", count]
        if block is not None:
            command += ("BLOCK", int(block * 1000))
        if self.native and given_back:
            command += ("CLAIM", GIVEN_BACK)
        return [*command, "STREAMS", *(keys.stream for keys, _ in wants), *(">" for _ in wants)]

    async def _know_client(self) -> None:
        if not self._link.connected:
            self._client_id = await self._link.call("CLIENT", "ID")


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
