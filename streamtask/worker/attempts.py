"""An attempt, from a delivery's bytes to its outcome: as a coroutine on the loop, or in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from streamtask.context import CURRENT
from streamtask.outcome import Call, arguments, returned
from streamtask.policy import Outcome, Raised
from streamtask.task import Task
from streamtask.worker.batches import Batched, blame, item_of, share, spread
from streamtask.worker.clock import RedisClock
from streamtask.worker.deadlines import Deadlines
from streamtask.worker.delivery import Delivery


class Attempts:
    """Runs deliveries whose start was decided. `ended(delivery, outcome)` is called on the loop for coroutines; the
    outcome is None for what has not begun, since it was not surely ours any more.
    """

    def __init__(
        self,
        clock: RedisClock,
        deadlines: Deadlines,
        silent: Callable[[], bool],
        ended: Callable[[Delivery, Outcome | Batched | None], None],
    ) -> None:
        self._clock, self._deadlines, self._silent, self._ended = clock, deadlines, silent, ended

    def surely_ours(self, delivery: Delivery) -> bool:
        """Was it confirmed as ours in the last half lease, and can it be kept? Asked right before its function begins:
        the process may have stood still since it was read. It only reads, on any thread.
        """
        return time.monotonic() - delivery.confirmed_at < delivery.queue.lease / 2 and not self._silent()

    async def coroutine(self, delivery: Delivery) -> None:
        """On the loop; what its Task runs."""
        delivery.entered = True
        if delivery.batch is not None:
            self._ended(delivery, await self._batch(delivery, delivery.batch))
            return
        outcome: Outcome | None
        try:
            call = self._begin(delivery)
            if isinstance(call, tuple):
                task, (args, kwargs) = delivery.task, call
                assert task is not None, "only a known task is started"
                if task.task_options.timeout is not None:
                    self._deadlines.add(delivery, task.task_options.timeout)
                outcome = returned(task, await task.fn(*args, **kwargs))
            else:
                outcome = call
        except asyncio.CancelledError as error:
            outcome = delivery.stopped_as or Raised(error)
        except BaseException as error:  # noqa: BLE001 - SystemExit in a task is its failure, never the worker's end
            outcome = Raised(error)
        self._ended(delivery, outcome)

    def thread(self, delivery: Delivery) -> Outcome | Batched | None:
        """In a thread, in a context of its own."""
        if delivery.batch is not None:
            return self._batch_here(delivery, delivery.batch)
        try:
            call = self._begin(delivery)
            if not isinstance(call, tuple):
                return call
            task, (args, kwargs) = delivery.task, call
            assert task is not None, "only a known task is started"
            return returned(task, task.fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - SystemExit in a task is its failure, never the worker's end
            return Raised(error)

    def child(self, delivery: Delivery) -> Outcome | None:
        """Before a child process begins it: the outcome of what cannot run. The child reads the arguments by itself, so
        that a validator that crashes takes only the child along.
        """
        misfit = delivery.read(self._clock)
        if misfit is None:
            self._stamp(delivery)
        return misfit

    async def _batch(self, leader: Delivery, items: list[Delivery]) -> Batched:
        task, places, values, outcomes = self._gather(items)
        if not values:
            return Batched(outcomes)
        try:
            if task.task_options.timeout is not None:
                self._deadlines.add(leader, task.task_options.timeout)
            found = share(task, await task.fn(values), len(values))
        except BaseException as error:  # noqa: BLE001 - as above; who was stopped has its outcome already
            found = blame(task, error, len(values))
        return spread(places, found, outcomes)

    def _batch_here(self, leader: Delivery, items: list[Delivery]) -> Batched:
        task, places, values, outcomes = self._gather(items)
        if not values:
            return Batched(outcomes)
        try:
            found = share(task, task.fn(values), len(values))
        except BaseException as error:  # noqa: BLE001 - SystemExit in a task is its failure, never the worker's end
            found = blame(task, error, len(values))
        return spread(places, found, outcomes)

    def _gather(self, items: list[Delivery]) -> tuple[Task[..., Any], list[int], list[Any], list[Outcome | None]]:
        """The function, the places and values of the items that can run, and the outcomes of those that cannot."""
        task = items[0].task
        assert task is not None, "only a known task is started"
        places, values, outcomes = list[int](), list[Any](), list[Outcome | None]()
        for place, item in enumerate(items):
            call: Call | Outcome | None
            try:
                call = self._begin(item)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it is not to fail its neighbours
                call = Raised(error)
            if isinstance(call, tuple):
                places.append(place)
                values.append(item_of(call))
                outcomes.append(None)
            else:
                outcomes.append(call)
        CURRENT.set(None)  # no single message is the one that runs
        return task, places, values, outcomes

    def _begin(self, delivery: Delivery) -> Call | Outcome | None:
        """What to call a function with, now that it begins; or the outcome of what cannot run, or None for what is not
        surely ours.
        """
        misfit = delivery.read(self._clock)
        if misfit is not None:
            return misfit
        assert delivery.task is not None, "only a known task is started"
        message = delivery.message
        assert message is not None, "it was just read"
        call = arguments(delivery.task, message.args if delivery.queue.subscription is None else message)
        if isinstance(call, tuple):
            if not self.surely_ours(delivery):
                return None
            self._stamp(delivery)
            CURRENT.set(delivery.context)
        return call

    def _stamp(self, delivery: Delivery) -> None:
        now = delivery.started_at = time.monotonic()
        delivery.started_ms = self._clock.at(now)
