"""`current()`: what a running task may know about itself. Works in coroutines, threads and child processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, overload

from pydantic_core import from_json

from streamtask.errors import Cancelled, NotInTask
from streamtask.message import MAX_MS

if TYPE_CHECKING:
    import logging

    from streamtask.envelope import AnyMessage


def from_ms(ms: float) -> datetime:
    """Milliseconds since the epoch as an aware datetime in UTC; what a datetime cannot hold becomes its nearest."""
    return datetime.fromtimestamp(min(max(0, ms), MAX_MS) / 1000, UTC)


class Context:
    """One attempt of one message. Times are aware datetimes in UTC, of the Redis server's clock."""

    __slots__ = (
        "_deadline", "_message", "_sent", "_started", "_stopped", "deliveries", "is_last_attempt", "queue", "stream_id",
        "worker",
    )  # fmt: skip

    def __init__(
        self,
        message: AnyMessage,
        *,
        queue: str,
        stream_id: str,
        deliveries: int,
        worker: str,
        sent_ms: int,
        started_ms: float,
        timeout: float | None,
        is_last_attempt: bool,
    ) -> None:
        self._message, self._sent, self._started = message, sent_ms, started_ms
        self._deadline = None if timeout is None else started_ms + timeout * 1000
        self._stopped = False
        self.queue, self.stream_id, self.deliveries, self.worker = queue, stream_id, deliveries, worker
        self.is_last_attempt = is_last_attempt

    @property
    def id(self) -> str:
        """The message id; the same for all attempts."""
        return self._message.id

    @property
    def task(self) -> str:
        """The task's registered name."""
        return self._message.task

    @property
    def args(self) -> dict[str, Any]:
        """The arguments as JSON values, by parameter name."""
        values: dict[str, Any] = from_json(self._message.args)
        return values

    @property
    def attempt(self) -> int:
        """1 for the first attempt; rises with every failed one."""
        return self._message.attempt + 1

    @property
    def enqueued_at(self) -> datetime:
        """When the message first entered its stream: when it was sent, or when its countdown or eta had come."""
        return from_ms(self._sent)

    @property
    def started_at(self) -> datetime:
        """When this attempt began."""
        return from_ms(self._started)

    @property
    def scheduled_for(self) -> datetime | None:
        """The tick that a schedule's message answers."""
        text = self._message.meta.get("scheduled_for")
        return datetime.fromisoformat(text) if text else None

    @property
    def expires_at(self) -> datetime | None:
        """Until when the message must be started."""
        ttl = self._message.meta.get("ttl")
        return None if ttl is None else from_ms(self._sent + ttl * 1000)

    @property
    def deadline(self) -> datetime | None:
        """When this attempt times out."""
        return None if self._deadline is None else from_ms(self._deadline)

    @property
    def headers(self) -> Mapping[str, str]:
        """The sender's headers."""
        headers: Mapping[str, str] = self._message.meta.get("headers", {})
        return headers

    @property
    def parent(self) -> str | None:
        """The id of the message whose task sent this one."""
        return self._message.meta.get("parent")

    @property
    def root(self) -> str:
        """The id of the first message of this family."""
        root: str = self._message.meta.get("root", self.id)
        return root

    @property
    def fence(self) -> str:
        """`<stream id>:<delivery>`: rises with every delivery of one entry; for conditional database writes."""
        return f"{self.stream_id}:{self.deliveries}"

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """The logger `streamtask.task` that adds id, task, queue and attempt to each record."""
        import logging

        extra = {"id": self.id, "task": self.task, "queue": self.queue, "attempt": self.attempt}
        return logging.LoggerAdapter(logging.getLogger("streamtask.task"), extra)

    @property
    def cancelled(self) -> bool:
        """Has the worker asked this attempt to stop (timeout, lost lease, shutdown)? For loops in thread tasks."""
        return self._stopped

    def stop(self) -> None:
        """Ask the attempt to stop; called by the worker. A plain flag: one thread writes it, others read it."""
        self._stopped = True

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` when the worker has asked this attempt to stop."""
        if self.cancelled:
            raise Cancelled(f"{self.task} {self.id} was asked to stop")


#: Gives the attempt that runs here; set by the worker. A function, since most attempts are never asked for.
CURRENT: ContextVar[Callable[[], Context] | None] = ContextVar("streamtask_current", default=None)


@overload
def current() -> Context: ...
@overload
def current(default: None) -> Context | None: ...
def current(default: object = ...) -> Context | None:
    """The running attempt's Context. Outside a task it raises NotInTask; `current(None)` gives None there."""
    running = CURRENT.get()
    if running is not None:
        return running()
    if default is not None:
        raise NotInTask("current() works only inside a running task; current(None) gives None elsewhere")
    return None
