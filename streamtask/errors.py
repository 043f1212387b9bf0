"""Every error that streamtask raises, as one tree.

    StreamTaskError
    ├── ConfigError (ValueError)          a setting, URL or folder that cannot work
    ├── AppImportError                    the app path names nothing that can be imported
    ├── UnknownQueue (ValueError)         a queue that no task declares
    ├── DuplicateTask (ValueError)        two functions under one task name
    ├── DuplicateSchedule (ValueError)    two schedules under one name
    ├── DuplicateHandler (ValueError)     two handlers for one event type in one group
    ├── UnknownGroup (LookupError)        a group that no worker has made on the topic
    ├── MessageTooLarge (ValueError)      an encoded message above `max_message_bytes`
    ├── NotInTask (RuntimeError)          `current()` outside a task
    ├── WouldBlock (RuntimeError)         a blocking wait where it would stop other work
    ├── SendError (ConnectionError)       Redis did not take the message
    │   ├── MaybeSent                     the answer was lost: the message is there or not
    │   ├── NoRedis                       no server where one was looked for
    │   ├── PublishErrors                 some of many events were not published
    │   └── QueueFull                     a topic has reached its hard limit
    ├── AlreadyQueued                     `Unique(on_conflict="raise")` met a live holder
    ├── TaskFailed                        `.get()` on a task that became a dead letter
    ├── Cancelled                         `.get()` on a cancelled task; raised inside one that is asked to stop
    ├── Expired                           `.get()` on a task that was not started in time
    ├── ResultsDisabled (RuntimeError)    `.get()` on a task without results
    └── ResultExpired (LookupError)       `.get()` on a result whose time is over

What user code raises to steer its own task (`Retry`, `Reject`, `Snooze`) is no error: see `streamtask.steering`.
"""

from __future__ import annotations

from collections.abc import Sequence


class StreamTaskError(Exception):
    """Base of all errors of streamtask."""


class ConfigError(StreamTaskError, ValueError):
    """A setting, URL or folder cannot work; the text names the value and the fix."""


class AppImportError(StreamTaskError):
    """The app path (`pkg.mod:app`) names nothing that can be imported, or a module without tasks."""


class UnknownQueue(StreamTaskError, ValueError):
    """The queue is not declared by any task or by `app.queue(name)`."""


class DuplicateTask(StreamTaskError, ValueError):
    """Two functions are registered under one task name; the text names both places."""


class DuplicateSchedule(StreamTaskError, ValueError):
    """Two schedules have one name; give one of them `name=`."""


class DuplicateHandler(StreamTaskError, ValueError):
    """Two handlers of one group take the same event type; each event goes to one handler of a group."""


class UnknownGroup(StreamTaskError, LookupError):
    """The topic has no such consumer group; the text names those that it has."""


class MessageTooLarge(StreamTaskError, ValueError):
    """The encoded message is larger than the setting `max_message_bytes`."""


class NotInTask(StreamTaskError, RuntimeError):
    """`current()` was called outside a running task."""


class WouldBlock(StreamTaskError, RuntimeError):
    """A wait without bound was asked for where it would hold up other work."""


class SendError(StreamTaskError, ConnectionError):
    """Redis refused the message, or could not be reached within `send_timeout` seconds; it is not there.

    `errors` maps the index of each failed call to its error where many were sent at once: refused, not sent, or
    MaybeSent. Of the kind MaybeSent itself it says that some may be there.
    """

    def __init__(self, message: str, errors: dict[int, Exception] | None = None) -> None:
        super().__init__(message)
        self.errors = errors or {}


class MaybeSent(SendError):
    """The message was sent and the answer was lost: Redis took it, or not. The text says what to do.

    `ids` are the message ids in doubt. It is raised where sending again by ourselves could double a message: after
    `send_timeout` seconds, and at once for plain calls on servers without an idempotent XADD (before Redis 8.6.2).
    """

    def __init__(self, message: str, ids: Sequence[str], errors: dict[int, Exception] | None = None) -> None:
        super().__init__(message, errors)
        self.ids = tuple(ids)


class NoRedis(SendError):
    """No server answers where streamtask looked for one; the text names the ways out."""


class QueueFull(SendError):
    """The topic holds `hard_max_length` entries, and its `overflow` is "refuse"; nothing was published."""


class PublishErrors(SendError):
    """Of many events some were not published; `errors` maps each one's index to its error, `ids` holds the entry id of
    each event that was ("" for the others).
    """

    def __init__(self, message: str, errors: dict[int, Exception], ids: Sequence[str]) -> None:
        super().__init__(message, errors)
        self.ids = tuple(ids)


class AlreadyQueued(StreamTaskError):
    """A task with the same unique key is not finished, and `Unique(on_conflict="raise")` asked to be told."""

    def __init__(self, task: str, holder: str) -> None:
        super().__init__(f"{task} is already queued under this unique key, as {holder}")
        self.holder = holder


class TaskFailed(StreamTaskError):
    """The task ended as a dead letter; its last error is in the attributes (all text)."""

    def __init__(self, task: str, id: str, error_type: str, message: str, traceback: str, reason: str) -> None:
        super().__init__(f"{task} {id} failed ({reason}): {error_type}: {message}")
        self.error_type, self.message, self.traceback, self.reason = error_type, message, traceback, reason


class Cancelled(StreamTaskError):
    """The task was cancelled; inside a thread task: raised by `current().raise_if_cancelled()`."""


class Expired(StreamTaskError):
    """The task was not started within its `expires` seconds and was given up."""


class ResultsDisabled(StreamTaskError, RuntimeError):
    """The task stores no result (`result=False`), so there is nothing to wait for."""


class ResultExpired(StreamTaskError, LookupError):
    """Nothing is known of this message any more: its result record is older than `result_ttl` seconds."""
