"""The hub's HTTP surface: which path is whose, and what all answers have in common."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from pydantic_core import to_json

from streamtask.hub.access import Access
from streamtask.hub.exchange import EXCHANGE, Exchange
from streamtask.hub.metrics import CONTENT_TYPE, Metrics
from streamtask.hub.mqhub import MQHub
from streamtask.hub.refusal import Refusal
from streamtask.hub.requestlog import RequestLog
from streamtask.hub.rpc import Procedures

logger = logging.getLogger("streamtask.hub")

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Where server and application meet: the names in the client's certificate.
PEER = "streamtask.peer"
_TEXT = [(b"content-type", b"text/plain; charset=utf-8")]


class Answer:
    """Passes an answer on. It has its length where it is in one piece, and no `content-encoding: identity`."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: MutableMapping[str, Any] | None = None
        self.status = 0

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        """A message of the application."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            headers = [pair for pair in start["headers"] if pair != (b"content-encoding", b"identity")]
            whole = message["type"] == "http.response.body" and not message.get("more_body")
            if whole and not start.get("trailers") and not any(name == b"content-length" for name, _ in headers):
                headers.append((b"content-length", str(len(message.get("body", b""))).encode()))
            await self._send({**start, "headers": headers})
        await self._send(message)


class Web:
    """The application of the whole hub. `door` serves what is below /v1/."""

    def __init__(
        self, hub: MQHub, procedures: Procedures, door: Application, metrics: Metrics, access: Access, log: RequestLog
    ) -> None:
        self._hub, self._procedures, self._door = hub, procedures, door
        self._metrics, self._access, self._log = metrics, access, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, Answer(send))

    async def _http(self, scope: Scope, receive: Receive, answer: Answer) -> None:
        exchange = _exchange(scope)
        EXCHANGE.set(exchange)
        try:
            await self._serve(exchange.path)(scope, receive, answer)
        except Exception:
            logger.exception("a request failed")
            exchange.code = "internal"
            if not answer.status:
                await respond(answer, 500, b"internal error\n", _TEXT)
        finally:
            self._log.tell(exchange, answer.status or 499)

    def _serve(self, path: str) -> Application:
        if path in self._procedures.paths:
            return self._call
        if path.startswith("/v1/"):
            return self._door
        return {"/health": self._health, "/metrics": self._tell_metrics}.get(path, _not_found)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = header(scope, b"content-type").partition(";")[0]
        grpc = kind == "application/grpc" or kind.startswith("application/grpc+")
        if grpc and "http.response.trailers" not in (scope.get("extensions") or {}):
            await respond(send, 415, b"gRPC needs HTTP/2: --server hypercorn\n", [*_TEXT, _ACCEPTED])
        else:
            await self._procedures({**scope, "headers": _in_utf8(scope["headers"])}, receive, send)

    async def _health(self, scope: Scope, _: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            return await not_allowed(send, "GET, HEAD")
        healthy, status, uptime = await self._hub.health()
        body = to_json({"healthy": healthy, "redis_status": status, "uptime_seconds": uptime})
        return await respond(send, 200 if healthy else 503, body, [(b"content-type", b"application/json")])

    async def _tell_metrics(self, scope: Scope, _: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            return await not_allowed(send, "GET, HEAD")
        exchange = EXCHANGE.get()
        try:
            self._access.admit(exchange, header(scope, b"authorization"))
        except Refusal as refusal:
            exchange.code = refusal.code
            status, more = (401, [(b"www-authenticate", b"Bearer")]) if refusal.code == "unauthenticated" else (403, [])
            return await respond(send, status, f"{refusal.text}\n".encode(), [*_TEXT, *more])
        return await respond(send, 200, self._metrics.text(), [(b"content-type", CONTENT_TYPE.encode())])


_ACCEPTED = (b"accept-post", b"application/json, application/proto, application/grpc-web")


async def respond(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """A whole answer."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def not_allowed(send: Send, allow: str) -> None:
    """405."""
    await respond(send, 405, b"Method Not Allowed\n", [*_TEXT, (b"allow", allow.encode())])


async def _not_found(_scope: Scope, _receive: Receive, send: Send) -> None:
    await respond(send, 404, b"404 page not found\n", [*_TEXT, (b"x-content-type-options", b"nosniff")])


def header(scope: Scope, name: bytes) -> str:
    """A header's text; "" without one."""
    return next((value.decode("latin-1") for known, value in scope["headers"] if known == name), "")


def _in_utf8(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers as connectrpc reads them; HTTP allows other bytes, too."""
    if all(value.isascii() for _, value in headers):
        return headers
    return [(name, value.decode("latin-1").encode()) for name, value in headers]


def _exchange(scope: Scope) -> Exchange:
    client = scope.get("client")
    return Exchange(
        method=scope["method"],
        path=scope["path"],
        traceparent=header(scope, b"traceparent"),
        peer=scope.get(PEER),
        client=f"{client[0]}:{client[1]}" if client else "",
    )


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
