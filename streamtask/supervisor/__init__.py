"""The parent of several worker processes: starts them, replaces what dies, kills what hangs, and ends with them.

It imports no user code and reads no messages, so there is little in it that can break. Each child is a whole worker:
the same command once more, in a fresh interpreter. A parent that is killed takes no message along and leaves no child
behind: each ends when its socket does.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from streamtask.broker.leftovers import Leftovers
from streamtask.broker.link import CONNECTION_ERRORS, ResponseError
from streamtask.embedded import ensure
from streamtask.embedded.place import SCHEME
from streamtask.errors import ConfigError
from streamtask.heartbeat import Heartbeat
from streamtask.supervisor.child import Child
from streamtask.supervisor.parent import Hello, Parent
from streamtask.supervisor.restarts import GAVE_BACK, HUNG, IN_ORDER, OK, Restarts, ends_all, how_it_ended, worst
from streamtask.supervisor.stacks import telling
from streamtask.worker.report import ERROR, INFO, WARNING, Reporter

__all__ = ["Hello", "Parent", "Supervisor", "SupervisorOptions"]

#: Seconds between two looks at the children's signs of life, at most; and a delay of our own that is more than chance.
LOOK, LATE = 0.5, 1.0
#: Seconds after which a dead process's queues are looked at again: Redis may have served a read of the dead one after
#: the first look, before it saw that the connection is closed.
SECOND_LOOK = 1.0
#: Seconds for which giving back is tried when Redis is away, between two tries, and at most when all of it stops.
GIVE_BACK_FOR, AGAIN, LAST_TRY = 60.0, 0.5, 10.0


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """`command` starts one worker process that finds its parent by itself. `stall_limit` in seconds."""

    command: Sequence[str]
    environment: Mapping[str, str]
    processes: int
    stall_limit: float
    burst: bool = False


class Supervisor:
    """`run()` serves until `stop()`, until every child of a burst has ended, or until none can be started."""

    def __init__(
        self, name: str, options: SupervisorOptions, report: Reporter, greeted: Callable[[Hello], None]
    ) -> None:
        """`greeted` is told of the first child that has reached Redis."""
        self.name, self.options, self.report = name, options, report
        self._say_greeted = greeted
        self._children: dict[int, Child] = {}
        self._stopping, self._first = asyncio.Event(), asyncio.Event()
        self._worked = False  # one that has died was ready
        self._giving_back: set[asyncio.Task[None]] = set()
        self._ready_since: str | None = None
        self.app: str | None = None  # its name, when a child has reached Redis

    def stop(self) -> None:
        """End after the children have ended in order."""
        self._stopping.set()
        for child in self._children.values():
            child.drain()

    def stop_now(self) -> None:
        """Let the children end at once."""
        self.stop()
        for child in self._children.values():
            child.stop_now()

    def kill(self) -> None:
        """End the children as they stand."""
        for child in self._children.values():
            child.kill()

    async def run(self) -> int:
        """Start the children, see to them, and return the worst of their exit codes.

        The first goes ahead: what keeps a worker from starting is said once, and the banner stands above the rest.
        """
        watching = asyncio.create_task(self._watch())
        first = asyncio.create_task(self._keep(0))
        greeted = asyncio.create_task(self._first.wait())
        waited_for: list[asyncio.Task[Any]] = [first, greeted, watching]
        await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
        rest = (asyncio.create_task(self._keep(number)) for number in range(1, self.options.processes))
        all_of_them = asyncio.gather(first, *rest)
        try:
            either: list[asyncio.Future[Any]] = [all_of_them, watching]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()  # it does not end: a defect of ours, let it be seen
            codes = await all_of_them
            if self._giving_back:
                await asyncio.wait(self._giving_back, timeout=LAST_TRY)
            return worst(codes)
        finally:
            greeted.cancel()
            watching.cancel()
            self.kill()
            await asyncio.gather(greeted, watching, return_exceptions=True)

    def heartbeat(self) -> Heartbeat:
        """How this process and its children are."""
        now = time.monotonic()
        beats = [child.heartbeat for child in self._children.values() if child.heartbeat is not None]
        serving = len(beats) == self.options.processes and all(beat.ready_since for beat in beats)
        if not serving:
            self._ready_since = None
        elif self._ready_since is None:
            self._ready_since = datetime.now(UTC).isoformat(timespec="seconds")
        return Heartbeat(
            kind="worker",
            consumer=self.name,
            app=self.app,
            pid=os.getpid(),
            beat=now,
            ready_since=self._ready_since,
            draining=self._stopping.is_set(),
            processes=self.options.processes,
            children=tuple(beats),
        )

    # -- one place among the processes -------------------------------------------------------------------------------

    async def _keep(self, number: int) -> int:
        """Keep one process running; the exit code of the last one."""
        restarts = Restarts()
        try:
            while not self._stopping.is_set():
                child, code = await self._life(number)
                if self._stopping.is_set() or (self.options.burst and code == OK):
                    return code
                if ends_all(code, self._has_worked):
                    self.stop()
                    return code
                served = 0.0 if child.ready_at is None else time.monotonic() - child.ready_at
                pause = restarts.pause(served)
                self._say_died(child, code, pause)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)
            return OK  # what died before the stop was dealt with
        finally:
            self._first.set()

    async def _life(self, number: int) -> tuple[Child, int]:
        """Start a process, wait for its end, and let others have what it held; its exit code."""
        child = self._children[number] = Child(self._greeted)
        try:
            await child.start(self.options.command, self.options.environment)
        except OSError as error:  # this machine has no room for one more just now
            child.unstarted = str(error)
            del self._children[number]
            return child, GAVE_BACK
        if self._stopping.is_set():
            child.drain()
        code = await child.ended()
        del self._children[number]
        if child.hello is not None:
            self._give_back(child.hello, code)
        elif self._stopping.is_set():
            code = OK  # it was asked to end before it could read anything
        self._worked |= child.ready_at is not None
        return child, HUNG if child.stalled else code

    @property
    def _has_worked(self) -> bool:
        """Was any process ready, now or before?"""
        return self._worked or any(child.ready_at is not None for child in self._children.values())

    def _greeted(self, child: Child) -> None:
        if self._first.is_set():
            return
        self._first.set()
        assert child.hello is not None
        self.app = child.hello.namespace
        self._say_greeted(child.hello)

    def _say_died(self, child: Child, code: int, pause: float) -> None:
        if child.unstarted is not None:
            how = f"a process cannot be started ({child.unstarted})"
        elif child.stalled:
            how = f"{child.name} was killed because its loop stood still"
        else:
            how = f"{child.name} ended by itself ({how_it_ended(code)})"
        text = f"{how}; the next is started {f'in {pause:g} s' if pause else 'at once'}"
        level = INFO if code == OK else ERROR
        self.report.event("worker.died", level, text, of=child.name, pid=child.pid, code=code, restart_in_s=pause)

    # -- what stands still --------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Kill the children whose loop stands still.

        When this process itself stood still, so did its ears, and perhaps the whole machine: then all begin anew.
        """
        looked_at = time.monotonic()
        look = min(LOOK, self.options.stall_limit / 4)
        while True:
            await asyncio.sleep(look)
            now = time.monotonic()
            for child in list(self._children.values()):
                if now - looked_at > look + LATE:
                    child.heard_at = now if child.heard_at is not None else None
                elif child.silent_for(now) > self.options.stall_limit and not child.stalled:
                    child.stalled = True
                    text = f"{child.name}: its event loop has stood still for {child.silent_for(now):.1f} s; killing it"
                    stack = telling(child.stack)
                    self.report.event("worker.stalled", ERROR, text, of=child.name, pid=child.pid, traceback=stack)
                    child.kill()
            looked_at = now

    # -- what the dead leave ------------------------------------------------------------------------------------------

    def _give_back(self, hello: Hello, code: int) -> None:
        """Let others have at once what a dead process held. After an end in order that is nothing, as a rule."""
        task = asyncio.create_task(self._giving(hello, code))
        self._giving_back.add(task)
        task.add_done_callback(self._giving_back.discard)

    async def _giving(self, hello: Hello, code: int) -> None:
        until = time.monotonic() + GIVE_BACK_FOR
        await self._giving_once(hello, until)
        if code not in IN_ORDER:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), SECOND_LOOK)
            await self._giving_once(hello, until)

    async def _giving_once(self, hello: Hello, until: float) -> None:
        given = await self._leftovers_of(hello, until)
        if given is None:
            text = f"redis does not answer; what {hello.consumer} held moves when its lease is over"
            self.report.event("worker.given_back", WARNING, text, of=hello.consumer)
        elif given:
            messages = "1 message goes" if given == 1 else f"{given} messages go"
            text = f"{messages} from {hello.consumer} to others"
            self.report.event("worker.given_back", INFO, text, of=hello.consumer, messages=given)

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
