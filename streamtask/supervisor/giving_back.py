"""What the dead leave: others get at once what a process held that has ended."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from streamtask.broker.leftovers import Leftovers
from streamtask.broker.link import CONNECTION_ERRORS, ResponseError
from streamtask.embedded import ensure
from streamtask.embedded.place import SCHEME
from streamtask.errors import ConfigError
from streamtask.supervisor.parent import Hello
from streamtask.supervisor.restarts import IN_ORDER
from streamtask.worker.report import INFO, WARNING, Reporter

#: Seconds after which a dead process's queues are looked at again: Redis may have served a read of the dead one after
#: the first look, before it saw that the connection is closed.
SECOND_LOOK = 1.0
#: Seconds for which giving back is tried when Redis is away, between two tries, and at most when all of it stops.
GIVE_BACK_FOR, AGAIN, LAST_TRY = 60.0, 0.5, 10.0


class GivingBack:
    """Runs beside the rest: no start waits for it. `stopping` is done when all of it ends."""

    def __init__(self, report: Reporter, stopping: asyncio.Future[None]) -> None:
        self._report, self._stopping = report, stopping
        self._under_way: set[asyncio.Task[None]] = set()

    def begin(self, hello: Hello, code: int) -> None:
        """Let others have what the process held that ended with `code`. After an end in order that is nothing, as a
        rule.
        """
        task = asyncio.create_task(self._give_back(hello, code))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def finish(self) -> None:
        """The last chance for what is under way."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=LAST_TRY)

    async def _give_back(self, hello: Hello, code: int) -> None:
        until = time.monotonic() + GIVE_BACK_FOR
        await self._once(hello, until)
        if code not in IN_ORDER:
            await asyncio.wait([self._stopping], timeout=SECOND_LOOK)
            await self._once(hello, until)

    async def _once(self, hello: Hello, until: float) -> None:
        given = await self._leftovers_of(hello, until)
        if given is None:
            text = f"redis does not answer; what {hello.consumer} held moves when its lease is over"
            self._report.event("worker.given_back", WARNING, text, of=hello.consumer)
        elif given:
            messages = "1 message goes" if given == 1 else f"{given} messages go"
            text = f"{messages} from {hello.consumer} to others"
            self._report.event("worker.given_back", INFO, text, of=hello.consumer, messages=given)

    async def _leftovers_of(self, hello: Hello, until: float) -> int | None:
        """Give back until it succeeds; how many messages. None when Redis stayed away."""
        while True:
            with suppress(*CONNECTION_ERRORS, ResponseError, ConfigError):
                return await _give_back_all(hello)
            if time.monotonic() > until:
                return None
            await asyncio.sleep(AGAIN)


async def _give_back_all(hello: Hello) -> int:
    url = hello.url
    if url.startswith(SCHEME):  # the private server may have ended with its last user
        url = await asyncio.get_running_loop().run_in_executor(None, ensure, url)
    leftovers = Leftovers(url, hello.namespace, hello.consumer, hello.queues)
    try:
        return await leftovers.give_back()
    finally:
        await leftovers.close()
