"""What the hub asks of Redis: the one place in it that knows commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamtask.broker.link import CONNECTION_ERRORS, Command, LinkPool, ResponseError

#: Seconds that an answer may take.
TIMEOUT = 5.0


class Away(Exception):
    """Redis did not answer, or refused for now. The text is for the log, never for a client."""


class NoStream(Exception):
    """There is no such stream."""


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A consumer group, as XINFO tells it."""

    name: str
    consumers: int
    pending: int
    last_delivered_id: str


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream, as XINFO tells it."""

    length: int
    radix_tree_keys: int
    radix_tree_nodes: int
    first_entry_id: str
    last_entry_id: str
    groups: tuple[GroupInfo, ...]


class Streams:
    """The streams of one Redis, over a pool of `size` connections. Methods raise Away when Redis is."""

    def __init__(self, url: str, size: int) -> None:
        self.url = url
        self._pool = LinkPool(url, timeout=TIMEOUT, name="hub", size=size)

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()

    async def ping(self) -> None:
        """Does Redis answer?"""
        await self._one("PING")

    async def publish(self, stream: str, entries: Sequence[Sequence[bytes | str]]) -> list[str | Exception]:
        """Add entries (flat fields) in one round trip: their ids, or at an entry's place why it was refused."""
        replies = await self._batch([("XADD", stream, "*", *fields) for fields in entries])
        return [reply if isinstance(reply, Exception) else reply.decode() for reply in replies]

    async def create_group(self, stream: str, group: str, start: str) -> None:
        """Make a consumer group, and its stream; one that is there stays as it is."""
        try:
            await self._one("XGROUP", "CREATE", stream, group, start, "MKSTREAM")
        except Away as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def info(self, stream: str) -> StreamInfo:
        """How a stream stands; NoStream when it is not there."""
        facts, groups = await self._batch([("XINFO", "STREAM", stream), ("XINFO", "GROUPS", stream)])
        for reply in (facts, groups):
            if isinstance(reply, Exception):
                raise NoStream(stream) if "no such key" in str(reply) else Away(str(reply)) from reply
        return _stream(facts, [_group(flat) for flat in groups])

    async def _one(self, *command: str | bytes | int) -> Any:
        (reply,) = await self._batch([command])
        if isinstance(reply, Exception):
            raise Away(str(reply)) from reply
        return reply

    async def _batch(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return await self._pool.batch(commands)
        except (*CONNECTION_ERRORS, ResponseError) as error:
            raise Away(str(error) or type(error).__name__) from error


def _pairs(flat: Sequence[Any]) -> dict[str, Any]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _stream(flat: Sequence[Any], groups: Sequence[GroupInfo]) -> StreamInfo:
    facts = _pairs(flat)
    first, last = facts["first-entry"], facts["last-entry"]
    return StreamInfo(
        length=facts["length"],
        radix_tree_keys=facts["radix-tree-keys"],
        radix_tree_nodes=facts["radix-tree-nodes"],
        first_entry_id=first[0].decode() if first else "",
        last_entry_id=last[0].decode() if last else "",
        groups=tuple(groups),
    )


def _group(flat: Sequence[Any]) -> GroupInfo:
    facts = _pairs(flat)
    name, last = facts["name"].decode(errors="replace"), facts["last-delivered-id"].decode()
    return GroupInfo(name, facts["consumers"], facts["pending"], last)
