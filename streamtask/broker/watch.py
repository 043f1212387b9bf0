"""Listening on a channel: how who waits for a result learns of its end at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Self

import redis.asyncio.connection as aio
import redis.connection as blocking
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from streamtask.broker.link import arguments_of

#: Why a watch may hear nothing; who waits looks for itself now and then, and is told by that look when Redis is away.
NO_NOTICE = (RedisError, OSError)


class Watch:
    """Listens on one channel; `wait` returns at the first notice, at the timeout, or when the connection was lost."""

    def __init__(self, url: str, channel: str, *, timeout: float) -> None:
        kind, arguments = arguments_of(aio.parse_url, url, timeout, None)
        self._timeout: float = arguments["socket_timeout"]
        self._connection: Any = (kind or aio.Connection)(**(arguments | {"socket_timeout": None}))  # as in Link
        self._channel = channel

    async def __aenter__(self) -> Self:
        with contextlib.suppress(*NO_NOTICE):
            await self._subscribe()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.disconnect(nowait=True)

    async def wait(self, timeout: float) -> None:
        """Wait at most `timeout` seconds."""
        try:
            if not self._connection.is_connected:
                await self._subscribe()
            await self._connection.read_response(timeout=timeout, disconnect_on_error=False)
        except NO_NOTICE:
            await self._connection.disconnect(nowait=True)
            await asyncio.sleep(min(timeout, 0.2))

    async def _subscribe(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._connection.connect()
                packed = self._connection.pack_command("SUBSCRIBE", self._channel)
                await self._connection.send_packed_command(packed, check_health=False)
                await self._connection.read_response()
        except BaseException as error:
            await self._connection.disconnect(nowait=True)
            if isinstance(error, TimeoutError):
                raise RedisTimeoutError(f"no answer within {self._timeout:g} s") from None
            raise


class SyncWatch:
    """The blocking twin of `Watch`."""

    def __init__(self, url: str, channel: str, *, timeout: float) -> None:
        kind, arguments = arguments_of(blocking.parse_url, url, timeout, None)
        self._connection: Any = (kind or blocking.Connection)(**arguments)
        self._channel = channel

    def __enter__(self) -> Self:
        with contextlib.suppress(*NO_NOTICE):
            self._subscribe()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.disconnect()

    def wait(self, timeout: float) -> None:
        """Wait at most `timeout` seconds."""
        try:
            if not self._connection.is_connected:
                self._subscribe()
            if self._connection.can_read(timeout=timeout):
                self._connection.read_response()
        except NO_NOTICE:
            self._connection.disconnect()
            time.sleep(min(timeout, 0.2))

    def _subscribe(self) -> None:
        self._connection.connect()
        self._connection.send_packed_command(
            self._connection.pack_command("SUBSCRIBE", self._channel), check_health=False
        )
        self._connection.read_response()
