"""Sends of one event loop that come side by side go to Redis in one write, without being asked to.

There is no timer: what is sent in one turn of the loop makes a bundle, which leaves at the end of that turn. Callers
that waited for one bundle go on together, so they make the next one together, too. A single send waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from streamtask.broker.outgoing import Receipt
from streamtask.broker.sending import CHUNK, Item, Receipts
from streamtask.errors import SendError

Waiting = list[tuple[Item, "asyncio.Future[Receipt | Exception]"]]


class Bundles:
    """Of one event loop. `converse(items)` sends messages of one queue, at most CHUNK, and gives each one's receipt or
    its own error.
    """

    def __init__(self, converse: Callable[[Sequence[Item]], Awaitable[Receipts]]) -> None:
        self._converse = converse
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, Waiting] = {}  # by stream
        self._leaving: set[asyncio.Task[None]] = set()

    def send(self, item: Item) -> asyncio.Future[Receipt | Exception]:
        """Send one; a refusal is the result, a SendError is raised. Who waits may give up: it is sent all the same."""
        if not self._waiting:
            self._loop.call_soon(self._leave)
        future: asyncio.Future[Receipt | Exception] = self._loop.create_future()
        self._waiting.setdefault(item.keys.stream, []).append((item, future))
        return future

    def _leave(self) -> None:
        streams, self._waiting = self._waiting, {}
        for waiting in streams.values():
            wanted = [one for one in waiting if not one[1].cancelled()]
            for start in range(0, len(wanted), CHUNK):
                task = self._loop.create_task(self._carry(wanted[start : start + CHUNK]))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)

    async def _carry(self, bundle: Waiting) -> None:
        try:
            receipts = await self._converse([item for item, _ in bundle])
        except Exception as error:  # noqa: BLE001 - it is their sends that failed
            for _, future in bundle:
                if not future.done():
                    future.set_exception(error)
        except asyncio.CancelledError:  # the loop is at its end
            for _, future in bundle:
                future.cancel()
            raise
        else:
            for (_, future), receipt in zip(bundle, receipts, strict=True):
                if future.done():  # who waited has given up
                    continue
                if isinstance(receipt, SendError):
                    future.set_exception(receipt)
                else:
                    future.set_result(receipt)
