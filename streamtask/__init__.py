"""streamtask: tasks, schedules and events on Redis Streams, with delivery that holds.

    from streamtask import StreamTask

    app = StreamTask("shop")

    @app.task
    async def welcome(user_id: int) -> str: ...

    welcome.delay(1)

Importing this package connects to nothing and loads neither the Redis client nor the cron parser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamtask._version import __version__ as __version__
from streamtask.app import Queue, StreamTask
from streamtask.context import Context, current
from streamtask.envelope import EventMeta, RawEvent
from streamtask.errors import Cancelled, QueueFull, SendError, StreamTaskError, TaskFailed
from streamtask.options import CallOptions, RetryPolicy, TaskOptions, Unique
from streamtask.result import Result
from streamtask.schedule import At, Every, Schedule
from streamtask.steering import BatchError, Reject, Retry, Snooze
from streamtask.task import Call, Task

if TYPE_CHECKING:
    from streamtask.cron import Cron
    from streamtask.event import Event

__all__ = [
    "At",
    "BatchError",
    "Call",
    "CallOptions",
    "Cancelled",
    "Context",
    "Cron",
    "Event",
    "EventMeta",
    "Every",
    "Queue",
    "QueueFull",
    "RawEvent",
    "Reject",
    "Result",
    "Retry",
    "RetryPolicy",
    "Schedule",
    "SendError",
    "Snooze",
    "StreamTask",
    "StreamTaskError",
    "Task",
    "TaskFailed",
    "TaskOptions",
    "Unique",
    "current",
]


def __getattr__(name: str) -> Any:
    """`Cron` loads croniter, and `Event` pydantic's models, so only who names them pays for that."""
    if name == "Cron":
        from streamtask.cron import Cron

        return Cron
    if name == "Event":
        from streamtask.event import Event

        return Event
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
