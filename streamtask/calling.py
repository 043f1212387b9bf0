"""Request and reply: a task is sent, its result awaited and taken away."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from streamtask.errors import Expired, SendError
from streamtask.options import CallOptionsDict
from streamtask.result import Result
from streamtask.task import Task

if TYPE_CHECKING:
    from streamtask.broker.sender import Steps

R = TypeVar("R")
#: Seconds: how long a call waits by default, and at most.
TIMEOUT, LONGEST = 60.0, 120.0
#: Seconds between two looks while the notices are heard; what was missed costs no more than this.
LOOK_EVERY = 5.0


class Calls:
    """What `StreamTask` can do with calls that wait for their answer."""

    @abstractmethod
    def send(
        self, task: str, /, args: Mapping[str, Any] | None = None, **options: Unpack[CallOptionsDict]
    ) -> Result[Any]:
        """As in StreamTask."""

    @abstractmethod
    async def asend(
        self, task: str, /, args: Mapping[str, Any] | None = None, **options: Unpack[CallOptionsDict]
    ) -> Result[Any]:
        """As in StreamTask."""

    @overload
    def call(
        self,
        task: Task[..., R],
        args: Mapping[str, Any] | None = ...,
        timeout: float = ...,
        **options: Unpack[CallOptionsDict],
    ) -> R: ...
    @overload
    def call(
        self,
        task: str,
        args: Mapping[str, Any] | None = ...,
        timeout: float = ...,
        **options: Unpack[CallOptionsDict],
    ) -> Any: ...
    def call(
        self,
        task: str | Task[..., Any],
        args: Mapping[str, Any] | None = None,
        timeout: float = TIMEOUT,
        **options: Unpack[CallOptionsDict],
    ) -> Any:
        """Send a call and wait for its answer, at most `timeout` seconds (120 is the most); its record is removed.

        The message expires with the wait, so that no worker begins what nobody waits for. Errors as in `send` and
        `Result.get`.
        """
        wait = wait_of(timeout)
        return finish(self.send(_name(task), args, **_expiring(options, wait)), wait)

    @overload
    async def acall(
        self,
        task: Task[..., R],
        args: Mapping[str, Any] | None = ...,
        timeout: float = ...,
        **options: Unpack[CallOptionsDict],
    ) -> R: ...
    @overload
    async def acall(
        self,
        task: str,
        args: Mapping[str, Any] | None = ...,
        timeout: float = ...,
        **options: Unpack[CallOptionsDict],
    ) -> Any: ...
    async def acall(
        self,
        task: str | Task[..., Any],
        args: Mapping[str, Any] | None = None,
        timeout: float = TIMEOUT,
        **options: Unpack[CallOptionsDict],
    ) -> Any:
        """The asyncio twin of `call`; all calls that wait in an event loop share one connection."""
        wait = wait_of(timeout)
        return await afinish(await self.asend(_name(task), args, **_expiring(options, wait)), wait)


def _name(task: str | Task[..., Any]) -> str:
    return task if isinstance(task, str) else task.name


def _expiring(options: CallOptionsDict, wait: float) -> CallOptionsDict:
    return options if "expires" in options else {**options, "expires": wait}


def wait_of(timeout: float) -> float:
    """The seconds that a call waits: at most LONGEST, and TIMEOUT for what is not positive."""
    return min(timeout, LONGEST) if timeout > 0 else TIMEOUT


def finish(result: Result[R], timeout: float) -> R:
    """Wait for the answer of a message that was sent to expire after `timeout` seconds, and remove its record."""
    try:
        value = result.get(timeout)
    except Expired:
        raise _late(result, timeout) from None
    except TimeoutError:
        raise  # the record comes later, and is kept for result_ttl
    except Exception:
        result._post.drive(_forget(result))
        raise
    result._post.drive(_forget(result))
    return value


async def afinish(result: Result[R], timeout: float) -> R:
    """The asyncio twin of `finish`. All waits of an event loop share one connection; none is taken from the pool."""
    deadline = time.monotonic() + timeout
    over = False
    try:
        async with result._post.awatch(result._keys.result(result.id)) as notice:
            while True:
                record, alive = await result._post.adrive(result._look())
                over = record is not None
                found = result._found((record, alive))
                if found is not None:
                    return found[0]
                left = deadline - time.monotonic()
                if left <= 0:
                    raise _late(result, timeout)
                await notice.wait(min(left, LOOK_EVERY))
    except Expired:
        raise _late(result, timeout) from None
    finally:
        if over:
            await _forgotten(result)


def _late(result: Result[Any], timeout: float) -> TimeoutError:
    return TimeoutError(f"{result.task} {result.id} has no result after {timeout:g} s")


async def _forgotten(result: Result[Any]) -> None:
    """Remove the record, also when who waited is gone: it would stay for its ttl, and be of use to nobody."""
    with suppress(SendError):
        await result._post.sender.adetached(_forget(result))


def _forget(result: Result[Any]) -> Steps[None]:
    if not result.duplicate:  # of an earlier call whose caller may still wait
        with suppress(SendError):  # the answer is there; its record has a ttl
            yield [("DEL", result._keys.result(result.id))]
