"""Runs deliveries: admit, start when a slot is free, decide when it ended, report the verdict to the completer."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from streamtask.context import CURRENT, Context
from streamtask.message import Message, Unreadable, decode
from streamtask.outcome import DONE, arguments_failure, returned
from streamtask.policy import (
    Failure,
    Finish,
    Late,
    Lost,
    Misfit,
    Outcome,
    Poison,
    Raised,
    Returned,
    Stopped,
    TimedOut,
    Verdict,
    decide,
)  # fmt: skip
from streamtask.task import Kind, Task
from streamtask.worker.children import Children
from streamtask.worker.clock import RedisClock
from streamtask.worker.deadlines import Deadlines
from streamtask.worker.delivery import Delivery, QueueState, State
from streamtask.worker.prefetch import Prefetch
from streamtask.worker.slots import Threads
from streamtask.worker.suspects import Suspects

#: A child process reads its arguments by itself: a validator that crashes takes only the child along.
IN_THE_CHILD: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})


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
    ) -> None:
        self._tasks = {name.encode(): task for name, task in tasks.items()}
        self._queues = queues
        self._consumer, self._clock, self._unknown_grace = consumer, clock, unknown_grace
        self._slots, self._settle, self._refresh, self._suspects = slots, settle, refresh, suspects
        self._silent = silent  # nothing is renewed now
        self._prefetch = prefetch
        self._buffers: dict[Kind, deque[Delivery]] = {kind: deque() for kind in slots}
        self.running: dict[Kind, int] = dict.fromkeys(slots, 0)
        self._threads = Threads(slots["thread"], self._surely_ours, self._ended)
        self._deadlines = Deadlines(self._timed_out)
        self._children = children
        children.slots, children.fill, children.watch = slots, self.fill, self._deadlines.add
        children.may_begin, children.ended = self._surely_ours, self._ended
        self.draining = False
        self.roomy = asyncio.Event()  # set whenever the fetcher may want to ask for more
        suspects.ready, suspects.lost = self._start_suspect, self._lost_suspect
        suspects.crowded = self._crowded_suspect
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

    def admit(self, delivery: Delivery) -> None:
        """Take a delivery that was just read."""
        delivery.task = self._tasks.get(delivery.task_field)
        if delivery.task is None:
            self._misfit(delivery)
        elif delivery.count >= max(2, delivery.task.task_options.max_deliveries):
            self._suspects.add(delivery)
        else:
            self._place(delivery)

    def resume(self, delivery: Delivery) -> None:
        """It had waited for a renewal, and is ours: go on. Told twice, as after a lost answer, it goes on once."""
        if not delivery.unsure or delivery.state is not State.BUFFERED or self.draining:
            return
        delivery.unsure = False
        if delivery is self._suspects.running:
            self.start(delivery)
            self._left_lane(delivery)
        else:
            self._place(delivery)

    def _place(self, delivery: Delivery) -> None:
        """Into a slot, or into the buffer of its kind."""
        kind = delivery.kind
        if self.running[kind] < self._slots[kind] and not self._suspects.running:
            self.start(delivery)
        else:
            self._buffers[kind].append(delivery)

    def start(self, delivery: Delivery) -> None:
        """Run it now, if it is still surely ours; else after a renewal has said so."""
        if not self._surely_ours(delivery):
            self._ask(delivery)
            return
        task = delivery.task
        assert task is not None, "only a known task is started"
        if delivery.count >= task.task_options.max_deliveries and not delivery.marked:
            if delivery.count < 2:  # max_deliveries=1: even a first start is marked, and its slot is kept meanwhile
                self.running[delivery.kind] += 1
                delivery.reserved = True
            self._suspects.add(delivery)
            return
        try:
            message = delivery.message = decode(delivery.id.decode(), delivery.fields)
            if message.meta and delivery.is_late(self._clock.now()):
                self._conclude(delivery, Late())
                return
            args, kwargs = task.signature.load(message.args) if task.kind != "child" else IN_THE_CHILD
        except Unreadable as error:
            self._conclude(delivery, Misfit("decode", Failure("Unreadable", str(error))))
            return
        except ValidationError as error:
            self._conclude(delivery, Misfit("arguments", arguments_failure(error)))
            return
        except Exception as error:  # noqa: BLE001 - a validator of the user's own broke
            self._conclude(delivery, Misfit("arguments", Failure.of(error)))
            return
        self._run(delivery, task, message, args, kwargs)

    def _surely_ours(self, delivery: Delivery) -> bool:
        """Was it confirmed as ours in the last half lease, and can it be kept? Asked before it is prepared and, by
        whoever runs it, right before the function begins: the process may have stood still in between. It only reads.
        """
        return time.monotonic() - delivery.confirmed_at < delivery.queue.lease / 2 and not self._silent()

    def _ask(self, delivery: Delivery) -> None:
        """It waits for a renewal: `resume` or `lost` follows."""
        delivery.unsure = True
        self._refresh(delivery)

    def _run(
        self, delivery: Delivery, task: Task[..., Any], message: Message, args: Any, kwargs: dict[str, Any]
    ) -> None:
        options = task.task_options
        delivery.state, delivery.started_at, delivery.started_ms = State.RUNNING, time.monotonic(), self._clock.now()
        delivery.context = Context(
            message,
            queue=delivery.queue.name,
            stream_id=delivery.id.decode(),
            deliveries=delivery.count,
            worker=self._consumer,
            sent_ms=delivery.sent_ms,
            started_ms=delivery.started_ms,
            timeout=options.timeout,
            is_last_attempt=options.max_retries is not None and message.attempt >= options.max_retries,
        )
        kind = delivery.kind
        self.running[kind] += 1
        if options.timeout is not None and kind != "child":
            self._deadlines.add(delivery, options.timeout)
        if kind == "coroutine":
            delivery.runner = asyncio.get_running_loop().create_task(self._coroutine(delivery, task, args, kwargs))
        elif kind == "thread":
            self._threads.submit((delivery, args, kwargs))
        else:
            self._children.submit(delivery)

    async def _coroutine(self, delivery: Delivery, task: Task[..., Any], args: Any, kwargs: dict[str, Any]) -> None:
        delivery.entered = True
        if not self._surely_ours(delivery):
            self._ended(delivery, None)
            return
        CURRENT.set(delivery.context)
        outcome: Outcome
        try:
            outcome = returned(task, await task.fn(*args, **kwargs))
        except asyncio.CancelledError as error:
            outcome = delivery.stopped_as or Raised(error)
        except BaseException as error:  # noqa: BLE001 - SystemExit in a task is the task's failure, never the worker's end
            outcome = Raised(error)
        self._ended(delivery, outcome)

    # -- the end -----------------------------------------------------------------------------------------------------

    def _ended(self, delivery: Delivery, outcome: Outcome | None) -> None:
        """An attempt ended by itself or was stopped, or did not begin (None); its slot is free."""
        kind = delivery.kind
        self.running[kind] -= 1
        if outcome is None:
            self._withdraw(delivery)
            return
        delivery.ended_at = time.monotonic()
        self._prefetch.completed(kind)
        stopped_as = delivery.stopped_as
        if stopped_as is not None and (isinstance(stopped_as, Lost) or not isinstance(outcome, Returned)):
            outcome = stopped_as  # a value that came in spite of a timeout is work that is done
        self._conclude(delivery, outcome)
        self._suspects.ended(delivery)
        self.fill()

    def _withdraw(self, delivery: Delivery) -> None:
        """When its function was to begin it was not surely ours any more: nothing has begun, and it waits again."""
        delivery.state, delivery.started_at, delivery.started_ms = State.BUFFERED, 0.0, 0
        delivery.runner, delivery.entered, delivery.stopped_as = None, False, None
        if self.draining:
            self._conclude(delivery, Stopped(started=False))
        else:
            self._ask(delivery)
        self.fill()

    def fill(self) -> None:
        """Start what is buffered, as far as slots are free, and let the fetcher look."""
        if not self._suspects.running and not self.draining:
            for kind, buffer in self._buffers.items():
                while buffer and self.running[kind] < self._slots[kind]:
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

    def _misfit(self, delivery: Delivery) -> None:
        try:
            message = delivery.message = decode(delivery.id.decode(), delivery.fields)
        except Unreadable as error:
            self._conclude(delivery, Misfit("decode", Failure("Unreadable", str(error))))
            return
        if message.meta and delivery.is_late(self._clock.now()):
            self._conclude(delivery, Late())
            return
        text = f"no worker knows the task {message.task!r}"
        self._conclude(delivery, Misfit("unknown_task", Failure("UnknownTask", text)))

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
        self.start(delivery)
        self._left_lane(delivery)

    def _left_lane(self, delivery: Delivery) -> None:
        """Unreadable, late or misfit, it never ran: the lane is free again. So is its slot, also while it waits for a
        renewal.
        """
        if delivery.settling:
            self._suspects.ended(delivery)
        self.fill()

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
            self.running[delivery.kind] -= 1

    def _timed_out(self, delivery: Delivery) -> None:
        timeout = delivery.task.task_options.timeout if delivery.task is not None else None
        self.stop(delivery, TimedOut(timeout or 0.0))

    def stop(self, delivery: Delivery, outcome: Outcome) -> None:
        """Ask a running attempt to end and count it as `outcome`. A thread cannot be killed: it sees
        `current().cancelled`.
        """
        if delivery.state is not State.RUNNING:
            return
        if delivery.runner is not None and not delivery.entered:
            # A coroutine that is cancelled before its first step never learns of it: let it begin.
            asyncio.get_running_loop().call_soon(self.stop, delivery, outcome)
            return
        delivery.stopped_as = outcome
        if delivery.context is not None:
            delivery.context.stop()
        if delivery.runner is not None:
            delivery.runner.cancel()
        elif delivery.kind == "child":
            self._children.stop(delivery)

    def lost(self, delivery: Delivery) -> None:
        """Another worker has it: stop what runs, forget what waits."""
        if delivery.state is State.RUNNING:
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
        for kind, buffer in self._buffers.items():
            if buffer and buffer[0].received_at < limit:
                self._prefetch.held_up(kind)
                if kind == "child":
                    self._children.start()  # no task of our own queues asked for them
                while buffer and buffer[0].received_at < limit:
                    self._conclude(buffer.popleft(), Stopped(started=False))
        for delivery in self._suspects.overdue(limit):
            self._conclude(delivery, Stopped(started=False))

    def give_back_buffered(self) -> None:
        """At a stop: everything that has not started goes back."""
        self.draining = True
        self._suspects.drain()
        for buffer in self._buffers.values():
            buffer.clear()
        for queue in self._queues:
            for delivery in queue.held.values():
                if delivery.state is State.BUFFERED:
                    self._conclude(delivery, Stopped(started=False))

    def close(self) -> None:
        """Forget timers and let idle threads end."""
        self._deadlines.close()
        self._threads.close()

    def _remove(self, delivery: Delivery) -> None:
        for buffer in self._buffers.values():
            if delivery in buffer:
                buffer.remove(delivery)
        self._suspects.remove(delivery)
