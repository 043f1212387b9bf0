"""The procedures as an application of connectrpc: Connect (JSON and binary), gRPC-Web, and gRPC where trailers are.

What a client is told of an error is decided here: the texts of `ConnectError` that the procedures raise, and "internal
error" for everything else, whose cause goes to the log.
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

logger = logging.getLogger("streamtask.hub")

#: What serves a procedure.
Handler = Callable[[Any], Awaitable[Any]]


class Application(ConnectASGIApplication[Any]):
    """All procedures of `handlers`, by their paths."""

    path = ""

    def __init__(self, handlers: Mapping[str, Handler], max_body: int) -> None:
        endpoints = {
            made.path: Endpoint.unary(_method(made), _guarded(handlers[made.path]))
            for made in protos.procedures()
            if made.path in handlers
        }
        super().__init__(service=None, endpoints=lambda _: endpoints, read_max_bytes=max_body)


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
        except ConnectError:
            raise
        except Exception:
            logger.exception("a procedure failed")
            raise ConnectError(Code.INTERNAL, "internal error") from None

    return call
