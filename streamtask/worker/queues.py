"""The queues of one worker: those of its app's tasks, and for each subscription the topic and the group's own queue."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from streamtask.app import StreamTask
from streamtask.broker.broker import Broker
from streamtask.broker.keys import queue_keys, topic_keys
from streamtask.subscription import Subscription
from streamtask.task import Task
from streamtask.worker.delivery import QueueState, parts
from streamtask.worker.report import INFO, WARNING, Reporter


def task_queues(app: StreamTask, names: Iterable[str], consumer: str) -> list[QueueState]:
    """Those of tasks; a queue that no task of this app uses gets what comes, and passes it on."""
    found = []
    for name in names:
        tasks = [task for task in app.tasks.values() if task.queue == name]
        kinds = tuple(sorted({task.kind for task in tasks})) or ("coroutine",)
        found.append(QueueState(name, app.post.keys(name), kinds, worker=consumer, stride=stride(tasks)))
    return found


def subscription_queues(subscriptions: Iterable[Subscription], consumer: str) -> list[QueueState]:
    """Two a subscription: what is new comes from the topic, what failed from the group's own queue."""
    found = []
    for one in subscriptions:
        kinds = tuple(sorted({handler.kind for handler in one.all}))
        for keys in (topic_keys(one.topic, one.group), queue_keys("", one.name)):
            start = one.start if keys.kind == "topic" else "0"
            state = QueueState(one.name, keys, kinds, worker=consumer, subscription=one, start=start)
            state.stride = stride(one.all)
            found.append(state)
    return found


def stride(tasks: Sequence[Task[Any, Any]]) -> int:
    """Messages to ask for at least: a function that takes many at once is not to wait for them one by one."""
    return max((task.batching.size for task in tasks if task.batching is not None), default=1)


async def announce(broker: Broker, queues: Iterable[QueueState]) -> None:
    """Say for which event types this worker has handlers; "*": for all, so that to no sibling a type is a stranger."""
    for queue in queues:
        subscription = queue.subscription
        if subscription is not None and queue.keys.kind == "topic":
            types = [*sorted(subscription.handlers), *(("*",) if subscription.rest is not None else ())]
            await broker.handles(queue.keys, types)


async def find_place(broker: Broker, queue: QueueState, made: bool, report: Reporter) -> None:
    """Learn where the group stands on its topic; say loudly what a group that was just made will do."""
    place = await broker.place(queue.keys)
    if place is not None and place != "0-0":
        queue.saw(place)
    if not made or queue.subscription is None:
        return
    name, waiting = queue.subscription, await broker.waiting_after(queue.keys, place or "0-0")
    if waiting:
        count, exact = waiting
        events = f"{'' if exact else 'up to '}{count:,} {'event that is' if count == 1 else 'events that are'}"
        where = "at the beginning" if parts(queue.start) == (0, 0) else f"after {queue.start}"
        text = f"group {name.group} starts {where} of {name.topic}: {events} there already will be handled"
        report.event("worker.group", WARNING, text, topic=name.topic, group=name.group, events=waiting[0])
    else:
        text = f"group {name.group} is new on {name.topic} and gets what is published from now on"
        report.event("worker.group", INFO, text, topic=name.topic, group=name.group, events=0)


#: Seconds for which a reader leaves what is given back to its siblings, after events that only they can handle: at
#: first, and at most. They are told at once, so that is enough for one of them to take it.
SHY, SHYEST = 0.05, 2.0


def strayed(queue: QueueState) -> None:
    """An event was given back that only others of the group have a handler for."""
    now = time.monotonic()
    queue.strays = queue.strays + 1 if now < queue.shy_until + SHYEST else 0
    queue.shy_until = now + min(SHYEST, SHY * 2 ** min(queue.strays, 10))
