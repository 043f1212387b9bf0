"""What a delivery is: the function that takes it, and where it goes before it may start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from streamtask.policy import Failure, Misfit, Outcome, Stray
from streamtask.subscription import Handler
from streamtask.task import Task
from streamtask.worker.clock import RedisClock
from streamtask.worker.delivery import Delivery
from streamtask.worker.once import Once


class Intake:
    """Of one worker. `suspect` and `place` take what has a function, `conclude` gets the outcome of what has none;
    `ask_once` is what `Once` asks.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task[..., Any]],
        clock: RedisClock,
        ask_once: Callable[[list[Delivery]], Awaitable[list[str]]],
        *,
        suspect: Callable[[Delivery], None],
        place: Callable[[Delivery], None],
        conclude: Callable[[Delivery, Outcome], None],
    ) -> None:
        self._tasks = {name.encode(): task for name, task in tasks.items()}
        self._clock, self._suspect, self._place, self._conclude = clock, suspect, place, conclude
        self._once = Once(ask_once, clock, self._sort, conclude)

    def admit(self, delivery: Delivery) -> None:
        """Take a delivery that was just read."""
        subscription = delivery.queue.subscription
        task: Task[..., Any] | None
        if subscription is None:
            task = self._tasks.get(delivery.task_field)
        else:
            task = subscription.handler(delivery.event_type)
        if task is None:
            self._conclude(delivery, self._misfit(delivery))
            return
        delivery.task, delivery.kind = task, task.kind
        if task.batching is not None:
            delivery.batching = task.batching
        if subscription is not None and isinstance(task, Handler) and task.once:
            self._once.add(delivery)
        elif delivery.count < 2:  # what `_sort` says too; most are first deliveries
            self._place(delivery)
        else:
            self._sort(delivery)

    def close(self) -> None:
        """Let nobody wait any more."""
        self._once.close()

    def _sort(self, delivery: Delivery) -> None:
        """To the suspects, or where it can start."""
        task = delivery.task
        assert task is not None, "only a known task is started"
        if delivery.count >= max(2, task.task_options.max_deliveries):
            self._suspect(delivery)
        else:
            self._place(delivery)

    def _misfit(self, delivery: Delivery) -> Outcome:
        unreadable = delivery.read(self._clock)
        if unreadable is not None:
            return unreadable
        if delivery.queue.subscription is None:
            text = f"no worker knows the task {delivery.task_name!r}"
            return Misfit("unknown_task", Failure("UnknownTask", text))
        if not delivery.event_type:
            return Misfit("decode", Failure("Unreadable", "it has no field `event_type`"))
        return Stray(delivery.event_type)
