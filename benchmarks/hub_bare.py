"""The limit of a hub: a Starlette handler that one would write by hand, and no more. It adds what it is sent by
redis-py's asyncio client, on uvicorn with uvloop and httptools as the hub has them; it checks nothing, keeps no limits
but MAXLEN, and what was sent and not answered is lost or there twice.

    python -m benchmarks.hub_bare URL
"""

from __future__ import annotations

import base64
import socket
import sys
from typing import Any

import redis.asyncio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streamtask.envelope import encode
from streamtask.hub import protos

#: As the hub's defaults.
POOL, MAXLEN = 10, 10_000
_MQHUB = "services.mqhub.v1"


class Bare:
    """The handlers."""

    def __init__(self, url: str) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=POOL, timeout=None)
        self._redis: Any = redis.asyncio.Redis(connection_pool=pool)
        self._made = {
            name: protos.message(f"{_MQHUB}.{name}")
            for name in ("PublishRequest", "PublishResponse", "PublishBatchRequest", "PublishBatchResponse")
        }

    async def publish(self, request: Request) -> Response:
        """One event, in JSON or in binary."""
        if request.headers["content-type"] == "application/json":
            asked = await request.json()
            entry_id = await self._add(self._redis, asked["stream"], _of_json(asked["event"]))
            return JSONResponse({"messageId": entry_id.decode(), "success": True})
        message = self._made["PublishRequest"].from_binary(await request.body())
        entry_id = await self._add(self._redis, message.stream, _of_message(message.event))
        answer = self._made["PublishResponse"](message_id=entry_id.decode(), success=True)
        return Response(answer.to_binary(), media_type="application/proto")

    async def publish_batch(self, request: Request) -> Response:
        """Many, in a pipeline."""
        if request.headers["content-type"] == "application/json":
            asked = await request.json()
            ids = await self._add_all(asked["stream"], [_of_json(event) for event in asked["events"]])
            return JSONResponse({"messageIds": ids, "successCount": len(ids)})
        message = self._made["PublishBatchRequest"].from_binary(await request.body())
        ids = await self._add_all(message.stream, [_of_message(event) for event in message.events])
        answer = self._made["PublishBatchResponse"](message_ids=ids, success_count=len(ids))
        return Response(answer.to_binary(), media_type="application/proto")

    def _add(self, client: Any, stream: str, fields: dict[str, Any]) -> Any:
        return client.xadd(stream, fields, maxlen=MAXLEN, approximate=True, ref_policy="ACKED")

    async def _add_all(self, stream: str, events: list[dict[str, Any]]) -> list[str]:
        pipe = self._redis.pipeline(transaction=False)
        for fields in events:
            self._add(pipe, stream, fields)
        return [entry_id.decode() for entry_id in await pipe.execute()]


def _of_json(event: dict[str, Any]) -> dict[str, Any]:
    fields = {
        "event_id": event["eventId"],
        "event_type": event["eventType"],
        "source": event["source"],
        "created_at": event["createdAt"],
    }
    if payload := event.get("payload"):
        fields["payload"] = base64.b64decode(payload)
    return fields


def _of_message(event: Any) -> dict[str, Any]:
    flat = encode(event.event_id, event.event_type, event.source, event.created_at.to_datetime(), event.payload, {})
    return dict(zip(flat[::2], flat[1::2], strict=True))


def main() -> None:
    """Serve on a free port, which is printed."""
    bare = Bare(sys.argv[1])
    routes = [("Publish", bare.publish), ("PublishBatch", bare.publish_batch)]
    app = Starlette(routes=[Route(f"/{_MQHUB}.MQHubService/{name}", made, methods=["POST"]) for name, made in routes])
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        app, http="httptools", loop="uvloop", ws="none", lifespan="off", access_log=False, log_level="error"
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
