"""Listening on channels: how who waits for a result learns of its end at once.

All that wait in one event loop share one connection, which is there only while somebody waits, so that a thousand waits
take no more of Redis than one.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Self

import redis.asyncio.connection as aio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from streamtask.broker.link import Arg, arguments_of
from streamtask.broker.watch import NO_NOTICE

#: Seconds: the connection stays so long after the last waiter, is asked so often whether it lives, rests between tries.
LINGER, ASK, REST = 5.0, 15.0, 0.2


class Notices:
    """The notices of one Redis for one event loop."""

    def __init__(self, url: str, *, timeout: float) -> None:
        self._url, self._timeout = url, timeout
        self._listening: dict[bytes, set[Notice]] = {}
        self._subscribed: set[bytes] = set()
        self._connection: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    def on(self, channel: str) -> Notice:
        """Listen on a channel: `async with notices.on(channel) as notice: await notice.wait(1)`."""
        return Notice(self, channel.encode())

    async def close(self) -> None:
        """Close the connection; it opens again when somebody waits."""
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
            self._reader = None

    # -- for Notice ----------------------------------------------------------------------------------------------------

    async def add(self, notice: Notice) -> None:
        """Somebody waits; returns once the server has heard of it, or when it does not answer."""
        known = self._listening.setdefault(notice.channel, set())
        known.add(notice)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._run())
        elif notice.channel in self._subscribed:
            notice.heard.set()
        elif len(known) == 1 and self._connection is not None:
            await self._say("SUBSCRIBE", notice.channel)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await notice.heard.wait()

    async def remove(self, notice: Notice) -> None:
        """Nobody waits there any more."""
        known = self._listening[notice.channel]
        known.discard(notice)
        if known:
            return
        del self._listening[notice.channel]
        self._subscribed.discard(notice.channel)
        if self._connection is not None:
            await self._say("UNSUBSCRIBE", notice.channel)

    # -- the connection ------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                try:
                    await self._connect()
                    if await self._read():
                        return
                except NO_NOTICE:
                    await self._drop()
                    self._unheard()
                    await asyncio.sleep(REST)
                    if not self._listening:
                        return
        finally:
            await self._drop()

    async def _connect(self) -> None:
        kind, arguments = arguments_of(aio.parse_url, self._url, self._timeout, None)
        connection: Any = (kind or aio.Connection)(**(arguments | {"socket_timeout": None}))  # as in Link
        try:
            async with asyncio.timeout(self._timeout):
                await connection.connect()
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, TimeoutError):
                raise RedisTimeoutError(f"no answer within {self._timeout:g} s") from None
            raise
        self._connection = connection
        if self._listening:
            await self._send("SUBSCRIBE", *self._listening)

    async def _read(self) -> bool:
        """Take what comes until nobody has listened for a while (True) or the connection is lost (raises)."""
        asked = False
        while True:
            wait = ASK if self._listening else LINGER
            reply = await self._connection.read_response(timeout=wait, disconnect_on_error=False)
            if reply is not None:
                asked = False
                self._take(reply)
            elif not self._listening:
                return True
            elif asked:
                raise RedisConnectionError("the server does not answer")
            else:
                await self._send("PING")
                asked = True

    def _take(self, reply: Any) -> None:
        kind, channel = bytes(reply[0]), reply[1]
        if kind == b"subscribe" and channel in self._listening:
            self._subscribed.add(channel)
        if kind in (b"subscribe", b"message"):
            for notice in self._listening.get(channel, ()):
                notice.heard.set()
                notice.told.set()  # also of a subscription: what came before it was not heard

    def _unheard(self) -> None:
        """Nobody is to wait for the server to hear of it: it does not answer, or refuses, as a full Redis 8 does."""
        for notices in self._listening.values():
            for notice in notices:
                notice.heard.set()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._subscribed.clear()
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _say(self, *command: Arg) -> None:
        """Send, where a failure is for the reader to find."""
        with contextlib.suppress(*NO_NOTICE):
            await self._send(*command)

    async def _send(self, *command: Arg) -> None:
        async with self._writing:
            connection = self._connection
            if connection is not None:
                await connection.send_packed_command(connection.pack_command(*command), check_health=False)


class Notice:
    """One that listens. `wait` returns at the next notice, at its timeout, or when notices may have been missed."""

    def __init__(self, notices: Notices, channel: bytes) -> None:
        self._notices, self.channel = notices, channel
        self.heard, self.told = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Self:
        try:
            await self._notices.add(self)
        except BaseException:
            await self._notices.remove(self)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._notices.remove(self)

    async def wait(self, timeout: float) -> None:
        """Wait at most `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.told.wait()
        self.told.clear()
