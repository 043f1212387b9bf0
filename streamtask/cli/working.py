"""One worker process of the command line: connects, says so, works, and stops at signals or with its parent."""

from __future__ import annotations

import asyncio
import logging
import signal
import time

from streamtask.beat import Beat
from streamtask.broker.link import ResponseError
from streamtask.child.origin import Origin
from streamtask.cli import banner, serve
from streamtask.cli.apps import Loaded
from streamtask.cli.command import BEGAN
from streamtask.cli.pulse import Condition, Pulse
from streamtask.cli.text import plural, size
from streamtask.heartbeat import HeartbeatFile, Worn
from streamtask.inspector import unserved
from streamtask.logs import LogReporter
from streamtask.logs.reporter import short
from streamtask.supervisor import NO_LIMITS, Hello, Limits, Parent, Wear
from streamtask.worker import Worker, WorkerOptions
from streamtask.worker.delivery import State

#: Running tasks that the line about the stop names.
_NAMED = 5
#: Seconds between two beats to a parent.
BEAT = 1.0


class Working:
    """`processes` is 0 without a parent; under one, the parent writes the banner for all, and hears that we live."""

    def __init__(
        self,
        loaded: Loaded,
        options: WorkerOptions,
        report: LogReporter,
        *,
        origin: Origin,
        ticks: bool,
        parent: Parent | None = None,
        processes: int = 0,
        limits: Limits = NO_LIMITS,
    ) -> None:
        self.app, self.report, self.ticks = loaded.app, report, ticks
        self.worker = Worker(loaded.app, options, report, origin)
        self.beat = Beat(loaded.app, report) if ticks else None
        self.parent, self.processes, self.limits = parent, processes, limits
        self._stopping = False
        consumer = report.worker = self.worker.consumer
        if parent is not None:
            report.tag = consumer.rpartition(":")[2]
        self.condition = Condition("worker", consumer, loaded.app.namespace)
        sink = parent or HeartbeatFile(consumer)
        self.pulse = Pulse(self.condition.heartbeat, sink, report, **({"period": BEAT} if parent else {}))

    async def run(self) -> int:
        """Its life; the exit code."""
        async with self.pulse:
            self._listen()
            await serve.connect(self.app, self.worker.connect())
            await self._introduce()
            if self.beat is not None:
                await serve.connect(self.app, self.beat.connect())
            waiting = await serve.connect(self.app, self.worker.waiting())
            took = (time.monotonic() - BEGAN) * 1000
            are = "message is" if waiting == 1 else "messages are"
            text = f"ready in {took:.0f} ms, {waiting:,} {are} waiting"
            self.report.amend("worker.ready", text, waiting=waiting)
            return await self._serve()

    async def _serve(self) -> int:
        working = asyncio.create_task(self.worker.serve())
        await asyncio.sleep(0)  # its first step makes the loops
        self.condition.ready(lambda: self.worker.leases.last_good)
        self.pulse.tell()
        wearing = self._watch_wear()
        try:
            return await self._until_ended(working)
        finally:
            if wearing is not None:
                wearing.cancel()

    async def _until_ended(self, working: asyncio.Task[int]) -> int:
        if self.beat is None:
            return await working
        self.report.amend("beat.started", f"this worker ticks {len(self.app.schedules)} schedules")
        ticking = asyncio.create_task(self.beat.serve())
        await asyncio.wait([ticking, working], return_when=asyncio.FIRST_COMPLETED)
        if ticking.done() and not working.done() and ticking.exception() is not None:
            self.worker.stop()  # a beat that broke is a defect of ours: end in order, and let it be seen
        code = await working
        self.beat.stop()
        await ticking
        return code

    def _watch_wear(self) -> asyncio.Task[None] | None:
        """Have the parent told when this process wants to be replaced."""
        if self.parent is None or not self.limits.given:
            return None
        wear = Wear(self.limits, lambda: self.worker.ended, self._worn)
        if self.limits.too_low(wear.fresh):
            text = f"it holds {size(wear.fresh)} before its first task, so it cannot keep to --max-rss; give it more"
            self.report.event("worker.warning", logging.WARNING, text)
        return asyncio.create_task(wear.run())

    def _worn(self, worn: Worn) -> None:
        self.condition.worn = worn
        self.pulse.tell()

    # -- the stop ----------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Hear signals. Under a parent only its word makes a stop a hurried one: whoever sends SIGTERM to all
        processes of a service, as systemd does, must not be heard twice.
        """
        if self.parent is None:
            serve.Signals(self._drain, self.worker.stop_now).install()
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._drain, number.name)
        self.parent.listen(lambda: self._drain("the parent process is gone"), self.worker.stop_now)

    def _drain(self, why: str) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._say_stop(why)
        self.worker.stop()
        if self.beat is not None:
            self.beat.stop()
        self.condition.draining = True
        self.pulse.tell()

    def _say_stop(self, why: str) -> None:
        """Say that it stops, and let the runtime's own line name what it waits for."""
        report, worker = self.report, self.worker
        again = "; once more to stop now" if self.parent is None else ""
        report.event("worker.stopping", logging.INFO, f"{why}: stopping{again}", signal=why)
        running = [d for queue in worker.queues for d in queue.held.values() if d.state is State.RUNNING]
        if running:
            of = ", ".join(short(d.message.task if d.message else None, d.message_id) for d in running[:_NAMED])
            more = f" and {len(running) - _NAMED} more" if len(running) > _NAMED else ""
            tasks = "1 running task" if len(running) == 1 else f"{len(running)} running tasks"
            text = f"waiting for {tasks}, at most {worker.options.grace:g} s: {of}{more}"
            report.amend("worker.draining", text, running=len(running))

    # -- the start ---------------------------------------------------------------------------------------------------

    async def _introduce(self) -> None:
        """Say where it is and what it serves, or let the parent say it; raises Failure on a Redis that evicts keys."""
        worker, app, report = self.worker, self.app, self.report
        warnings = serve.check_eviction(app, worker.server) + banner.warnings(app, worker.server)
        warnings += await self._unserved()
        url = app.post.sender.url()
        lines = banner.worker_lines(worker, url, self.ticks, self.processes)
        if report.as_json:
            report.event("worker.started", logging.INFO, "started", **banner.worker_facts(worker, url, self.ticks))
        elif self.parent is None and report.level <= logging.INFO:
            report.plain(lines)
        if self.parent is None:
            serve.warn(report, warnings)
            return
        queues = tuple(dict.fromkeys(queue.name for queue in worker.queues))
        address = app.post.address.url
        self.parent.hello(Hello(worker.consumer, address, app.namespace, queues, tuple(lines), tuple(warnings)))

    async def _unserved(self) -> list[str]:
        """Queues of this namespace that have messages and that nobody reads."""
        served = {queue.name for queue in self.worker.queues}
        try:
            found = await self.app.post.adrive(unserved(self.app.namespace, served))
        except ResponseError:
            return []  # a command is forbidden to us: then we cannot know
        fix = "streamtask worker APP -Q"
        return [
            f'"{name}" has {plural(n, "event")} to try again and no worker (start one with its handler)'
            if "/" in name
            else f'queue "{name}" has {plural(n, "message")} and no worker ({fix} {name})'
            for name, n in found
        ]
