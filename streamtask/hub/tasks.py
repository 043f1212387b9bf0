"""Tasks for callers over HTTP: sent by their name, with or without waiting for the answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NoReturn

from pydantic import ValidationError

from streamtask import checks
from streamtask.app import StreamTask
from streamtask.calling import afinish, wait_of
from streamtask.errors import (
    AlreadyQueued,
    Cancelled,
    MessageTooLarge,
    ResultExpired,
    ResultsDisabled,
    SendError,
    TaskFailed,
)
from streamtask.hub import access
from streamtask.hub.exchange import EXCHANGE
from streamtask.hub.redis import Away, Redis
from streamtask.hub.refusal import Refusal
from streamtask.hub.waits import Waits
from streamtask.message import MAX_NAME
from streamtask.options import CallOptionsDict
from streamtask.result import Result

logger = logging.getLogger("streamtask.hub")


class Tasks:
    """The tasks of an app's namespace. `app` is None on a hub that was told of none."""

    def __init__(self, app: StreamTask | None, redis: Redis, waits: Waits) -> None:
        self._app, self._redis, self._waits = app, redis, waits

    async def send(self, task: str, args: Mapping[str, Any], options: CallOptionsDict) -> Result[Any]:
        """Send a call; Refusal says why not."""
        app = await self._admitted(task, options)
        try:
            return await app.asend(task, args, **options)
        except Exception as error:  # noqa: BLE001 - told apart there; what is not known goes on
            _refuse(task, error)

    async def call(
        self, task: str, args: Mapping[str, Any], timeout: float, options: CallOptionsDict
    ) -> tuple[str, Any]:
        """Send a call and wait for its answer: the message id and what the task returned, as JSON values."""
        wait = wait_of(timeout)
        with self._waits.one():
            sent = await self.send(task, args, {"expires": wait, **options})
            assert self._app is not None, "send() refuses without an app"
            plain = self._app.result(sent.id, sent.queue)  # the answer as JSON, also where its type is known
            plain.duplicate = sent.duplicate
            try:
                return sent.id, await afinish(plain, wait)
            except Exception as error:  # noqa: BLE001 - as in `send`
                _refuse(task, error)

    async def _admitted(self, task: str, options: CallOptionsDict) -> StreamTask:
        """The app, once it is clear that the caller may send this task, and the queue is one."""
        EXCHANGE.get().about = task
        access.need_task(task)
        app = self._app
        if app is None:
            raise Refusal("unimplemented", "this hub sends no tasks: start it with --namespace or an app")
        if not task or len(task) > MAX_NAME or not task.isprintable() or " " in task:
            raise Refusal("invalid_argument", f"task: 1 to {MAX_NAME} printable characters, no spaces")
        queue = options.get("queue")
        if queue is not None and queue not in app.post.queues:
            await self._learn(app, queue)
        return app

    async def _learn(self, app: StreamTask, queue: str) -> None:
        """A queue that the app's code does not name is one all the same if a worker or sender has made it."""
        try:
            known = await self._redis.is_queue(app.namespace, checks.queue(queue))
        except ValueError as error:
            raise Refusal("invalid_argument", f"queue: {error}") from None
        except Away as error:
            logger.warning("the queue %r was not looked up: %s", queue, error)
            raise Refusal("unavailable", "the task could not be sent") from None
        if not known:
            raise Refusal("not_found", f"no queue {queue!r}: no worker of {app.namespace!r} has served it")
        app.queue(queue)


def _refuse(task: str, error: Exception) -> NoReturn:
    """Say an error in words that are safe to show."""
    match error:
        case ValidationError():
            problems = error.errors(include_url=False, include_input=False, include_context=False)
            said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in problems)
            raise Refusal("invalid_argument", f"arguments of {task}: {said}") from None
        case MessageTooLarge():
            raise Refusal("resource_exhausted", str(error)) from None
        case AlreadyQueued():
            raise Refusal("failed_precondition", str(error)) from None
        case SendError():
            logger.warning("%s was not sent: %s", task, error)
            raise Refusal("unavailable", "the task could not be sent") from None
        case TaskFailed():
            raise Refusal("aborted", f"{task} failed ({error.reason}: {error.error_type})") from None
        case Cancelled():
            raise Refusal("aborted", f"{task} was cancelled") from None
        case TimeoutError():
            raise Refusal("deadline_exceeded", f"{task}: no answer in time") from None
        case ResultsDisabled() | ResultExpired():
            raise Refusal("failed_precondition", f"{task} keeps no result to answer with") from None
        case TypeError() | ValueError():  # UnknownQueue, and what the app's own code says of arguments and options
            raise Refusal("invalid_argument", str(error)) from None
    raise error
