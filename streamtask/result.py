"""The result of a message that was sent: wait for it, or ask how it stands."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic_core import from_json

from streamtask.context import CURRENT
from streamtask.errors import Cancelled, Expired, ResultExpired, ResultsDisabled, TaskFailed, WouldBlock

if TYPE_CHECKING:  # the client is loaded at first use
    from streamtask.broker.keys import QueueKeys
    from streamtask.broker.lookup import MessageInfo, Record, Status
    from streamtask.broker.sender import Steps
    from streamtask.post import Post
    from streamtask.signature import Signature

R = TypeVar("R")
#: Seconds between two looks at the record while a waiter listens for its end; a lost notice costs no more than this.
LOOK_EVERY = 1.0


class Result(Generic[R]):
    """A message that was sent. `await result` is `await result.aget()`.

    `id` is the message id, `task` the task's name, `queue` its queue; `duplicate` is True when the message was there
    before (a unique key or a `message_id` that is taken), and then this is the earlier message.
    """

    __slots__ = ("_entry_id", "_keys", "_post", "_signature", "_stored", "duplicate", "id", "queue", "task")

    def __init__(
        self,
        post: Post,
        keys: QueueKeys,
        id: str,
        task: str,
        queue: str,
        *,
        signature: Signature | None = None,
        stored: bool = True,
        entry_id: str | None = None,
        duplicate: bool = False,
    ) -> None:
        self._post, self._keys, self._signature, self._stored, self._entry_id = post, keys, signature, stored, entry_id
        self.id, self.task, self.queue, self.duplicate = id, task, queue, duplicate

    def __repr__(self) -> str:
        return f"<Result {self.task} {self.id}{' duplicate' if self.duplicate else ''}>"

    def get(self, timeout: float | None = None, *, allow_in_task: bool = False) -> R:
        """Wait for the result and return it; `timeout` in seconds.

        Raises TaskFailed, Cancelled, Expired, TimeoutError, ResultsDisabled, ResultExpired, SendError (Redis is away),
        and WouldBlock inside a running event loop or, unless `allow_in_task`, inside a task.
        """
        self._may_wait(allow_in_task)
        if running_loop() is not None:
            raise WouldBlock("get() would stop this event loop; write `await result.aget()`")
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._post.watch(self._keys.result(self.id)) as watch:
            while True:
                value = self._found(self._post.drive(self._look()))
                if value is not None:
                    return value[0]
                watch.wait(self._rest(deadline, timeout))

    async def aget(self, timeout: float | None = None) -> R:
        """The asyncio twin of `get`; inside a task it gives the slot's thread of control back while it waits."""
        self._may_wait(True)
        deadline = None if timeout is None else time.monotonic() + timeout
        async with self._post.awatch(self._keys.result(self.id)) as watch:
            while True:
                value = self._found(await self._post.adrive(self._look()))
                if value is not None:
                    return value[0]
                await watch.wait(self._rest(deadline, timeout))

    def __await__(self) -> Generator[Any, None, R]:
        return self.aget().__await__()

    def status(self) -> Status:
        """`waiting`, `due`, `running`, `done`, `dead`, `cancelled`, `expired`, or `unknown` when nothing is known."""
        return self.info().status

    async def astatus(self) -> Status:
        """The asyncio twin of `status`."""
        return (await self.ainfo()).status

    def info(self) -> MessageInfo:
        """All that Redis knows of the message now."""
        return self._post.drive(self._post.find(self._keys, self.queue, self.id, self._entry_id))

    async def ainfo(self) -> MessageInfo:
        """The asyncio twin of `info`."""
        return await self._post.adrive(self._post.find(self._keys, self.queue, self.id, self._entry_id))

    def _may_wait(self, allow_in_task: bool) -> None:
        if not self._stored:
            raise ResultsDisabled(f"{self.task} stores no results; remove result=False to wait for them")
        if CURRENT.get() is not None and not allow_in_task:
            raise WouldBlock(
                "get() inside a task waits for a slot while it occupies one; use `await result.aget()` in an async "
                "task, or get(allow_in_task=True) if you are sure that slots are left"
            )

    def _look(self) -> Steps[tuple[Record | None, bool]]:
        """The record, and whether the message is still somewhere when there is none."""
        (raw,) = yield [("GET", self._keys.result(self.id))]
        if isinstance(raw, bytes):
            return self._post.parse_record(self.id, self.queue, raw), True
        info = yield from self._post.find(self._keys, self.queue, self.id, self._entry_id)
        if info.status == "unknown":  # it may have ended between the two looks
            (raw,) = yield [("GET", self._keys.result(self.id))]
            if isinstance(raw, bytes):
                return self._post.parse_record(self.id, self.queue, raw), True
        return None, info.status != "unknown"

    def _found(self, look: tuple[Record | None, bool]) -> tuple[R] | None:
        record, alive = look
        if record is None:
            if not alive:
                raise ResultExpired(
                    f"nothing is known of {self.task} {self.id} (any more); results are kept for result_ttl"
                )
            return None
        info = record.info
        if info.status == "done":
            raw = record.value if record.value is not None else b"null"
            if self._signature is None:
                return (from_json(raw),)
            return (self._signature.load_result(raw),)
        if info.status == "cancelled":
            raise Cancelled(f"{self.task} {self.id} was cancelled: {info.reason or 'no reason given'}")
        if info.status == "expired":
            raise Expired(f"{self.task} {self.id} was not started in time")
        raise TaskFailed(
            self.task, self.id, info.error_type or "", info.error or "", info.traceback or "", info.reason or ""
        )

    def _rest(self, deadline: float | None, timeout: float | None) -> float:
        if deadline is None:
            return LOOK_EVERY
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{self.task} {self.id} has no result after {timeout:g} s")
        return min(LOOK_EVERY, left)


def running_loop() -> object | None:
    """The event loop that runs in this thread, if any; asyncio is not loaded just to ask."""
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()


def warn_blocking(mode: str, what: str, seen: set[tuple[str, int]], depth: int) -> None:
    """A blocking send inside a running event loop: warn once a call site, raise, or allow, as the app says."""
    frame = sys._getframe(depth)
    site = (frame.f_code.co_filename, frame.f_lineno)
    if mode == "raise":
        raise WouldBlock(f"{what}() would stop this event loop; write `await ....a{what}(...)`")
    if mode == "warn" and site not in seen:
        seen.add(site)
        text = f"{what}() blocks this event loop until Redis answers; write `await ....a{what}(...)`"
        warnings.warn(text, RuntimeWarning, stacklevel=depth + 1)
