"""Batches: what is gathered for functions that take many items at once, and each item's share of what came of it.

A batch is led by its first item: that one waits for a slot, and takes one for all. Each item keeps its own lease, its
own verdict, and its own place in Redis.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from streamtask.outcome import returned
from streamtask.policy import Failure, Misfit, Outcome, Raised
from streamtask.steering import BatchError
from streamtask.task import Task
from streamtask.worker.delivery import Delivery, State


@dataclass(frozen=True, slots=True)
class Batched:
    """What became of each item of a batch, in order; None of one that was not surely ours when it was to begin."""

    outcomes: list[Outcome | None]


class Batches:
    """Gathers deliveries by their function. `ready(leader)` is called when a batch is full, or its time is over."""

    def __init__(self, ready: Callable[[Delivery], None]) -> None:
        self._ready = ready
        self._gathered: dict[Task[..., Any], list[Delivery]] = {}
        self._timers: dict[Task[..., Any], asyncio.TimerHandle] = {}

    def add(self, delivery: Delivery) -> None:
        """One more item."""
        task = delivery.task
        assert task is not None, "only what has a function is gathered"
        assert task.batching is not None, "and only where that takes many"
        items = self._gathered.setdefault(task, [])
        items.append(delivery)
        if len(items) >= task.batching.size:
            self._full(task)
        elif len(items) == 1:
            self._timers[task] = asyncio.get_running_loop().call_later(task.batching.wait, self._full, task)

    def remove(self, delivery: Delivery) -> None:
        """It is not ours any more."""
        task = delivery.task
        items = self._gathered.get(task, []) if task is not None else []
        if task is not None and delivery in items:
            items.remove(delivery)
            if not items:
                self._timers.pop(task).cancel()

    def drain(self) -> None:
        """Forget all that is gathered."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._gathered.clear()

    def _full(self, task: Task[..., Any]) -> None:
        timer = self._timers.pop(task, None)
        if timer is not None:
            timer.cancel()
        items = self._gathered.pop(task, [])
        if items:
            items[0].batch = items
            items[0].received_at = time.monotonic()  # from now on it waits for a slot
            self._ready(items[0])


def muster(leader: Delivery, ask: Callable[[Delivery], None], is_ours: Callable[[Delivery], bool]) -> Delivery | None:
    """The batch as it can start now: without what was lost or given back meanwhile, and without those that a renewal
    must confirm first (`ask`); its leader, who may be another one, or None.
    """
    waiting = [item for item in leader.batch or [leader] if item.state is State.BUFFERED and not item.unsure]
    items = [item for item in waiting if is_ours(item)]
    leader.batch = None
    for item in waiting:
        if item not in items:
            ask(item)
    if not items:
        return None
    items[0].batch = items
    return items[0]


def promote(leader: Delivery) -> Delivery | None:
    """The batch of a leader that is not ours any more goes on under the next one; None when nobody is left."""
    items = [item for item in leader.batch or () if item is not leader]
    leader.batch = None
    if not items:
        return None
    items[0].batch, items[0].received_at = items, leader.received_at
    return items[0]


def item_of(call: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
    """The one argument of an item's call."""
    args, kwargs = call
    return args[0] if args else next(iter(kwargs.values()))


def share(task: Task[..., Any], value: Any, count: int) -> list[Outcome]:
    """What a batch function returned, for each of its `count` items: a list has one value or exception for each."""
    fits = isinstance(value, list) and len(value) == count
    if value is None or not (fits or task.task_options.result):
        return [returned(task, None)] * count
    if not fits:
        got = f"a list of {len(value)}" if isinstance(value, list) else f"a {type(value).__name__}"
        text = f"a batch function returns None, or a list with one result for each of its {count} items; this is {got}"
        return [Misfit("result", Failure("ResultError", text))] * count
    return [Raised(one) if isinstance(one, Exception) else returned(task, one) for one in value]


def blame(task: Task[..., Any], error: BaseException, count: int) -> list[Outcome]:
    """What a batch function raised, for each of its items."""
    if not isinstance(error, BatchError):
        return [Raised(error)] * count
    outcomes = share(task, None, count)
    for place, own in error.errors.items():
        if place >= count:
            text = f"BatchError names item {place}, and the batch had {count}: {own!r:.200}"
            return [Raised(ValueError(text))] * count
        outcomes[place] = Raised(own)
    return outcomes


def spread(runnable: Sequence[int], found: Sequence[Outcome], outcomes: list[Outcome | None]) -> Batched:
    """Put what came of those that ran (their places) beside the outcomes of those that could not."""
    for place, outcome in zip(runnable, found, strict=True):
        outcomes[place] = outcome
    return Batched(outcomes)
