"""The procedures as a client of connectrpc takes them."""

from __future__ import annotations

from typing import Any

from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType

from streamtask.hub import protos


def method(name: str) -> MethodInfo[Any, Any]:
    """A procedure by its short name."""
    made = next(one for one in protos.procedures() if one.name == name)
    return MethodInfo(
        name=made.name,
        service_name=made.service,
        input=made.request,
        output=made.response,
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=StreamType.UNARY,
    )
