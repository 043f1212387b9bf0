"""What the hub asks of Redis: the one module of it that knows commands.

All goes over the pool of the app's sender, except for a wait for a reply, which has a connection of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from streamtask.app import StreamTask
from streamtask.broker import keys
from streamtask.broker.link import CONNECTION_ERRORS, Command, Link, NoScriptError, ResponseError, call_of
from streamtask.broker.publishing import Publication
from streamtask.broker.scripts import TRIM
from streamtask.broker.sender import Steps
from streamtask.broker.server import Server, answers, questions
from streamtask.errors import SendError
from streamtask.message import new_ids
from streamtask.topic import TopicLimits

#: Seconds that the answer to a wait may take beyond the wait.
MARGIN = 5.0
#: Seconds for which a reply stream stays after its last use, so that a late reply leaves nothing behind.
REPLY_TTL = 300


class Away(Exception):
    """Redis did not answer, or refused. The text is for the log, never for a client."""


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


class Redis:
    """The verbs. Methods raise Away when Redis does not do what was asked."""

    def __init__(self, app: StreamTask, limits: TopicLimits) -> None:
        self._app, self._limits = app, limits

    async def ping(self) -> None:
        """Does Redis answer?"""
        await self._one("PING")

    async def probe(self) -> Server:
        """What the server is; SendError when it does not answer."""
        return await self._app.post.adrive(_probe(self._app.namespace))

    async def publish(self, stream: str, events: Sequence[Sequence[bytes | str]]) -> list[str | Exception]:
        """Add events (flat fields) in one round trip: entry ids, or at its place why one was not added.

        What was sent and not answered is sent again, and is there once: by an id of our own, for whoever publishes an
        event id twice gets two entries, as from mq-hub.
        """
        ids = new_ids(len(events))
        items = [Publication(id, "event", fields, stream, self._limits) for id, fields in zip(ids, events, strict=True)]
        try:
            receipts = await self._app.post.apublish(items)
        except SendError as error:
            return [error] * len(items)
        return [receipt if isinstance(receipt, Exception) else str(receipt.entry_id) for receipt in receipts]

    async def trim(self, stream: str) -> tuple[int, int]:
        """Keep a stream within its limits: how many went because all groups had them, and how many were given up."""
        limits = self._limits
        args = (limits.max_length, limits.hard_max_length, limits.overflow)
        call = call_of(TRIM, (stream, keys.lost(stream)), args)
        try:
            done, given_up = await self._one(*call)
        except Away as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
            done, given_up = await self._one("EVAL", TRIM.text, *call[2:])
        return done, given_up

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

    async def is_queue(self, namespace: str, queue: str) -> bool:
        """Is there a queue of this name?"""
        return bool(await self._one("SISMEMBER", keys.queues(namespace), queue))

    async def open_reply(self, stream: str, seconds: float) -> None:
        """Make an empty reply stream that ends by itself: a reply that comes late falls into it and goes with it."""
        for reply in await self._batch(
            [("XGROUP", "CREATE", stream, "hub", "0", "MKSTREAM"), ("EXPIRE", stream, int(seconds) + REPLY_TTL)]
        ):
            if isinstance(reply, Exception):
                raise Away(str(reply)) from reply

    async def wait_reply(self, stream: str, seconds: float) -> tuple[str, list[bytes]] | None:
        """The first entry of a stream (id and flat fields), or None. On a connection of its own."""
        link = Link(self._app.post.sender.url(), timeout=seconds + MARGIN, name="hub-wait")
        try:
            reply = await link.call("XREAD", "COUNT", 1, "BLOCK", max(1, int(seconds * 1000)), "STREAMS", stream, "0")
        except (*CONNECTION_ERRORS, ResponseError) as error:
            raise Away(str(error) or type(error).__name__) from error
        finally:
            await link.close()
        if not reply:
            return None
        ((_, ((entry_id, flat),)),) = reply
        return entry_id.decode(), flat

    async def close_reply(self, stream: str, answered: bool) -> None:
        """Remove a reply stream; where no answer has come, leave it for REPLY_TTL, for one that comes late."""
        commands: list[Command] = [("EXPIRE", stream, REPLY_TTL)]
        if answered:
            commands.append(("DEL", stream))
        with suppress(Away):  # it has a ttl
            await self._batch(commands)

    async def _one(self, *command: Any) -> Any:
        (reply,) = await self._batch([command])
        if isinstance(reply, Exception):
            raise Away(str(reply)) from reply
        return reply

    async def _batch(self, commands: list[Command]) -> list[Any]:
        try:
            return await self._app.post.adrive(_converse(commands))
        except SendError as error:
            raise Away(str(error)) from error


def _converse(commands: list[Command]) -> Steps[list[Any]]:
    return (yield commands)


def _probe(namespace: str) -> Steps[Server]:
    return answers((yield questions(namespace)))


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
