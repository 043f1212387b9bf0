"""The procedures as an application of connectrpc: Connect (JSON and binary), gRPC-Web, and gRPC where trailers are.

What a client is told of an error is decided here: the text of a `Refusal`, and "internal error" for everything else,
whose cause goes to the log.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectASGIApplication, Endpoint

from streamtask.hub import protos
from streamtask.hub.access import Access
from streamtask.hub.codecs import codecs
from streamtask.hub.exchange import EXCHANGE
from streamtask.hub.refusal import Refusal

logger = logging.getLogger("streamtask.hub")

#: What serves a procedure.
Handler = Callable[[Any], Awaitable[Any]]


class Procedures(ConnectASGIApplication[Any]):
    """All procedures, by their paths; those of `open_to_all` are for callers without a token too."""

    path = ""

    def __init__(self, handlers: Mapping[str, Handler], access: Access, open_to_all: str, max_body: int) -> None:
        #: What is served.
        self.paths = frozenset(handlers)
        made = {one.path: one for one in protos.procedures()}
        endpoints = {path: Endpoint.unary(_method(made[path]), _guarded(handlers[path])) for path in handlers}
        super().__init__(
            service=None,
            endpoints=lambda _: endpoints,
            interceptors=[_Admission(access, open_to_all)],
            read_max_bytes=max_body,
            codecs=codecs(),
        )


class _Admission:
    """Asks who calls, before the body is read."""

    def __init__(self, access: Access, open_to_all: str) -> None:
        self._access, self._open = access, open_to_all

    async def on_start(self, ctx: RequestContext[Any, Any]) -> None:
        """Raise for who may not call at all."""
        exchange = EXCHANGE.get()
        if exchange.path != self._open:
            try:
                self._access.admit(exchange, ctx.request_headers.get("authorization", ""))
            except Refusal as refusal:
                raise _told(refusal) from None

    async def on_end(self, _token: None, _ctx: RequestContext[Any, Any], error: Exception | None) -> None:
        """Let the log know the code, which gRPC-Web hides behind a 200."""
        if isinstance(error, ConnectError):
            EXCHANGE.get().code = error.code.value
            _forget(error)


def _method(made: protos.Procedure) -> MethodInfo[Any, Any]:
    return MethodInfo(
        name=made.name,
        service_name=made.service,
        input=made.request,
        output=made.response,
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=StreamType.UNARY,
    )


def _guarded(handler: Handler) -> Callable[[Any, RequestContext[Any, Any]], Awaitable[Any]]:
    async def call(request: Any, _: RequestContext[Any, Any]) -> Any:
        try:
            return await handler(request)
        except Refusal as refusal:
            raise _told(refusal) from None
        except Exception:
            logger.exception("a procedure failed")
            raise ConnectError(Code.INTERNAL, "internal error") from None

    return call


def _forget(error: BaseException) -> None:
    """Let go of where an error was raised: connectrpc keeps it in one of the frames of its own traceback, and that
    circle holds the request's bytes until some later garbage collection. A few large bodies would fill the memory.
    """
    one: BaseException | None = error
    while one is not None:
        one.__traceback__ = None
        one = one.__cause__ or one.__context__


def _told(refusal: Refusal) -> ConnectError:
    return ConnectError(Code(refusal.code), refusal.text, refusal.details)
