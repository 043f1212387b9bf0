"""The procedures of `services.mqhub.v1.MQHubService`."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from streamtask.hub import protos
from streamtask.hub.rpc import Handler
from streamtask.hub.streams import Away, Streams

logger = logging.getLogger("streamtask.hub")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _message(name: str) -> Any:
    return protos.message(f"services.mqhub.v1.{name}")


class MQHub:
    """The service over the streams of a Redis."""

    def __init__(self, streams: Streams, max_batch: int) -> None:
        self._streams, self._max_batch = streams, max_batch
        self._began = time.monotonic()

    def handlers(self) -> Mapping[str, Handler]:
        """What serves the procedures, by path."""
        return {
            "/services.mqhub.v1.MQHubService/Publish": self.publish,
        }

    async def publish(self, request: Any) -> Any:
        """Add one event to a stream."""
        if request.event is None:
            raise ConnectError(Code.INVALID_ARGUMENT, "event is required")
        fields = fields_of(request.event)
        try:
            (entry,) = await self._streams.publish(request.stream, [fields])
        except Away as error:
            entry = error
        if isinstance(entry, Exception):
            logger.warning("publish to %s failed: %s", request.stream, entry)
            raise ConnectError(Code.UNAVAILABLE, "failed to publish event")
        return _message("PublishResponse")(message_id=entry, success=True)


def fields_of(event: Any) -> list[bytes | str]:
    """The entry's fields; ConnectError for an event that lacks what it must have."""
    for name in ("event_id", "event_type", "source"):
        if not getattr(event, name):
            raise ConnectError(Code.INVALID_ARGUMENT, f"{name} is required")
    created = datetime.now(UTC) if event.created_at is None else _moment(event.created_at)
    stamp = created.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields: list[bytes | str] = ["event_id", event.event_id, "event_type", event.event_type]
    fields += ["source", event.source, "created_at", stamp]
    if event.payload:
        fields += ["payload", event.payload]
    return fields


def _moment(stamp: Any) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
    except OverflowError:
        raise ConnectError(Code.INVALID_ARGUMENT, "created_at is no time between the years 1 and 9999") from None
