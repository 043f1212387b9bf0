"""An attempt, from a delivery's bytes to its outcome: as a coroutine on the loop, or in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from streamtask.context import CURRENT
from streamtask.outcome import Call, arguments, returned
from streamtask.policy import Outcome, Raised
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
        ended: Callable[[Delivery, Outcome | None], None],
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

    def thread(self, delivery: Delivery) -> Outcome | None:
        """In a thread, in a context of its own."""
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

    def _begin(self, delivery: Delivery) -> Call | Outcome | None:
        """What to call a function with, now that it begins; or the outcome of what cannot run, or None for what is not
        surely ours.
        """
        misfit = delivery.read(self._clock)
        if misfit is not None:
            return misfit
        assert delivery.task is not None, "only a known task is started"
        assert delivery.message is not None, "it was just read"
        call = arguments(delivery.task, delivery.message.args)
        if isinstance(call, tuple):
            if not self.surely_ours(delivery):
                return None
            self._stamp(delivery)
            CURRENT.set(delivery.context)
        return call

    def _stamp(self, delivery: Delivery) -> None:
        now = delivery.started_at = time.monotonic()
        delivery.started_ms = self._clock.at(now)
