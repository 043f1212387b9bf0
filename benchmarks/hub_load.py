"""`python -m benchmarks.hub_load ADDRESS KIND CONNECTIONS REQUESTS`: publishes, each connection one request after
another, and prints the seconds it took. The requests are made before, so that little of this process's time is told.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from streamtask.hub import protos

STREAM = "alt:events:articles"
#: Events of a batch; bytes of an event's payload.
BATCH, PAYLOAD = 1000, 200
_PATH = "/services.mqhub.v1.MQHubService/"


def request_of(kind: str) -> bytes:
    """A request: `one_json`, `one_binary`, `batch_json`, `batch_binary`."""
    what, _, form = kind.partition("_")
    event: dict[str, Any] = {
        "eventId": "0b8f3c1e-5b0a-4f0e-9d55-2f1c3f0a7e11",
        "eventType": "ArticleCreated",
        "source": "alt-backend",
        "createdAt": "2026-01-13T09:00:00.500Z",
        "payload": "eyJ4" * (PAYLOAD // 3),
    }
    name = "Publish" if what == "one" else "PublishBatch"
    asked = {"stream": STREAM, "event": event} if what == "one" else {"stream": STREAM, "events": [event] * BATCH}
    body = json.dumps(asked).encode()
    if form == "binary":
        body = protos.message(f"services.mqhub.v1.{name}Request").from_json(body.decode()).to_binary()
    media = "json" if form == "json" else "proto"
    head = f"POST {_PATH}{name} HTTP/1.1\r\nhost: x\r\ncontent-type: application/{media}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    """Sends the request again when its answer is there, as long as there are some left."""

    def __init__(self, request: bytes, left: list[int], ended: asyncio.Future[None]) -> None:
        self._request, self._left, self._ended = request, left, ended
        self._answer = b""

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Is the answer whole?"""
        self._answer += data
        head, blank, body = self._answer.partition(b"\r\n\r\n")
        if not blank:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            self._end(RuntimeError(f"refused: {self._answer[:500]!r}"))
        else:
            self._answer = b""
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Too early, or not."""
        self._end(exc or RuntimeError("hung up"))

    def _send(self) -> None:
        if self._left[0] > 0:
            self._left[0] -= 1
            self._transport.write(self._request)
        else:
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)


async def load(address: str, kind: str, connections: int, requests: int) -> float:
    """Seconds for so many requests."""
    host, _, port = address.removeprefix("http://").partition(":")
    loop, request, left = asyncio.get_running_loop(), request_of(kind), [requests]
    ended = [loop.create_future() for _ in range(connections)]
    began = time.perf_counter()
    for future in ended:
        await loop.create_connection(lambda future=future: Connection(request, left, future), host, int(port))
    await asyncio.gather(*ended)
    return time.perf_counter() - began


if __name__ == "__main__":
    print(uvloop.run(load(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
