"""The procedures of `services.mqhub.v1.MQHubService`, as mq-hub's clients know them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from streamtask.hub import access, protos
from streamtask.hub.exchange import EXCHANGE
from streamtask.hub.names import Names, readable
from streamtask.hub.publisher import Draft, Published, Publisher
from streamtask.hub.redis import Away, NoStream, Redis
from streamtask.hub.refusal import Refusal
from streamtask.hub.rpc import Handler
from streamtask.hub.tags import Tags

logger = logging.getLogger("streamtask.hub")
SERVICE = "services.mqhub.v1.MQHubService"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MQHub:
    """The service."""

    def __init__(self, redis: Redis, names: Names, publisher: Publisher, tags: Tags) -> None:
        self._redis, self._names, self._publisher, self._tags = redis, names, publisher, tags
        self._began = time.monotonic()

    def handlers(self) -> Mapping[str, Handler]:
        """What serves the procedures, by path."""
        return {
            f"/{SERVICE}/Publish": self.publish,
            f"/{SERVICE}/PublishBatch": self.publish_batch,
            f"/{SERVICE}/CreateConsumerGroup": self.create_consumer_group,
            f"/{SERVICE}/GetStreamInfo": self.get_stream_info,
            f"/{SERVICE}/HealthCheck": self.health_check,
            f"/{SERVICE}/GenerateTagsForArticle": self.generate_tags,
        }

    async def publish(self, request: Any) -> Any:
        """Add one event to a stream."""
        if request.event is None:
            raise Refusal("invalid_argument", "event is required")
        entry_id = await self._publisher.one(request.stream, _draft(request.event))
        return _message("PublishResponse")(message_id=entry_id, success=True)

    async def publish_batch(self, request: Any) -> Any:
        """Add events to a stream; where some were not added the error carries the answer in its details."""
        done = await self._publisher.batch(request.stream, [_draft(event) for event in request.events])
        answer = _batch_answer(done)
        if done.errors:
            text = f"{len(done.errors)} of {len(done.ids)} events failed to publish"
            raise Refusal("unavailable", text, [answer])
        return answer

    async def create_consumer_group(self, request: Any) -> Any:
        """Make a consumer group, and its stream where it is missing."""
        EXCHANGE.get().about = request.stream
        access.need_stream(request.stream)
        if not request.group:
            raise Refusal("invalid_argument", "group is required")
        try:
            await self._names.check(request.stream)
            await self._redis.create_group(request.stream, request.group, request.start_id)
        except Away as error:
            logger.warning("group %r on %s was not created: %s", request.group, request.stream, error)
            raise Refusal("unavailable", "failed to create consumer group") from None
        return _message("CreateConsumerGroupResponse")(success=True, message="consumer group created")

    async def get_stream_info(self, request: Any) -> Any:
        """How a stream and its groups stand."""
        EXCHANGE.get().about = request.stream
        access.need_stream(request.stream)
        readable(request.stream)
        try:
            info = await self._redis.info(request.stream)
        except NoStream:  # mq-hub never gave this a code, and its clients look for that
            raise Refusal("unknown", "stream not found") from None
        except Away as error:
            logger.warning("no information on %s: %s", request.stream, error)
            raise Refusal("unavailable", "failed to get stream info") from None
        groups = [
            _message("ConsumerGroupInfo")(
                name=group.name,
                consumers=group.consumers,
                pending=group.pending,
                last_delivered_id=group.last_delivered_id,
            )
            for group in info.groups
        ]
        return _message("GetStreamInfoResponse")(
            length=info.length,
            radix_tree_keys=info.radix_tree_keys,
            radix_tree_nodes=info.radix_tree_nodes,
            first_entry_id=info.first_entry_id,
            last_entry_id=info.last_entry_id,
            groups=groups,
        )

    async def health_check(self, _: Any) -> Any:
        """Does Redis answer? The call itself never fails."""
        healthy, status, uptime = await self.health()
        return _message("HealthCheckResponse")(healthy=healthy, redis_status=status, uptime_seconds=uptime)

    async def health(self) -> tuple[bool, str, int]:
        """Healthy, the status of Redis, seconds since the start."""
        uptime = int(time.monotonic() - self._began)
        try:
            await self._redis.ping()
        except Away:
            return False, "disconnected", uptime
        return True, "connected", uptime

    async def generate_tags(self, request: Any) -> Any:
        """Ask the tag generator, and wait for its answer."""
        return await self._tags.generate(request)


def _message(name: str) -> Any:
    return protos.message(f"services.mqhub.v1.{name}")


def _draft(event: Any) -> Draft:
    created = None if event.created_at is None else _moment(event.created_at)
    return Draft(event.event_id, event.event_type, event.source, created, bytes(event.payload), event.metadata)


def _moment(stamp: Any) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
    except OverflowError:
        raise Refusal("invalid_argument", "created_at must lie between the years 1 and 9999") from None


def _batch_answer(done: Published) -> Any:
    error = _message("PublishError")
    return _message("PublishBatchResponse")(
        message_ids=done.ids,
        success_count=len(done.ids) - len(done.errors),
        failure_count=len(done.errors),
        errors=[error(index=index, error_message=text) for index, text in done.errors.items()],
    )
