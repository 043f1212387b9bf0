"""What a worker or beat tells of itself: events with names and fields, for whoever writes the log (interface:
docs/reference).
"""

from __future__ import annotations

import logging
from typing import Any

from streamtask.envelope import EventMessage
from streamtask.policy import Again, Bury, Drop, Failure, Finish, Ignore, Release, Verdict
from streamtask.worker.delivery import Delivery


class Reporter:
    """Takes events and does nothing with them; the CLI's subclass writes lines. Methods must not raise and not
    block.
    """

    def event(self, name: str, level: int, msg: str, **fields: Any) -> None:
        """Something happened, for example `task.retry`; `level` is a logging level."""

    def counted(self) -> bool:
        """Is a healthy end that came just now not to be told? Then it is counted here, and nobody need look at it."""
        return False

    def done(self, task: str, id: str, attempt: int, duration: float, waited: float) -> None:
        """A task is done; times in seconds. The one event that comes by the ten thousand, so it has a way of its
        own.
        """


INFO, WARNING, ERROR, DEBUG = logging.INFO, logging.WARNING, logging.ERROR, logging.DEBUG

_AGAIN = {"retry": ("task.retry", WARNING), "snooze": ("task.snooze", INFO), "park": ("task.unknown", WARNING)}


def facts(delivery: Delivery) -> dict[str, Any]:
    """The fields that say which delivery an event is about; arguments only where the task asks for it (`log_args`)."""
    message = delivery.message
    fields: dict[str, Any] = {
        "task": delivery.task_name,
        "id": delivery.message_id,
        "queue": delivery.queue.name,
        "attempt": message.attempt + 1 if message else None,
        "deliveries": delivery.count,
        "stream_id": delivery.id.decode(),
    }
    subscription = delivery.queue.subscription
    if subscription is not None:
        fields |= {"topic": subscription.topic, "group": subscription.group, "event_type": delivery.event_type}
        fields["event_id"] = message.event.id if isinstance(message, EventMessage) else None
    if message and delivery.task and delivery.task.task_options.log_args:
        fields["args"] = message.args.decode(errors="replace")
    return fields


def tell(report: Reporter, delivery: Delivery, verdict: Verdict, applied: bool) -> None:
    """The event of a verdict other than done; `applied`: Redis took it."""
    fields = facts(delivery)
    if not applied or isinstance(verdict, Drop):
        report.event("task.lease_lost", WARNING, "another worker has it; this attempt's verdict is dropped", **fields)
    elif isinstance(verdict, Again):
        fields["attempts"] = _attempts(delivery)
        fields["retry_in_s"] = round(verdict.delay, 3)
        name, level = _AGAIN[verdict.kind]
        report.event(name, level, verdict.kind, **_error(verdict.failure), **fields)
    elif isinstance(verdict, Bury):
        fields |= {"reason": verdict.reason, "attempts": _attempts(delivery)}
        report.event("task.dead", WARNING, "dead", **_error(verdict.failure), **fields)
    elif isinstance(verdict, Release):
        level = INFO if verdict.started else DEBUG
        report.event("task.released", level, "given back", started=verdict.started, **fields)
    elif isinstance(verdict, Ignore):
        report.event("task.ignored", DEBUG, "no worker of the group handles events of this type", **fields)
    elif isinstance(verdict, Finish):
        report.event(f"task.{verdict.state}", INFO, verdict.state, reason=verdict.note, **fields)


def _attempts(delivery: Delivery) -> int | None:
    """How many attempts the task has at most; None when it has no end, or is not known here."""
    retries = delivery.task.task_options.max_retries if delivery.task is not None else None
    return None if retries is None else retries + 1


def _error(failure: Failure | None) -> dict[str, str]:
    if failure is None:
        return {}
    return {"error_type": failure.type, "error": failure.message, "traceback": failure.traceback}
