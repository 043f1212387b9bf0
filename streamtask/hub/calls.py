"""The procedures of `services.streamtask.v1.Hub`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from protobuf import message_from_json_value, message_to_json_value

from streamtask.hub import protos
from streamtask.hub.refusal import Refusal
from streamtask.hub.rpc import Handler
from streamtask.hub.tasks import Tasks
from streamtask.options import CallOptionsDict

SERVICE = "services.streamtask.v1.Hub"
#: JSON numbers of protobuf are doubles: beyond this, whole numbers are others when they arrive.
EXACT = 2**53


class Calls:
    """The service."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def handlers(self) -> Mapping[str, Handler]:
        """What serves the procedures, by path."""
        return {f"/{SERVICE}/Call": self.call}

    async def call(self, request: Any) -> Any:
        """Send a task, wait for its answer, and give it."""
        args = {} if request.args is None else _arguments(request.args)
        options: CallOptionsDict = {"queue": request.queue} if request.queue else {}
        id, value = await self._tasks.call(request.task, args, request.timeout, options)
        _exact(value)
        result = message_from_json_value(protos.message("google.protobuf.Value"), value)
        return protos.message("services.streamtask.v1.CallResponse")(id=id, result=result)


def _arguments(args: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = _plain(message_to_json_value(args))
    except ValueError:  # a number that is not finite, a value of no kind
        raise Refusal("invalid_argument", "args: JSON has no such value") from None
    return found


def _plain(value: Any) -> Any:
    """Doubles that are whole numbers as such: a parameter may be an int."""
    match value:
        case float() if value.is_integer():
            if abs(value) > EXACT:
                raise Refusal("invalid_argument", f"args: {value:.0f} is beyond 2**53, and not exact; send it as text")
            return int(value)
        case list():
            return [_plain(one) for one in value]
        case dict():
            return {name: _plain(one) for name, one in value.items()}
    return value


def _exact(value: Any) -> None:
    match value:
        case int() if abs(value) > EXACT:
            raise Refusal("failed_precondition", "the result holds a whole number beyond 2**53; return it as text")
        case float() if not math.isfinite(value):
            raise Refusal("failed_precondition", "the result holds a number that is not finite")
        case list():
            for one in value:
                _exact(one)
        case dict():
            for one in value.values():
                _exact(one)
