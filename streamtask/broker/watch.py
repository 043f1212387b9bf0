"""Listening on a channel from a thread: how who waits for a result learns of its end at once. See also `notices`."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Self

import redis.connection as blocking
from redis.exceptions import RedisError

from streamtask.broker.link import arguments_of

#: Why a watch may hear nothing; who waits looks for itself now and then, and is told by that look when Redis is away.
NO_NOTICE = (RedisError, OSError)


class SyncWatch:
    """Listens on one channel; `wait` returns at the first notice, at the timeout, or when the connection was lost."""

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
