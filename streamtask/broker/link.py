"""Connections: redis-py's connection and parser objects used directly, one command or one batch at a time.

A link has no retry of its own. Redis-py's would send a command again whose answer was lost, which doubles an XADD and
takes a second message with XREADGROUP; who calls knows what may be repeated. All traps of redis-py 8 are set here and
nowhere else: no retry, RESP2 with raw replies, a read timeout that the caller of a blocking command widens, no CLIENT
SETINFO.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import redis.asyncio.connection as aio
import redis.connection as blocking
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from streamtask.address import safe_url
from streamtask.broker.scripts import ALL, Script
from streamtask.errors import ConfigError

Arg: TypeAlias = str | bytes | int | float
Command: TypeAlias = Sequence[Arg]

#: Seconds to wait for a connection, and for an answer that does not block.
CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 5.0
#: Bytes beyond which commands are sent in more than one piece, so that large ones are not copied once more.
PIECE = 32_768

#: What a disconnected or unreachable server looks like.
CONNECTION_ERRORS = (RedisConnectionError, RedisTimeoutError, OSError)
#: Refusals that redis-py counts as connection errors: the command was answered, and did not run.
_REFUSALS = (AuthenticationError, BusyLoadingError)
#: Errors of a server that will be able again: beginnings of their texts, beside the connection errors.
_PASSING = (
    "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOREPLICAS", "MISCONF", "NOSCRIPT",
    "BUSY", "UNBLOCKED", "OOM", "command not allowed when used memory", "Redis is loading",
    "You can't write against a read only", "No matching script",
)  # fmt: skip

#: Parts of what servers say of a stream or a group that is not there.
_GONE = ("NOGROUP", "no such key", "requires the key to exist")


class Cut(RedisConnectionError):
    """The connection failed after commands had been sent. `replies` came before; the other commands ran or did not.

    `refused`: the first of the others was refused, so that one surely did not run.
    """

    def __init__(self, error: BaseException, replies: list[Any]) -> None:
        super().__init__(str(error))
        self.replies, self.refused = replies, isinstance(error, _REFUSALS)


def passing(error: BaseException | str) -> bool:
    """Will the same command be able to succeed later?"""
    return isinstance(error, CONNECTION_ERRORS) or str(error).startswith(_PASSING)


def group_is_gone(error: ResponseError) -> bool:
    """Was a command refused because its stream or group is not there: FLUSHALL, DEL, or a failover?"""
    return any(text in str(error) for text in _GONE)


def arguments_of(parser: Any, url: str, timeout: float, name: str | None) -> tuple[type[Any], dict[str, Any]]:
    """What makes redis-py's connection for a URL: its class and arguments. `timeout` in seconds."""
    try:
        arguments = dict(parser(url))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{safe_url(url)!r} is no Redis URL: {error}; write redis://host:6379/0") from None
    kind = arguments.pop("connection_class", None)
    defaults = {"socket_connect_timeout": min(CONNECT_TIMEOUT, timeout), "socket_timeout": timeout, "client_name": name}
    traps = {"protocol": 2, "retry": Retry(NoBackoff(), 0), "driver_info": None, "decode_responses": False}
    return kind, defaults | arguments | traps


def call_of(script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Command:
    """The command that runs a script by its hash."""
    return ("EVALSHA", script.sha, len(keys), *keys, *args)


def packed(commands: Sequence[Command]) -> Iterator[bytes]:
    """Commands as bytes to send, some KiB a piece. By hiredis alone: redis-py looks at each argument first."""
    piece: list[bytes] = []
    size = 0
    for command in commands:
        data: bytes = pack_command(tuple(command))  # type: ignore[arg-type]  # its stub says: a tuple of one
        piece.append(data)
        size += len(data)
        if size > PIECE:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)


class Link:
    """One asyncio connection that connects by itself; calls wait for each other.

    Raises redis-py's errors: ConnectionError and TimeoutError when the server is away, ResponseError for its refusals.
    The timeout is ours, not redis-py's: its sends go through `asyncio.wait_for`, which before Python 3.12 may lose the
    cancellation of who waits, so that a loop that was told to end goes on for ever.
    """

    def __init__(self, url: str, *, timeout: float = READ_TIMEOUT, name: str | None = None) -> None:
        kind, arguments = arguments_of(aio.parse_url, url, timeout, name)
        self._timeout: float = arguments["socket_timeout"]
        self._connection: Any = (kind or aio.Connection)(**(arguments | {"socket_timeout": None}))
        self._lock = asyncio.Lock()

    @property
    def connected(self) -> bool:
        """Is there a connection now?"""
        return bool(self._connection.is_connected)

    async def call(self, *command: Arg) -> Any:
        """Send one command and return its raw reply."""
        (reply,) = await self.batch([command])
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        """Run a script; a server that does not know it (any more) gets its text."""
        try:
            return await self.call(*call_of(script, keys, args))
        except NoScriptError:
            return await self.call("EVAL", script.text, len(keys), *keys, *args)

    async def batch(self, commands: Sequence[Command]) -> list[Any]:
        """Send many commands in one write; an error reply stands in the list as an exception.

        Raises Cut when the connection fails after that: some may have run.
        """
        replies: list[Any] = []
        async with self._lock:
            sent = False
            try:
                async with asyncio.timeout(self._timeout):
                    if not self._connection.is_connected:
                        await self._connection.connect()
                    sent = True
                    await self._exchange(commands, replies)
                    return replies
            except BaseException as error:
                await self.close()  # what is still to come would be taken for the next command's reply
                late = isinstance(error, TimeoutError)
                cause = RedisTimeoutError(f"no answer within {self._timeout:g} s") if late else error
                if sent and isinstance(cause, CONNECTION_ERRORS):
                    raise Cut(cause, replies) from cause
                if late:
                    raise cause from None
                raise

    async def refresh(self) -> None:
        """Drop a connection that the server closed while it lay idle, as at a restart; the next call connects anew."""
        if self._connection.is_connected and await self._connection.can_read():
            await self.close()

    async def close(self) -> None:
        """Close the connection; a later call opens it again."""
        await self._connection.disconnect(nowait=True)

    async def _exchange(self, commands: Sequence[Command], replies: list[Any]) -> None:
        connection = self._connection
        await connection.send_packed_command(list(packed(commands)), check_health=False)
        # The parser's own, which gives refusals as replies; the connection's looks up its host's name for each.
        read = connection._parser.read_response
        for _ in commands:
            replies.append(await read())  # noqa: PERF401 - what came before an error is kept


