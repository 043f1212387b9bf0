"""The worker: wires the loops together, starts them in order, and stops them in order."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from streamtask.app import StreamTask
from streamtask.broker.broker import Broker
from streamtask.broker.link import CONNECTION_ERRORS, Arg, ResponseError
from streamtask.child.ceilings import Ceilings
from streamtask.child.origin import Origin
from streamtask.errors import ConfigError
from streamtask.policy import Finish, Outcome, Release, Stopped, Verdict
from streamtask.task import Kind
from streamtask.worker.children import Children, check_children
from streamtask.worker.clock import RedisClock
from streamtask.worker.completer import Completer
from streamtask.worker.contact import Contact
from streamtask.worker.delivery import Delivery, QueueState, State
from streamtask.worker.executor import Executor
from streamtask.worker.fetcher import Fetcher
from streamtask.worker.janitor import Janitor
from streamtask.worker.leases import Leases
from streamtask.worker.membership import consumer_name, give_back_unknown, join, presence
from streamtask.worker.mover import Mover
from streamtask.worker.once import ask_once
from streamtask.worker.prefetch import PARTS, Prefetch
from streamtask.worker.queues import strayed, subscription_queues, task_queues
from streamtask.worker.readers import Readers
from streamtask.worker.report import ERROR, INFO, WARNING, Reporter, facts, tell
from streamtask.worker.room import Turns
from streamtask.worker.suspects import Suspects

logger = logging.getLogger("streamtask.worker")

#: Exit codes of a worker (interface: docs/reference/cli.md).
OK, GAVE_BACK, FORCED = 0, 5, 130
#: Seconds that cancelled coroutines are given to end (their `finally` blocks), and that the last write is given.
CANCEL_GRACE, LAST_WRITE = 5.0, 10.0


#: All kinds of slots.
ANY: tuple[Kind, ...] = ("coroutine", "thread", "child")


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Flags of `streamtask worker`. Times in seconds, sizes in bytes; no `queues` means all queues of the app."""

    concurrency: int = 100
    threads: int = 10
    children: int = field(default_factory=processors)
    queues: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    topics: bool = True
    prefetch: float = 0.1
    lease: float = 15.0
    grace: float = 30.0
    name: str | None = None
    burst: bool = False
    max_rss: int | None = None  # of each child; that of the worker itself is its parent's matter


async def revive(app: StreamTask) -> None:
    """A private server whose keeper was killed is started again by whoever misses it; any other comes back by
    itself.
    """
    try:
        await asyncio.get_running_loop().run_in_executor(None, app.post.sender.url)
    except ConfigError as error:
        logger.warning("the private server does not start: %s", error)


