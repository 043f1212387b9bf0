"""current(): what a running task knows of itself, on the loop and in threads."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtask import Cancelled, Context, current
from streamtask.context import CURRENT, from_ms
from streamtask.errors import NotInTask
from streamtask.message import MAX_MS, Message

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)


def context(message: Message | None = None, **changes: Any) -> Context:
    facts: dict[str, Any] = {
        "queue": "mail", "stream_id": "5-1", "deliveries": 2, "worker": "shop@web:1/ab", "sent_ms": NOON_MS,
        "started_ms": NOON_MS + 250.5, "timeout": 60.0, "is_last_attempt": False,
    }  # fmt: skip
    return Context(message or Message("1f", "shop.mail"), **(facts | changes))


def test_it_tells_what_runs_where_and_since_when() -> None:
    now = context(Message("1f", "shop.mail", b'{"to":"ada"}', {"attempt": 2, "ttl": 90, "headers": {"lang": "de"}}))
    assert (now.id, now.task, now.args, now.queue, now.worker) == (
        "1f",
        "shop.mail",
        {"to": "ada"},
        "mail",
        "shop@web:1/ab",
    )
    assert (now.attempt, now.deliveries, now.is_last_attempt) == (3, 2, False)
    assert (now.stream_id, now.fence) == ("5-1", "5-1:2")
    assert now.enqueued_at == NOON
    assert now.started_at == NOON + timedelta(milliseconds=250.5)
    assert now.deadline == now.started_at + timedelta(minutes=1)
    assert now.expires_at == NOON + timedelta(seconds=90)
    assert now.headers == {"lang": "de"}


def test_a_plain_message_has_its_defaults() -> None:
    now = context(timeout=None)
    assert (now.attempt, now.headers, now.parent, now.root) == (1, {}, None, "1f")
    assert (now.deadline, now.expires_at, now.scheduled_for) == (None, None, None)


def test_a_family_keeps_its_root_and_a_tick_its_time() -> None:
    now = context(Message("2f", "t", meta={"parent": "1f", "root": "0f", "scheduled_for": "2026-11-21T12:00:00+00:00"}))
    assert (now.parent, now.root, now.scheduled_for) == ("1f", "0f", NOON)


def test_outside_a_task_it_says_so() -> None:
    assert current(None) is None
    with pytest.raises(NotInTask, match=r"current\(None\) gives None"):
        current()


def test_it_is_the_same_in_threads_and_tasks_that_the_task_starts() -> None:
    now = context()

    async def child() -> Context:
        return current()

    async def task() -> list[Context]:
        CURRENT.set(lambda: now)
        return [current(), await child(), await asyncio.create_task(child()), await asyncio.to_thread(current)]

    assert contextvars.copy_context().run(asyncio.run, task()) == [now] * 4
    assert current(None) is None


def test_two_tasks_side_by_side_do_not_see_each_other() -> None:
    async def task(n: int) -> str:
        CURRENT.set(partial(context, Message(str(n), "t")))
        await asyncio.sleep(0)
        return current().id

    async def both() -> list[str]:
        return await asyncio.gather(*(task(n) for n in range(5)))

    assert asyncio.run(both()) == ["0", "1", "2", "3", "4"]


def test_a_thread_task_asks_whether_it_is_to_stop() -> None:
    now = context()
    now.raise_if_cancelled()
    assert not now.cancelled
    with ThreadPoolExecutor(1) as threads:
        threads.submit(now.stop).result()
    assert now.cancelled
    with pytest.raises(Cancelled, match=r"shop\.mail 1f was asked to stop"):
        now.raise_if_cancelled()


def test_its_logger_names_the_task(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "streamtask.task"):
        context(Message("1f", "shop.mail", meta={"attempt": 1})).logger.info("sent %d", 3)
    (record,) = caplog.records
    facts = vars(record)
    assert record.getMessage() == "sent 3"
    assert [facts[name] for name in ("id", "task", "queue", "attempt")] == ["1f", "shop.mail", "mail", 2]


@given(st.floats() | st.integers())
def test_any_number_is_some_time(ms: float) -> None:
    """What strangers write into the due set or a meta must not stop `show` or a task."""
    assert datetime(1970, 1, 1, tzinfo=UTC) <= from_ms(ms) <= from_ms(MAX_MS)
