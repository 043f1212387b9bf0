"""The parent of several worker processes: starts them, replaces what dies, kills what hangs, and ends with them.

It imports no user code and reads no messages, so there is little in it that can break. Each child is a whole worker:
the same command once more, in a fresh interpreter. A parent that is killed takes no message along and leaves no child
behind: each ends when its socket does.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from streamtask.heartbeat import Heartbeat
from streamtask.supervisor.child import Child
from streamtask.supervisor.crew import Crew, SupervisorOptions
from streamtask.supervisor.parent import Hello, Parent
from streamtask.supervisor.place import Place
from streamtask.supervisor.restarts import worst
from streamtask.supervisor.stacks import telling
from streamtask.supervisor.wear import NO_LIMITS, Limits, Wear
from streamtask.worker.report import ERROR, Reporter

__all__ = ["NO_LIMITS", "Hello", "Limits", "Parent", "Supervisor", "SupervisorOptions", "Wear"]

#: Seconds between two looks at the children's signs of life, at most; and a delay of our own that is more than chance.
LOOK, LATE = 0.5, 1.0


class Supervisor:
    """`run()` serves until `stop()`, until every child of a burst has ended, or until none can be started."""

    def __init__(
        self, name: str, options: SupervisorOptions, report: Reporter, greeted: Callable[[Hello], None]
    ) -> None:
        """`greeted` is told of the first child that has reached Redis."""
        self.name, self.options, self.report = name, options, report
        self._say_greeted = greeted
        self._crew = Crew(options, report, self._greeted, self.stop)
        self._places = [Place(self._crew) for _ in range(options.processes)]
        self._first = asyncio.Event()
        self._ready_since: str | None = None
        self.app: str | None = None  # its name, when a child has reached Redis

    def stop(self) -> None:
        """End after the children have ended in order."""
        if not self._crew.stopping.done():
            self._crew.stopping.set_result(None)
        for child in self._children():
            child.drain()

    def stop_now(self) -> None:
        """Let the children end at once."""
        self.stop()
        for child in self._children():
            child.stop_now()

    def kill(self) -> None:
        """End the children as they stand."""
        for child in self._children():
            child.kill()

    async def run(self) -> int:
        """Start the children, see to them, and return the worst of their exit codes.

        The first goes ahead: what keeps a worker from starting is said once, and the banner stands above the rest.
        """
        watching = asyncio.create_task(self._watch())
        first = asyncio.create_task(self._keep(self._places[0]))
        greeted = asyncio.create_task(self._first.wait())
        waited_for: list[asyncio.Task[Any]] = [first, greeted, watching]
        await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
        rest = (asyncio.create_task(self._keep(place)) for place in self._places[1:])
        all_of_them = asyncio.gather(first, *rest)
        try:
            either: list[asyncio.Future[Any]] = [all_of_them, watching]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()  # it does not end: a defect of ours, let it be seen
            codes = await all_of_them
            await self._crew.giving_back.finish()
            return worst(codes)
        finally:
            greeted.cancel()
            watching.cancel()
            self.kill()
            await asyncio.gather(greeted, watching, return_exceptions=True)

    def heartbeat(self) -> Heartbeat:
        """How this process and its children are."""
        now = time.monotonic()
        serve = [place.serving for place in self._places]
        beats = [child.heartbeat for child in serve if child and child.heartbeat and not child.end.done()]
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
            draining=self._crew.stopping.done(),
            processes=self.options.processes,
            children=tuple(beats),
        )

    def _children(self) -> list[Child]:
        return [child for place in self._places for child in place.children]

    async def _keep(self, place: Place) -> int:
        try:
            return await place.keep()
        finally:
            self._first.set()

    def _greeted(self, child: Child) -> None:
        if self._first.is_set():
            return
        self._first.set()
        assert child.hello is not None
        self.app = child.hello.namespace
        self._say_greeted(child.hello)

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
            for child in self._children():
                if now - looked_at > look + LATE:
                    child.heard_at = now if child.heard_at is not None else None
                elif child.silent_for(now) > self.options.stall_limit and not child.stalled:
                    child.stalled = True
                    text = f"{child.name}: its event loop has stood still for {child.silent_for(now):.1f} s; killing it"
                    stack = telling(child.stack)
                    self.report.event("worker.stalled", ERROR, text, of=child.name, pid=child.pid, traceback=stack)
                    child.kill()
            looked_at = now