class Worker:
    """One worker process. `run()` serves until `stop()`, or until there is nothing left with `burst`."""

    def __init__(
        self,
        app: StreamTask,
        options: WorkerOptions,
        report: Reporter | None = None,
        origin: Origin | None = None,
    ) -> None:
        """`origin`: where the children of `process=True` tasks find the app; raises ConfigError when there are such
        tasks and it is missing.
        """
        self.app, self.options, self.report = app, options, report or Reporter()
        self.consumer, self._origin = consumer_name(options.name), origin
        if "child" in self.slots:
            check_children(origin)
        self.clock = RedisClock()
        names = options.queues or tuple(sorted({task.queue for task in app.tasks.values()}))
        self.queues = task_queues(app, [name for name in names if name not in options.exclude], self.consumer)
        if options.topics:
            self.queues += subscription_queues(app.subscriptions.values(), self.consumer)
        self._stopping, self._now = asyncio.Event(), asyncio.Event()
        self._beat_at = time.monotonic()
        self._gap, self._gap_at = 0.0, 0.0
        self._gave_back = 0
        self.lease = self.options.lease
        self.started_at = 0

    @property
    def slots(self) -> dict[Kind, int]:
        """How many of each kind; children only where a task of the app needs them."""
        options = self.options
        slots: dict[Kind, int] = {"coroutine": options.concurrency, "thread": options.threads}
        return slots | {task.kind: options.children for task in self.app.tasks.values() if task.kind == "child"}

    def stop(self) -> None:
        """Stop after what runs has ended, at most `grace` seconds from now."""
        self._stopping.set()

    def stop_now(self) -> None:
        """Stop at once: running coroutines are cancelled and given back."""
        self._stopping.set()
        self._now.set()

    @property
    def ended(self) -> int:
        """Attempts that have ended in this worker; while it serves."""
        return self._prefetch.ended

    async def run(self) -> int:
        """Serve. Returns the exit code; raises redis-py's errors when Redis is not there at the start."""
        await self.connect()
        return await self.serve()

    async def connect(self) -> None:
        """Reach Redis, find out what it can do, and make the groups. Safe to call before `run` to show a banner."""
        url = await asyncio.get_running_loop().run_in_executor(None, self.app.post.sender.url)
        self.broker = Broker(url, self.app.namespace, self.consumer)
        self.server = await self.broker.connect()
        here = self._presence()
        self.lease = await join(self.broker, self.queues, self.options.lease, here, self.report, self._stopping)
        now = await self.broker.call("TIME")
        self.clock.saw(int(now[0]) * 1000 + int(now[1]) // 1000)
        self.started_at = self.clock.now()

    async def waiting(self) -> int:
        """Messages that wait in this worker's streams now."""
        total = 0
        for queue in self.queues:
            total += await self.broker.waiting(queue.keys)
        return total

    async def serve(self) -> int:
        """The worker's life; the order of starts and stops stands here and nowhere else."""
        self._wire()
        if any("child" in queue.kinds for queue in self.queues):
            self.children.start()
        self.leases.start()
        loops = (self.completer.run(), self.mover.run(), self.janitor.run(), self._heartbeat())
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(loop) for loop in loops]
        reading = asyncio.create_task(self.readers.run())
        stopping: asyncio.Task[Any] = asyncio.create_task(self._stopping.wait())
        self.report.event("worker.ready", INFO, "ready", worker=self.consumer)
        try:
            await asyncio.wait([reading, stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in (*tasks, reading):
                if task.done():
                    task.result()  # a loop that broke is a defect of ours: let it be seen
            return await self._drain(reading)
        finally:
            for task in (*tasks, reading, stopping):
                task.cancel()
            await asyncio.gather(*tasks, reading, stopping, return_exceptions=True)
            self.executor.close()
            await self.children.close()
            await self.leases.stop()
            await self._leave()
            self.report.event("worker.stopped", INFO, "stopped", worker=self.consumer)

    def _wire(self) -> None:
        options = self.options
        contact = Contact(self.queues, self.clock)
        self.completer = Completer(self.broker, self.clock, self._settled)
        prefetch = self._prefetch = Prefetch(options.prefetch)
        suspects = Suspects(self._mark, self._evidence)
        ceilings = Ceilings.of(options.max_rss, [task.task_options for task in self.app.tasks.values()])
        self.children = Children(options.children, self._origin, self._child_told, ceilings)
        self.leases = Leases(
            self.broker.url,
            self.app.namespace,
            self.consumer,
            self.queues,
            contact=contact,
            clock=self.clock,
            presence=self._presence,
            lost=self._lost,
            fresh=self._fresh,
        )
        self.executor = Executor(
            self.app.tasks,
            self.queues,
            consumer=self.consumer,
            clock=self.clock,
            slots={**self.slots, **dict.fromkeys(set(self.slots) & {"child"}, 0)},  # none serves yet
            prefetch=prefetch,
            unknown_grace=self.app.post.settings.unknown_grace,
            settle=self._settle,
            refresh=self._refresh,
            silent=self.leases.silent,
            suspects=suspects,
            children=self.children,
            ask_once=self._ask_once,
        )
        turns = Turns(self.executor, self.executor.roomy.set)
        self.readers = Readers(self.queues, lambda queues: self._fetcher(queues, turns, contact), burst=options.burst)
        self.fetcher = self.readers.fetchers[0]
        due = [queue.keys for queue in self.queues if queue.keys.kind == "task"]
        self.mover = Mover(self.broker, due, self.clock, self.readers.parked)
        self.completer.nudge_at, self.completer.gave_up = self.mover.nudge, self._gave_up
        self.completer.strayed = strayed
        tasks, topics = self.app.tasks, self.app.topics
        self.janitor = Janitor(self.broker, self.queues, tasks, self.clock, self.report, topics)
        if self.server.uptime is None or self.server.uptime < 2 * self.lease:
            contact.holiday()  # the server has just started: the others need time to renew
        elif not options.burst:
            contact.rest()

    def _fetcher(self, queues: list[QueueState], turns: Turns, contact: Contact) -> Fetcher:
        return Fetcher(
            self.broker,
            queues,
            self.executor,
            turns,
            contact=contact,
            clock=self.clock,
            report=self.report,
            leases=self.leases,
            revive=lambda: revive(self.app),
            gap=self._recent_gap,
            burst=self.options.burst,
        )

    # -- the stop ----------------------------------------------------------------------------------------------------

    async def _drain(self, reading: asyncio.Task[None]) -> int:
        """Senders stop before receivers, and leases are renewed until the last attempt has ended."""
        await self.readers.stop()
        await asyncio.wait([reading], timeout=LAST_WRITE)
        self.executor.give_back_buffered()
        if running := self._running():
            text = f"waiting for {len(running)} running tasks, at most {self.options.grace:g} s"
            self.report.event("worker.draining", INFO, text, running=len(running))
        await self._until_ended(self.options.grace, or_now=True)
        for delivery in self._running():
            self.executor.stop(delivery, Stopped(started=True))
        await self._until_ended(CANCEL_GRACE, kinds=("coroutine", "child"))
        try:
            await asyncio.wait_for(self.completer.drained(), LAST_WRITE)
        except TimeoutError:
            text = "redis did not take the last verdicts; their leases will run out"
            self.report.event("worker.stopped", WARNING, text)
        await self._give_back_unknown()
        left = len(self._running())
        if left:
            text = f"{left} thread tasks would not end; another worker sees to them when their lease is over"
            self.report.event("worker.stopped", WARNING, text, left=left)
        if self._now.is_set():
            return FORCED
        return GAVE_BACK if self._gave_back or left else OK

    async def _give_back_unknown(self) -> None:
        """While leases are still renewed: what stands under our name and is in no table, as after a lost answer."""
        with suppress(*CONNECTION_ERRORS, ResponseError):  # then their leases run out
            if found := await give_back_unknown(self.broker, self.queues, self.completer.unwritten):
                logger.info("gave back %d messages whose delivery never reached this worker", found)

    async def _until_ended(self, timeout: float, kinds: Collection[Kind] = ANY, or_now: bool = False) -> None:
        deadline = time.monotonic() + timeout
        ended = self.executor.roomy.bell()
        while any(delivery.kind in kinds for delivery in self._running()) and time.monotonic() < deadline:
            if or_now and self._now.is_set():
                return
            ended.clear()
            waits = {asyncio.create_task(ended.wait()), asyncio.create_task(self._now.wait())}
            left = deadline - time.monotonic()
            await asyncio.wait(waits, timeout=max(0.0, min(left, 1.0)), return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    async def _leave(self) -> None:
        with suppress(*CONNECTION_ERRORS, ResponseError):  # an empty consumer harms nobody
            await self.broker.leave([queue.keys for queue in self.queues])
        await self.broker.close()

    def _running(self) -> list[Delivery]:
        return [d for queue in self.queues for d in queue.held.values() if d.state is State.RUNNING]

    # -- between the loops -------------------------------------------------------------------------------------------

    def _settle(self, delivery: Delivery, verdict: Verdict, outcome: Outcome) -> None:
        if type(outcome) is Stopped and isinstance(verdict, Release) and verdict.started:
            self._gave_back += 1
        self.completer.settle(delivery, verdict)

    def _settled(self, delivery: Delivery, verdict: Verdict, applied: bool) -> None:
        """A verdict is written, or was not ours to write; tell it."""
        if self.options.burst:
            self.executor.roomy.set()  # the fetcher waits for the last of them to be written
        if type(verdict) is Finish and verdict.state == "done" and applied and delivery.message is not None:
            if self.report.counted():
                return
            message = delivery.message
            duration = delivery.ended_at - delivery.started_at
            waited = max(0.0, (delivery.started_ms - delivery.entered_ms) / 1000)
            self.report.done(message.task, message.id, message.attempt + 1, duration, waited)
            return
        tell(self.report, delivery, verdict, applied)

    def _gave_up(self, delivery: Delivery, error: str) -> None:
        """Redis takes no verdict on it, in no form."""
        self.executor.roomy.set()
        text = "redis takes no verdict on it; it comes again when its lease is over"
        self.report.event("task.unwritten", ERROR, text, error_type="Unwritable", error=error, **facts(delivery))

    async def _mark(self, deliveries: list[Delivery]) -> list[int]:
        """Marks for a batch that may hold several queues."""
        marks: dict[int, int] = {}
        for queue in {id(d.queue): d.queue for d in deliveries}.values():
            mine = [d for d in deliveries if d.queue is queue]
            args: list[Arg] = [arg for d in mine for arg in (d.id, d.count, d.message_id)]
            for delivery, mark in zip(mine, await self.broker.mark(queue.keys, args), strict=True):
                marks[id(delivery)] = mark
        return [marks[id(delivery)] for delivery in deliveries]

    async def _evidence(self, delivery: Delivery) -> bool:
        """Is there a mark of an earlier start than this delivery's?"""
        return await self.broker.marked(delivery.queue.keys, delivery.message_id, (delivery.id, delivery.count))

    async def _ask_once(self, deliveries: list[Delivery]) -> list[str]:
        return await ask_once(self.broker, deliveries)

    def _lost(self, delivery: Delivery, count: int, gone: bool) -> None:
        if delivery.queue.held.get(delivery.id) is not delivery:
            return
        if delivery.count != count:  # it has come to us again meanwhile, so the answer is about an old token
            if delivery.unsure:
                self._refresh(delivery)
            return
        if delivery.state is State.SETTLING or (gone and delivery.state is State.RUNNING):
            return  # the verdict will find out by itself; a healthy attempt is not stopped because its entry is gone
        if delivery.stopped_as is None:
            self.report.event("task.lease_lost", WARNING, "its lease went to another worker", **facts(delivery))
        self.executor.lost(delivery)

    def _child_told(self, event: str, level: int, text: str, delivery: Delivery | None = None, **fields: Any) -> None:
        self.report.event(event, level, text, **fields, **(facts(delivery) if delivery is not None else {}))

    def _presence(self) -> str:
        queues = list(dict.fromkeys(queue.name for queue in self.queues))
        running = sum(delivery.started_at > 0 for delivery in self._running())  # not what waits for a thread
        facts = {"queues": queues, "lease": self.lease, "slots": self.slots, "running": running}
        return presence(self.consumer, "worker", self.started_at, **facts)

    def _refresh(self, delivery: Delivery) -> None:
        self.leases.refresh(delivery)

    def _fresh(self, delivery: Delivery) -> None:
        if delivery.queue.held.get(delivery.id) is delivery:
            self.executor.resume(delivery)

    async def _heartbeat(self) -> None:
        """Sees how long the loop stands still, keeps the rate of completions, and gives back what waits too long."""
        while True:
            self._beat_at = time.monotonic()
            await asyncio.sleep(1 / PARTS)
            gap = time.monotonic() - self._beat_at - 1 / PARTS
            if gap > 0.1:
                now = time.monotonic()
                longest = self._gap if now - self._gap_at < self.lease else 0.0  # what is old may still be under way
                self._gap, self._gap_at = max(gap, longest), now
            self._prefetch.beat()
            self.executor.overdue(max(4 * self.options.prefetch, 0.5))

    def _recent_gap(self) -> float:
        """The longest time in seconds that the loop stood still just now; after SIGCONT the heartbeat itself may be
        late.
        """
        now = time.monotonic()
        recent = self._gap if now - self._gap_at < self.lease else 0.0
        return max(recent, now - self._beat_at - 1 / PARTS)


__all__ = ["Worker", "WorkerOptions", "processors", "revive"]
