"""The app of the tests with events and processes: each run of a handler is written down, as in `app_under_test`."""

from __future__ import annotations

import os
from functools import cache

from streamtask import Event, RetryPolicy, StreamTask
from tests.e2e.app_under_test import DEATHS

#: The variable that names the file of the runs, one line a run: group, number, pid.
RUNS = "EVENT_RUNS"
TOPIC = "shop:orders"
SOON = RetryPolicy(delays=(0.05,))

app = StreamTask("fleet")
# What late groups and replays may want is kept: these tests count what the topic has.
app.topic(TOPIC, max_length=50_000)


class Ordered(Event, topic=TOPIC):
    """An order came in."""

    n: int


@cache
def _file(pid: int) -> int:
    return os.open(os.environ[RUNS], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(group: str, *numbers: int) -> None:
    """Write runs down, in one write."""
    text = "".join(f"{group} {n} {os.getpid()}\n" for n in numbers)
    os.write(_file(os.getpid()), text.encode())


@app.on(Ordered, group="loop", max_deliveries=DEATHS)
async def in_the_loop(event: Ordered) -> None:
    """A coroutine."""
    note("loop", event.n)


@app.on(Ordered, group="thread", max_deliveries=DEATHS)
def in_a_thread(event: Ordered) -> None:
    """A plain function."""
    note("thread", event.n)


@app.on(Ordered, group="batch", max_deliveries=DEATHS)
@app.batch(size=50, wait=0.1)
async def in_batches(events: list[Ordered]) -> None:
    """Many at once."""
    note("batch", *(event.n for event in events))


if os.environ.get("ILL"):

    @app.on(Ordered, group="ill", max_retries=1, retry=SOON, max_deliveries=DEATHS)
    async def fails_always(event: Ordered) -> None:
        """Never succeeds."""
        note("ill", event.n)
        raise ValueError("ill")


if os.environ.get("FRAGILE"):

    @app.on(Ordered, group="fragile")
    async def kills_its_worker(event: Ordered) -> None:
        """One number is the end of whoever handles it."""
        note("fragile", event.n)
        if event.n == int(os.environ["FRAGILE"]):
            os._exit(9)
