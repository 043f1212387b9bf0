"""What the tests of beat share: the server's clock, schedules that do nothing, and the ticks that were sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic_core import from_json

from streamtask import StreamTask
from streamtask.when import When
from tests.worker.kit import Lab

HOUR = 3_600_000


def now(lab: Lab) -> int:
    """The server's clock in ms."""
    seconds, micros = lab.client.time()
    return int(seconds) * 1000 + int(micros) // 1000


def at(ms: int) -> datetime:
    """Milliseconds as a time of day."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def ticks(lab: Lab, queue: str = "default") -> list[int]:
    """The ticks (ms) of all messages in a queue, in the order in which they were sent."""
    found = []
    for _, fields in lab.client.xrange(lab.keys(queue).stream):
        moment = datetime.fromisoformat(from_json(fields[b"meta"])["scheduled_for"])
        found.append(round(moment.timestamp() * 1000))
    return found


def scheduled(
    app: StreamTask, when: When, name: str = "tick", task: dict[str, Any] | None = None, **options: Any
) -> None:
    """Give an app a schedule of a task that does nothing."""

    async def nothing() -> None: ...

    app.schedule(when, name=name, **options)(app.task(name=name, **(task or {}))(nothing))


def forget_since(lab: Lab, ms: int, name: str = "tick", queue: str = "default") -> None:
    """As if the last tick that any beat fired was at `ms`."""
    lab.client.hset(lab.keys(queue).ticks, name, ms)
