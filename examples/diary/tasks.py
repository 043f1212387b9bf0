"""The app: two schedules that look for missing summaries, and two tasks that make them.

`streamtask worker examples.diary.tasks:app` and `streamtask beat examples.diary.tasks:app` run it.

The two summary tasks are plain functions, so they run on the worker's threads: the database driver blocks, the
built-in summarizer computes, and `--threads` is then the number of summaries (and of calls to a model) at once. The
two scans are coroutines, so that a queue full of summaries never keeps a scan waiting for a thread; their one query
runs beside the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date
from functools import cache
from typing import TypeVar

from sqlalchemy.orm import Session

from examples.diary import executions
from examples.diary.choice import summarizer
from examples.diary.db import database
from examples.diary.executions import Attempt
from examples.diary.settings import settings
from examples.diary.summarizer import RateLimited, Refused
from examples.diary.targets import Day, Month, daily_targets, monthly_targets, today_at
from examples.diary.work import Desk
from streamtask import Every, Reject, Result, Retry, RetryPolicy, StreamTask, Unique, current

T = TypeVar("T")

#: A message whose worker died this often (killed, out of memory) becomes a dead letter.
MAX_DELIVERIES = 3
RETRY = RetryPolicy(base=settings().retry_base.total_seconds(), max_delay=60)

app = StreamTask("diary")


@app.task(
    queue="summaries",
    max_retries=settings().max_retries,
    max_deliveries=MAX_DELIVERIES,
    retry=RETRY,
    unique=Unique(by=("user_id", "date")),
)
def daily_summary(user_id: str, date: date) -> str:
    """Summarise one day; returns how it went (see `executions.Outcome`)."""
    return _summarise(Day(user_id, date))


@app.task(
    queue="summaries",
    max_retries=settings().max_retries,
    max_deliveries=MAX_DELIVERIES,
    retry=RETRY,
    unique=Unique(by=("user_id", "year", "month")),
)
def monthly_summary(user_id: str, year: int, month: int) -> str:
    """Summarise one month; returns how it went."""
    return _summarise(Month(user_id, year, month))


@app.schedule(Every(seconds=settings().daily_interval.total_seconds()), overlap="skip")
@app.task
async def queue_daily_summaries() -> int:
    """Send a task for every day whose summary is missing or stale; returns how many were not queued yet."""
    found = await asyncio.to_thread(_scan, "daily", daily_targets)
    return _report("daily", await daily_summary.adelay_many(daily_summary.s(*day) for day in found))


@app.schedule(Every(seconds=settings().monthly_interval.total_seconds()), overlap="skip")
@app.task
async def queue_monthly_summaries() -> int:
    """Send a task for every month whose summary is missing or stale; returns how many were not queued yet."""
    found = await asyncio.to_thread(_scan, "monthly", monthly_targets)
    return _report("monthly", await monthly_summary.adelay_many(monthly_summary.s(*month) for month in found))


def _scan(name: str, targets: Callable[[Session, date], list[T]]) -> list[T]:
    """The targets as of the tick, however late it is worked on: the day is the schedule's, in the service's zone."""
    context = current()
    moment = context.scheduled_for or context.enqueued_at  # none when somebody sent the task by hand
    execution = executions.start(database(), "scan", f"{name}@{moment.isoformat()}", _attempt(), None)
    with database().reading() as session:
        found = targets(session, today_at(moment, settings().timezone))
    with database().writing() as session:
        executions.end(session, execution, "done")
    return found


def _report(kind: str, results: list[Result[str]]) -> int:
    new = sum(not result.duplicate for result in results)
    if results:
        current().logger.info("%d %s summaries are missing, %d of them were not queued yet", len(results), kind, new)
    return new


def _summarise(item: Day | Month) -> str:
    """Do the work, and say in the queue's words how it failed."""
    try:
        return desk().summarise(item, _attempt())
    except RateLimited as limit:
        # Not counted as an attempt: the model is busy, and the item is as good as before.
        raise Retry(limit.delay, reason=str(limit), counts=False) from limit
    except Refused as refusal:
        raise Reject(str(refusal)) from refusal


def _attempt() -> Attempt:
    context = current()
    return Attempt(
        message_id=context.id,
        attempt=context.attempt,
        deliveries=context.deliveries,
        is_last=context.is_last_attempt,
        is_last_delivery=context.deliveries >= MAX_DELIVERIES,
        worker=context.worker,
    )


@cache
def desk() -> Desk:
    """This process's database, summarizer and settings, opened by its first task."""
    return Desk(database(), summarizer(), settings(), RETRY.retries)
