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
from streamtask.errors import Cancelled, SendError, StreamTaskError, TaskFailed
from streamtask.options import CallOptions, RetryPolicy, TaskOptions, Unique
from streamtask.result import Result
from streamtask.schedule import At, Every, Schedule
from streamtask.steering import Reject, Retry, Snooze
from streamtask.task import Call, Task

if TYPE_CHECKING:
    from streamtask.cron import Cron

__all__ = [
    "At",
    "Call",
    "CallOptions",
    "Cancelled",
    "Context",
    "Cron",
    "Every",
    "Queue",
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
    """`Cron` loads croniter, so only who names it pays for that."""
    if name == "Cron":
        from streamtask.cron import Cron

        return Cron
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
