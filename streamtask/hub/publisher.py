"""Publishing: events are checked, and go to their stream in one round trip. RPC and JSON both come through here."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from streamtask.envelope import encode
from streamtask.hub import access
from streamtask.hub.exchange import EXCHANGE
from streamtask.hub.metrics import Metrics
from streamtask.hub.names import Names
from streamtask.hub.redis import Away, Redis
from streamtask.hub.refusal import Refusal
from streamtask.message import MAX_NAME

logger = logging.getLogger("streamtask.hub")
#: What a client is told of an event that Redis did not take.
NOT_TAKEN = "failed to publish event"


@dataclass(frozen=True, slots=True)
class Draft:
    """An event as a caller gives it; without a time it is now."""

    event_id: str
    event_type: str
    source: str
    created_at: datetime | None = None
    payload: bytes = b""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """Events in a batch, and bytes of one event."""

    max_batch: int = 1000
    max_event: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a batch: entry ids, "" for what was not added, and why not, by index."""

    ids: list[str]
    errors: dict[int, str]


class Publisher:
    """Puts events on streams."""

    def __init__(self, redis: Redis, names: Names, metrics: Metrics, limits: Limits) -> None:
        self._redis, self._names, self._metrics, self._limits = redis, names, metrics, limits
        #: The streams that were published to.
        self.seen: set[str] = set()

    async def one(self, stream: str, draft: Draft) -> str:
        """Publish one event; its entry id."""
        done = await self._publish("publish", stream, [draft])
        if done.errors:
            raise Refusal("unavailable", done.errors[0])
        return done.ids[0]

    async def batch(self, stream: str, drafts: Sequence[Draft]) -> Published:
        """Publish many. All are checked before any is written; Refusal when none was."""
        if len(drafts) > self._limits.max_batch:
            self._metrics.error("publish_batch", "batch_too_large")
            raise Refusal("invalid_argument", "batch size exceeds maximum allowed")
        if not drafts:
            return Published([], {})
        self._metrics.batch(stream, len(drafts))
        return await self._publish("publish_batch", stream, drafts)

    async def _publish(self, operation: str, stream: str, drafts: Sequence[Draft]) -> Published:
        exchange = EXCHANGE.get()
        exchange.about = stream
        exchange.trace(draft.metadata for draft in drafts)
        began = time.monotonic()
        try:
            access.need_stream(stream)
            events = [self._event(draft) for draft in drafts]
            await self._names.check(stream)
        except Refusal as refusal:
            self._metrics.error(operation, "denied" if refusal.code == "permission_denied" else "invalid")
            self._metrics.published(stream, "error", time.monotonic() - began)
            raise
        except Away as error:
            return self._ended(operation, stream, began, [error] * len(drafts))
        return self._ended(operation, stream, began, await self._redis.publish(stream, events))

    def _ended(self, operation: str, stream: str, began: float, answers: Sequence[str | Exception]) -> Published:
        ids = ["" if isinstance(answer, Exception) else answer for answer in answers]
        failed = {index: answer for index, answer in enumerate(answers) if isinstance(answer, Exception)}
        status = "success" if not failed else "error" if len(failed) == len(answers) else "partial_error"
        if failed:
            self._metrics.error(operation, "redis_error")
            logger.warning("%d of %d events for %s not published: %s", len(failed), len(answers), stream,
                           next(iter(failed.values())))  # fmt: skip
        if len(failed) < len(answers):
            self._remember(stream)
        self._metrics.published(stream, status, time.monotonic() - began)
        return Published(ids, dict.fromkeys(failed, NOT_TAKEN))

    def _remember(self, stream: str) -> None:
        if len(self.seen) < 10_000:
            self.seen.add(stream)

    def _event(self, draft: Draft) -> Sequence[bytes | str]:
        id, type = draft.event_id, draft.event_type
        if not (id and type and draft.source):
            missing = "event_id" if not id else "event_type" if not type else "source"
            raise Refusal("invalid_argument", f"{missing} is required")
        if len(id) > MAX_NAME or len(type) > MAX_NAME:
            long = "event_id" if len(id) > MAX_NAME else "event_type"
            raise Refusal("invalid_argument", f"{long} has more than {MAX_NAME} characters")
        created = draft.created_at or datetime.now(UTC)
        fields = encode(id, type, draft.source, created, draft.payload, draft.metadata)
        size = sum(map(len, fields))
        if size > self._limits.max_event:
            text = f"event {id[:64]!r} takes {size:,} bytes, {self._limits.max_event:,} are allowed"
            raise Refusal("resource_exhausted", f"{text} (--max-event)")
        return fields
