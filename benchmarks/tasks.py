"""The measured tasks: one app a kind, as a service that does nothing else would have it. All defaults but `result`."""

from __future__ import annotations

import time

from benchmarks.ledger import delays, ran
from streamtask import StreamTask

quiet = StreamTask("bench-quiet")
stored = StreamTask("bench-stored")
threads = StreamTask("bench-threads")
idle = StreamTask("bench-idle")


@quiet.task(result=False)
async def noop(n: int) -> None:
    """Nothing, and count it."""
    ran[n] += 1


@stored.task
async def noop_stored(n: int) -> None:
    """Nothing, and count it; the result is stored."""
    ran[n] += 1


@threads.task(result=False)
def noop_sync(n: int) -> None:
    """Nothing, in a thread, and count it."""
    ran[n] += 1


@idle.task(result=False)
async def stamp(n: int, sent: int) -> None:
    """Note how long ago it was sent; `sent` in ns of this machine's monotonic clock."""
    delays.append(time.monotonic_ns() - sent)
    ran[n] += 1
