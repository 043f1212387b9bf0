"""One place among the processes: somebody serves in it as long as the parent does.

One that dies is replaced afterwards. One that is worn is replaced before: it works on until its replacement serves, and
is given time to end what it runs. At most one process of a place is on its way out, so that long tasks pile up none.
"""

from __future__ import annotations

import asyncio
import time

from streamtask.duration import show
from streamtask.supervisor.child import Child
from streamtask.supervisor.crew import Crew, first_of
from streamtask.supervisor.restarts import (
    GAVE_BACK,
    HUNG,
    IN_ORDER,
    OK,
    STEADY,
    Restarts,
    ends_all,
    how_it_ended,
    worst,
)
from streamtask.worker.report import ERROR, INFO, WARNING

#: Seconds for which a place waits for another that recycles, so that as a rule there is one process too many, and not
#: one a place. What takes longer to start or to end holds up no other.
TURN = 60.0
_MIB = 2**20


class Place:
    """`serving` is the process that counts; `children` are all that live: it, its replacement, and what drains."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self.serving: Child | None = None
        self.children: set[Child] = set()
        self._leaving: asyncio.Task[int] | None = None

    async def keep(self) -> int:
        """Keep one process serving; the exit code of the last ones."""
        crew, restarts, code = self._crew, Restarts(), OK
        while not crew.stopping.done():
            child = await self._reign()
            code = await child.end
            if crew.stopping.done():
                break
            if self._bursts(code):
                if self._leaving is None:
                    break
                code = await self._left()  # which may have given back after the last look of this one
                continue
            if ends_all(code, crew.has_worked):
                crew.stop()
                break
            pause = restarts.pause(child.served)
            self._say_died(child, code, pause)
            await first_of(crew.stopping, timeout=pause)
            code = OK  # if all end now, what died before was dealt with
        return worst([code, await self._left()])

    async def _reign(self) -> Child:
        """From the start of a process to the end of the last one that took over from it; that one, which has ended or
        is asked to.
        """
        child = self.serving = self._start()
        while True:
            await first_of(child.worn_out, child.end)
            if self._leaving is not None:
                await first_of(self._leaving, child.end, self._crew.stopping)
            if child.end.done() or self._crew.stopping.done():
                return child
            self._leaving = None
            heir = await self._recycle(child)
            if heir is child:
                return child
            child = self.serving = heir

    def _bursts(self, code: int) -> bool:
        """Did a process find that there is nothing left to do?"""
        return self._crew.options.burst and code == OK

    async def _left(self) -> int:
        """Wait for the one that drains, if there is one; its exit code, as far as it counts for the whole."""
        leaving, self._leaving = self._leaving, None
        return OK if leaving is None else await leaving

    def _start(self) -> Child:
        child = Child(self._crew.greeted)
        child.end = asyncio.create_task(self._life(child))
        return child

    async def _life(self, child: Child) -> int:
        """Start a process, wait for its end, and let others have what it held; its exit code."""
        crew = self._crew
        self.children.add(child)
        child.ready.add_done_callback(lambda _: crew.worked())
        try:
            await child.start(crew.options.command, crew.options.environment)
            if crew.stopping.done():
                child.drain()
            code = await child.ended()
        except OSError as error:  # this machine has no room for one more just now
            child.unstarted = str(error)
            return GAVE_BACK
        finally:
            self.children.discard(child)
        if child.hello is not None:
            crew.giving_back.begin(child.hello, code)
        elif crew.stopping.done():
            code = OK  # it was asked to end before it could read anything
        return HUNG if child.stalled else code

    # -- one that is worn --------------------------------------------------------------------------------------------

    async def _recycle(self, old: Child) -> Child:
        """Wait for this place's turn and have the old one replaced; who serves from here on. The old one itself, when
        it is the last.
        """
        self._say_worn(old)
        before, turn = self._crew.take_turn()
        ceiling = asyncio.create_task(self._leave_at_the_ceiling(old))
        heir = old
        try:
            if before is not None:
                await first_of(before, old.end, self._crew.stopping, timeout=TURN)
            heir = await self._heir(old)
        finally:
            ceiling.cancel()
            if heir is old:
                turn.set_result(None)
            else:
                self._see_off(old)
                assert self._leaving is not None
                self._leaving.add_done_callback(lambda _: turn.set_result(None))
        return heir

    async def _heir(self, old: Child) -> Child:
        """Start replacements until one serves, or the old one is gone and there is nobody to wait for one that does."""
        crew, restarts = self._crew, Restarts()
        while not crew.stopping.done() and (not old.end.done() or self._leaving is not None):
            heir = self._start()
            await first_of(heir.ready, heir.end)
            if heir.ready.done():
                return heir
            code = await heir.end
            if crew.stopping.done() or self._bursts(code):
                break
            if old.end.done():
                return heir
            pause = restarts.pause(0.0)
            self._say_died(heir, code, pause)
            await first_of(crew.stopping, old.end, timeout=pause)
        return old

    async def _leave_at_the_ceiling(self, old: Child) -> None:
        """The ceiling holds, also when no replacement serves yet."""
        await first_of(old.spent)
        text = f"{old.name} is at its ceiling before a replacement serves; it takes nothing more"
        self._crew.report.event("worker.spent", WARNING, text, of=old.name, pid=old.pid)
        self._see_off(old)

    def _see_off(self, old: Child) -> None:
        """Let it end, unless that was begun."""
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave(old))

    async def _leave(self, old: Child) -> int:
        """Ask it to end, and see to it that it does; its exit code, as far as it counts for the whole."""
        asked, deadline = time.monotonic(), self._crew.options.deadline
        old.drain()
        await first_of(old.end, timeout=deadline)
        overdue = not old.end.done()
        if overdue:
            old.kill()
        code = await old.end
        self._say_recycled(old, code, time.monotonic() - asked, overdue)
        return code if self._crew.stopping.done() else OK

    # -- what is told ------------------------------------------------------------------------------------------------

    def _say_died(self, child: Child, code: int, pause: float) -> None:
        if child.unstarted is not None:
            how = f"a process cannot be started ({child.unstarted})"
        elif child.stalled:
            how = f"{child.name} was killed because its loop stood still"
        else:
            how = f"{child.name} ended by itself ({how_it_ended(code)})"
        text = f"{how}; the next is started {f'in {pause:g} s' if pause else 'at once'}"
        level = INFO if code == OK else ERROR
        facts = {"of": child.name, "pid": child.pid, "code": code, "restart_in_s": pause}
        self._crew.report.event("worker.died", level, text, **facts)

    def _say_worn(self, old: Child) -> None:
        """A ceiling that is reached within a minute is too low, or a leak that wants to be mended."""
        worn, limits = old.worn, self._crew.options.limits
        assert worn is not None
        tasks, rss = f"{worn.tasks:,} tasks", f"{worn.rss / _MIB:.0f} MiB"
        if worn.reason == "max_rss":
            why = f"holds {rss} after {tasks}, and its ceiling is {(limits.max_rss or 0) / _MIB:g} MiB"
        else:
            why = f"has ended {tasks} and holds {rss}"
        text = f"{old.name} {why}; it is replaced, {show(round(old.served, 1))} after it began"
        level = WARNING if worn.reason == "max_rss" and old.served < STEADY else INFO
        facts = {"reason": worn.reason, "tasks": worn.tasks, "rss_bytes": worn.rss, "served_s": round(old.served, 3)}
        self._crew.report.event("worker.worn", level, text, of=old.name, pid=old.pid, **facts)

    def _say_recycled(self, old: Child, code: int, took: float, overdue: bool) -> None:
        how = "was killed, for it had not ended" if overdue else f"ended ({how_it_ended(code)})"
        text = f"{old.name} {how}, {took:.1f} s after it was asked to"
        level = INFO if code in IN_ORDER else ERROR
        facts = {"of": old.name, "pid": old.pid, "code": code, "took_s": round(took, 3)}
        self._crew.report.event("worker.recycled", level, text, **facts)
