"""Says at start-up, loudly, what is wired to what: an event that nobody consumes should be seen on the first screen."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from examples.alt.settings import ConsumerSettings


def announce(who: str, lines: Iterable[str]) -> None:
    """Print the report to standard error, where the worker's own log goes."""
    print("\n".join([f"{who}: this is wired", *(f"  {line}" for line in lines)]), file=sys.stderr, flush=True)


def consumer_report(settings: ConsumerSettings, consumes: Iterable[str], publishes: Iterable[str]) -> list[str]:
    """What a service reads and writes, and which of its settings do nothing."""
    where = "REDIS_STREAMS_URL" if settings.redis_url else "the Redis of STREAMTASK_URL"
    return [
        *(f"consumes   {line}" for line in consumes),
        *(f"publishes  {line}" for line in publishes),
        f"redis      {where}",
        f"database   {settings.database}",
        f"gives up   after {settings.max_deliveries} attempts: a dead letter of the group",
        *(f"off        {line}" for line in settings.unused),
    ]
