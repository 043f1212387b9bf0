"""Runs deliveries: admit, start when a slot is free, decide when it ended, report the verdict to the completer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from streamtask.outcome import DONE
from streamtask.policy import (
    Finish,
    Lost,
    Outcome,
    Poison,
    Returned,
    Stopped,
    TimedOut,
    Verdict,
    decide,
)  # fmt: skip
from streamtask.task import Kind, Task
from streamtask.worker.attempts import Attempts
from streamtask.worker.batches import Batched, Batches, muster
from streamtask.worker.buffers import Buffers
from streamtask.worker.children import Children
from streamtask.worker.clock import RedisClock
from streamtask.worker.deadlines import Deadlines
from streamtask.worker.delivery import Delivery, QueueState, State
from streamtask.worker.intake import Intake
from streamtask.worker.prefetch import Prefetch
from streamtask.worker.room import Bells
from streamtask.worker.slots import Threads
from streamtask.worker.suspects import Suspects


class Executor:
    """The slots of one worker. All methods run on the event loop; `settle(delivery, verdict, outcome)` takes the
    verdicts.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task[..., Any]],
        queues: Sequence[QueueState],
        *,
        consumer: str,
        clock: RedisClock,
        slots: dict[Kind, int],
        prefetch: Prefetch,
        unknown_grace: float,
        settle: Callable[[Delivery, Verdict, Outcome], None],
        refresh: Callable[[Delivery], None],
        silent: Callable[[], bool],
        suspects: Suspects,
        children: Children,
        ask_once: Callable[[list[Delivery]], Awaitable[list[str]]],
    ) -> None:
        self._queues = queues
        self._consumer, self._clock, self._unknown_grace = consumer, clock, unknown_grace
        self._slots, self._settle, self._refresh, self._suspects = slots, settle, refresh, suspects
        self._prefetch = prefetch
        self._buffers = Buffers(slots)
        self.running: dict[Kind, int] = dict.fromkeys(slots, 0)
        self._reserved = 0  # slots that are kept while a start is marked
        self._deadlines = Deadlines(self._timed_out)
        self._attempts = Attempts(clock, self._deadlines, silent, self._ended)
        self._threads = Threads(slots["thread"], self._attempts.thread, self._threads_ended)
        self._children = children
        children.slots, children.fill, children.watch = slots, self.fill, self._deadlines.add
        children.may_begin, children.ended = self._attempts.surely_ours, self._ended
        self._loop = asyncio.get_running_loop()  # asked for once: before Python 3.12 it costs a system call
        self.draining = False
        self.roomy = Bells()  # rung whenever a fetcher may want to ask for more
        self._batches = Batches(self._place)
        self._intake = Intake(
            tasks, clock, ask_once, suspect=suspects.add, place=self._place, conclude=self._conclude
        )  # fmt: skip
        self.admit = self._intake.admit  # what was just read
        suspects.ready, suspects.lost = self._start_suspect, self._lost_suspect
        suspects.crowded, suspects.begins = self._crowded_suspect, self._hold
        suspects.busy = lambda: any(self.running.values())
        suspects.full = lambda delivery: self.running[delivery.kind] >= self._slots[delivery.kind]

    # -- demand ------------------------------------------------------------------------------------------------------

    def demand(self, kinds: Iterable[Kind]) -> int:
        """How many more messages a queue may be asked for: no more than each kind of slot that its tasks use has room
        for.
        """
        if self.draining or self._suspects.waiting:
            return 0
        return max(0, min(self._room(kind) for kind in kinds))

    def _room(self, kind: Kind) -> int:
        buffered = len(self._buffers[kind])
        return self._slots[kind] - self.running[kind] - buffered + self._prefetch.size(kind, self._slots[kind])

    @property
    def idle(self) -> bool:
        """Does this worker hold nothing at all, and is nothing kept out by a child that does not serve yet?"""
        return not any(queue.held for queue in self._queues) and not self._children.starting

    # -- admit and start ---------------------------------------------------------------------------------------------

    def resume(self, delivery: Delivery) -> None:
        """It had waited for a renewal, and is ours: go on. Told twice, as after a lost answer, it goes on once."""
        if not delivery.unsure or delivery.state is not State.BUFFERED or self.draining:
            return
        delivery.unsure = False
        if delivery is self._suspects.running:
            self.start(delivery)
            self.fill()
        else:
            self._place(delivery)

    def _place(self, delivery: Delivery) -> None:
        """Into a slot, or into the buffer of its kind; what goes in batches is gathered first."""
        if delivery.batching is not None and delivery.batch is None:
            if delivery.unmarked:
                self._suspects.add(delivery)
            else:
                self._batches.add(delivery)
            return
        buffer = self._buffers[delivery.kind]
        if not buffer and self._suspects.running is None and self._takes(delivery):
            self.start(delivery)
        else:
            buffer.append(delivery)

    def _takes(self, delivery: Delivery) -> bool:
        """Is there a slot for it? What runs in a thread may wait in front of them, so that who is free takes it without
        asking the loop. But no start is marked before a thread is free, and nobody comes before one that is marked.
        """
        kind = delivery.kind
        if self.running[kind] < self._slots[kind]:
            return True
        return kind == "thread" and not self._reserved and not delivery.unmarked

    def start(self, delivery: Delivery) -> None:
        """Run it now, if it is still surely ours; else after a renewal has said so."""
        if delivery.batching is not None:
            leader = muster(delivery, self._ask, self._attempts.surely_ours)
            if leader is not None:
                self._run(leader)
            return
        if not self._attempts.surely_ours(delivery):
            self._ask(delivery)
            return
        if delivery.unmarked:
            if delivery.count < 2:  # max_deliveries=1: even a first start is marked, and its slot is kept meanwhile
                self.running[delivery.kind] += 1
                self._reserved += 1
                delivery.reserved = True
            self._suspects.add(delivery)
            return
        self._run(delivery)

    def _ask(self, delivery: Delivery) -> None:
        """It waits for a renewal: `resume` or `lost` follows."""
        delivery.unsure = True
        self._refresh(delivery)

    def _run(self, delivery: Delivery) -> None:
        """Hand it to whoever runs it, and asks again right before its function begins."""
        kind = delivery.kind
        self.running[kind] += 1
        delivery.state = State.RUNNING
        if delivery.batch is not None:
            for item in delivery.batch:
                item.state, item.leader = State.RUNNING, delivery
        if kind == "coroutine":
            delivery.runner = self._loop.create_task(self._attempts.coroutine(delivery))
        elif kind == "thread":
            if (timeout := delivery.options.timeout) is not None:
                self._deadlines.expect(delivery, timeout)
            self._threads.submit(delivery)
        else:
            misfit = self._attempts.child(delivery)
            if misfit is None:
                self._children.submit(delivery)
            else:
                self._end(delivery, misfit)

    # -- the end -----------------------------------------------------------------------------------------------------

    def _ended(self, delivery: Delivery, outcome: Outcome | Batched | None) -> None:
        self._end(delivery, outcome)
        self.fill()

    def _threads_ended(self, ended: list[tuple[Delivery, Outcome | Batched | None]]) -> None:
        for delivery, outcome in ended:
            self._end(delivery, outcome)
        self.fill()

    def _end(self, delivery: Delivery, outcome: Outcome | Batched | None) -> None:
        """An attempt ended by itself or was stopped, or did not begin (None); its slot is free."""
        kind = delivery.kind
        self.running[kind] -= 1
        delivery.runner = None  # which knows the delivery: else only the garbage collector would find the two
        self._unwatch(delivery)
        if type(outcome) is Batched:
            items, delivery.batch = delivery.batch or [], None
            for item, own in zip(items, outcome.outcomes, strict=True):
                self._end_of(item, own)
        else:
            self._end_of(delivery, outcome)  # type: ignore[arg-type]  # type() is quicker than isinstance, and says no less

    def _end_of(self, delivery: Delivery, outcome: Outcome | None) -> None:
        """What became of one."""
        if outcome is None:
            self._withdraw(delivery)
            return
        kind, delivery.leader = delivery.kind, None
        if delivery.started_at:
            delivery.ended_at = time.monotonic()
            self._prefetch.completed(kind)
        stopped_as = delivery.stopped_as
        if stopped_as is not None and (isinstance(stopped_as, Lost) or not isinstance(outcome, Returned)):
            outcome = stopped_as  # a value that came in spite of a timeout is work that is done
        self._conclude(delivery, outcome)
        self._suspects.ended(delivery)

    def _unwatch(self, delivery: Delivery) -> None:
        timeout = delivery.task.task_options.timeout if delivery.task is not None else None
        if timeout is not None:
            self._deadlines.discard(delivery, timeout)

    def _withdraw(self, delivery: Delivery) -> None:
        """When its function was to begin it was not surely ours any more: nothing has begun, and it waits again."""
        delivery.unstart()
        if self.draining:
            self._conclude(delivery, Stopped(started=False))
        else:
            self._ask(delivery)

    def fill(self) -> None:
        """Start what is buffered, as far as slots are free, and let the fetcher look."""
        if self._suspects.running is None and not self.draining:
            for buffer in self._buffers.values():
                while buffer and self._takes(buffer[0]):
                    self.start(buffer.popleft())
        self.roomy.set()

    def _conclude(self, delivery: Delivery, outcome: Outcome) -> None:
        delivery.state = State.SETTLING
        verdict: Verdict
        if type(outcome) is Returned:  # what decide() says too; the healthy path pays for no facts
            verdict = DONE if outcome.result is None else Finish("done", outcome.result)
        else:
            facts = delivery.facts(self._consumer, self._clock.now(), random.random(), self._unknown_grace)
            verdict = decide(facts, outcome)
        self._settle(delivery, verdict, outcome)

    # -- suspects, stops, losses -------------------------------------------------------------------------------------

    def _start_suspect(self, delivery: Delivery, marks: int) -> None:
        """The start is marked (and, in the lane, its turn has come); an earlier mark convicts it."""
        self._unreserve(delivery)
        if delivery.state is not State.BUFFERED:  # given back or lost meanwhile
            self._suspects.ended(delivery)
            self.fill()
            return
        delivery.marked = True
        if marks > 0:
            self._conclude(delivery, Poison(delivery.count))
            self._suspects.ended(delivery)
            self.fill()
            return
        if delivery.count < 2 and delivery.batching is not None:
            self._place(delivery)
        else:
            self.start(delivery)
        self.fill()  # where it must wait for a renewal the slot that was kept for it is free

    def _lost_suspect(self, delivery: Delivery) -> None:
        """MARK said that it is not ours."""
        self._unreserve(delivery)
        self.lost(delivery)
        self._suspects.ended(delivery)
        self.fill()

    def _crowded_suspect(self, delivery: Delivery) -> None:
        """What runs here leaves it no peace: another worker may."""
        self._conclude(delivery, Stopped(started=False))
        self._suspects.ended(delivery)
        self.fill()

    def _unreserve(self, delivery: Delivery) -> None:
        """The slot that was kept for it while its start was marked is free, or its own from now on."""
        if delivery.reserved:
            delivery.reserved = False
            self._reserved -= 1
            self.running[delivery.kind] -= 1

    def _timed_out(self, delivery: Delivery) -> None:
        for item in delivery.batch or [delivery]:
            self.stop(item, TimedOut(delivery.options.timeout or 0.0))

    def stop(self, delivery: Delivery, outcome: Outcome) -> None:
        """Ask a running attempt to end and count it as `outcome`. A thread cannot be killed: it sees
        `current().cancelled`.
        """
        if delivery.state is not State.RUNNING:
            return
        leader = delivery.leader or delivery
        if leader.runner is not None and not leader.entered:
            # A coroutine that is cancelled before its first step never learns of it: let it begin.
            self._loop.call_soon(self.stop, delivery, outcome)
            return
        again = delivery.stopped_as is not None
        delivery.stopped_as = outcome
        delivery.stop_context()
        if leader.batch is not None and (again or any(item.stopped_as is None for item in leader.batch)):
            return  # the others of its batch go on
        if leader.runner is not None:
            leader.runner.cancel()
        elif delivery.kind == "child":
            self._children.stop(delivery)

    def lost(self, delivery: Delivery) -> None:
        """Another worker has it: stop what runs, forget what waits."""
        if delivery.state is State.RUNNING and not self._take_back(delivery):
            self.stop(delivery, Lost())
            return
        self._remove(delivery)
        if delivery.state is State.BUFFERED:
            self._unreserve(delivery)
            self._conclude(delivery, Lost())
            self._suspects.ended(delivery)
            self.fill()  # the fetcher may have waited for the lane to be empty

    def overdue(self, age: float) -> None:
        """Give back what has been buffered for more than `age` seconds: another worker may have a free slot."""
        limit = time.monotonic() - age
        for delivery in self._buffers.overdue(limit):
            self._prefetch.held_up(delivery.kind)
            if delivery.kind == "child":
                self._children.start()  # no task of our own queues asked for them
            self._give_back(delivery)
        for delivery in self._threads.waiting:
            if delivery.received_at < limit and self._take_back(delivery):
                self._prefetch.held_up("thread")
                self._give_back(delivery)
        for delivery in self._suspects.overdue(limit):
            self._conclude(delivery, Stopped(started=False))

    def _give_back(self, delivery: Delivery) -> None:
        """It never started, and neither did those that it leads."""
        items, delivery.batch = delivery.batch or [delivery], None
        for item in items:
            if item.state is State.BUFFERED:
                self._conclude(item, Stopped(started=False))

    def give_back_buffered(self) -> None:
        """At a stop: everything that has not started goes back."""
        self.draining = True
        self._suspects.drain()
        self._batches.drain()
        for delivery in self._threads.waiting:
            self._take_back(delivery)
        self._buffers.drain()
        for queue in self._queues:
            for delivery in queue.held.values():
                if delivery.state is State.BUFFERED:
                    self._conclude(delivery, Stopped(started=False))

    def close(self) -> None:
        """Forget timers and let idle threads end."""
        self._deadlines.close()
        self._batches.drain()
        self._intake.close()
        self._threads.close()

    def _take_back(self, delivery: Delivery) -> bool:
        """Did it only wait for a thread? Then it is buffered again, though in no buffer."""
        if not self._threads.take_back(delivery):
            return False
        self.running["thread"] -= 1
        self._unwatch(delivery)
        for item in delivery.batch or [delivery]:
            item.unstart()
        return True

    def _hold(self) -> None:
        """A suspect has the lane: what waits for a thread must not start beside it."""
        waiting = [delivery for delivery in self._threads.waiting if self._take_back(delivery)]
        self._buffers["thread"].extendleft(reversed(waiting))

    def _remove(self, delivery: Delivery) -> None:
        self._buffers.remove(delivery)
        self._batches.remove(delivery)
        self._suspects.remove(delivery)