async def run_all(link: Link, calls: Sequence[Command]) -> list[Any]:
    """Run prepared script calls in one write; errors stand in the list. A server that does not know the scripts (any
    more) gets their texts.
    """
    replies = await link.batch(calls)
    unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if unknown:  # the server was restarted or its scripts flushed; these calls did not run
        again = await link.batch([("SCRIPT", "LOAD", s.text) for s in ALL] + [calls[i] for i in unknown])
        for i, reply in zip(unknown, again[len(ALL) :], strict=True):
            replies[i] = reply
    return replies


class LinkPool:
    """Links of one event loop for callers that come side by side; at most `size` are open."""

    def __init__(self, url: str, *, timeout: float, name: str | None = None, size: int = 50) -> None:
        self._make: Callable[[float], Link] = lambda timeout: Link(url, timeout=timeout, name=name)
        self._timeout = timeout
        self._idle: list[Link] = []
        self._places = asyncio.Semaphore(size)

    async def batch(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands on a free link; see `Link.batch`."""
        async with self._places:
            link = self._idle.pop() if self._idle else self._make(self._timeout)
            try:
                await link.refresh()
                return await link.batch(commands)
            finally:
                self._idle.append(link)

    async def once(self, commands: Sequence[Command], timeout: float) -> list[Any]:
        """Send commands on a link of their own that waits no longer than `timeout` seconds."""
        link = self._make(timeout)
        try:
            return await link.batch(commands)
        finally:
            await link.close()

    async def close(self) -> None:
        """Close all idle links."""
        while self._idle:
            await self._idle.pop().close()


class SyncLink:
    """The blocking twin of `Link`, for threads: calls wait for each other."""

    def __init__(self, url: str, *, timeout: float = READ_TIMEOUT, name: str | None = None) -> None:
        kind, arguments = arguments_of(blocking.parse_url, url, timeout, name)
        self._connection: Any = (kind or blocking.Connection)(**arguments)
        self._lock = threading.Lock()

    def call(self, *command: Arg) -> Any:
        """Send one command and return its raw reply."""
        (reply,) = self.batch([command])
        if isinstance(reply, Exception):
            raise reply
        return reply

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        """Run a script; a server that does not know it (any more) gets its text."""
        try:
            return self.call(*call_of(script, keys, args))
        except NoScriptError:
            return self.call("EVAL", script.text, len(keys), *keys, *args)

    def batch(self, commands: Sequence[Command]) -> list[Any]:
        """Send many commands in one write; an error reply stands in the list as an exception.

        Raises Cut when the connection fails after that: some may have run.
        """
        replies: list[Any] = []
        with self._lock:
            connection = self._connection
            connection.connect()
            try:
                # Piece by piece: Redis is at work on the first ones while the others are packed.
                connection.send_packed_command(packed(commands), check_health=False)
                read = connection._parser.read_response  # as in Link
                for _ in commands:
                    replies.append(read())  # noqa: PERF401 - what came before an error is kept
                return replies
            except BaseException as error:
                connection.disconnect()
                if isinstance(error, CONNECTION_ERRORS):
                    raise Cut(error, replies) from error
                raise

    def refresh(self) -> None:
        """Drop a connection that the server closed while it lay idle, as in `Link.refresh`."""
        try:
            stale = self._connection.is_connected and self._connection.can_read(timeout=0)
        except CONNECTION_ERRORS:
            stale = True
        if stale:
            self.close()

    def close(self) -> None:
        """Close the connection; a later call opens it again."""
        self._connection.disconnect()


class SyncLinkPool:
    """Blocking links for the threads of a process."""

    def __init__(self, url: str, *, timeout: float, name: str | None = None) -> None:
        self._make: Callable[[float], SyncLink] = lambda timeout: SyncLink(url, timeout=timeout, name=name)
        self._timeout = timeout
        self._idle: list[SyncLink] = []

    def batch(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands on a free link; see `Link.batch`."""
        try:
            link = self._idle.pop()
        except IndexError:
            link = self._make(self._timeout)
        try:
            link.refresh()
            return link.batch(commands)
        finally:
            self._idle.append(link)

    def once(self, commands: Sequence[Command], timeout: float) -> list[Any]:
        """Send commands on a link of their own that waits no longer than `timeout` seconds for each answer."""
        link = self._make(timeout)
        try:
            return link.batch(commands)
        finally:
            link.close()

    def close(self) -> None:
        """Close all idle links."""
        while self._idle:
            self._idle.pop().close()


__all__ = [
    "CONNECTION_ERRORS", "Arg", "Command", "Cut", "Link", "LinkPool", "NoPermissionError", "NoScriptError",
    "OutOfMemoryError", "RedisError", "ResponseError", "SyncLink", "SyncLinkPool", "arguments_of", "call_of", "passing",
    "run_all", "safe_url",
]  # fmt: skip
