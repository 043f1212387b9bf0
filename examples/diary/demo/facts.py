"""What happened, counted from the database and from Redis after the fact; nothing here is estimated."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from examples.diary.db import Database
from examples.diary.demo.fleet import STREAMTASK, DemoFailed
from examples.diary.demo.inject import INJECTED
from examples.diary.demo.plan import ROOT
from examples.diary.models import DailySummary, Diary, Execution, MonthlySummary
from examples.diary.store import summary_of
from examples.diary.targets import Day, Month
from examples.diary.work import label


@dataclass(frozen=True, slots=True)
class Facts:
    """The numbers of the table."""

    entries: int
    daily: int
    monthly: int
    executions: int
    retries: int  # second and later attempts
    takeovers: int  # starts of a message that another worker had held
    interrupted: int  # attempts that the killed worker had begun and never ended
    found_done: int  # attempts that found the summary written already
    twice: int  # items summarised twice from the same version of the diary
    ticks: int
    ticks_twice: int  # ticks for which more than one message was sent
    seconds: float  # from the first start to the last end


def gather(session: Session) -> Facts:
    """Count everything once."""

    def count(table: type[Diary | DailySummary | MonthlySummary | Execution], *where: object) -> int:
        return session.scalar(select(func.count()).select_from(table).where(*where)) or 0  # type: ignore[arg-type]

    work = Execution.kind != "scan"
    versions = (
        select(Execution.item)
        .where(work, Execution.outcome == "done")
        .group_by(Execution.item, Execution.source_updated_at)
        .having(func.count() > 1)
    )
    ticks = select(Execution.item, func.count(Execution.message_id.distinct()).label("sent")).where(~work)
    messages = [row.sent for row in session.execute(ticks.group_by(Execution.item))]
    span = select(func.min(Execution.started_at), func.max(Execution.ended_at)).where(work)
    first, last = cast("tuple[datetime | None, datetime | None]", tuple(session.execute(span).one()))
    return Facts(
        entries=count(Diary, Diary.user_id != INJECTED.user_id),
        daily=count(DailySummary, DailySummary.error_reason.is_(None)),
        monthly=count(MonthlySummary, MonthlySummary.error_reason.is_(None)),
        executions=count(Execution, work, Execution.ended_at.is_not(None)),
        retries=count(Execution, work, Execution.attempt > 1),
        takeovers=count(Execution, work, Execution.deliveries > 1),
        interrupted=count(Execution, work, Execution.ended_at.is_(None)),
        found_done=count(Execution, work, Execution.outcome == "fresh"),
        twice=len(session.execute(versions).all()),
        ticks=len(messages),
        ticks_twice=sum(sent > 1 for sent in messages),
        seconds=(last - first).total_seconds() if first is not None and last is not None else 0.0,
    )


def settled(database: Database) -> int:
    """How many items have a row, be it a summary or an error."""
    with database.reading() as session:
        return sum(
            session.scalar(select(func.count()).select_from(table)) or 0 for table in (DailySummary, MonthlySummary)
        )


def running(database: Database, pid: int) -> int:
    """How many attempts this process has begun and not ended."""
    with database.reading() as session:
        open_rows = select(func.count()).where(Execution.pid == pid, Execution.ended_at.is_(None))
        return session.scalar(open_rows.where(Execution.kind != "scan")) or 0


def dead_items(environment: Mapping[str, str]) -> list[str]:
    """The items of the dead letters that Redis holds, asked for as a user would."""
    command = [
        *STREAMTASK,
        "dead",
        "list",
        "--namespace",
        "diary",
        "--queue",
        "summaries",
        "--format",
        "json",
    ]
    asked = subprocess.run(
        command, cwd=ROOT, env=dict(environment), capture_output=True, text=True, timeout=30, check=False
    )
    if asked.returncode != 0:
        raise DemoFailed(f"streamtask dead list ended with {asked.returncode}: {asked.stderr.strip()}")
    return [item_of(letter["args"]) for letter in json.loads(asked.stdout)["dead"]]


def item_of(args: Mapping[str, object]) -> str:
    """The label of the item that these arguments of a task name."""
    if "date" in args:
        return f"{args['user_id']}/{args['date']}"
    return f"{args['user_id']}/{int(str(args['year'])):04}-{int(str(args['month'])):02}"


def unsettled(session: Session, targets: Sequence[Day | Month], dead: Sequence[str]) -> list[str]:
    """The targets that have neither a summary nor a stored error with its dead letter; what this returns is lost."""
    lost = []
    for item in targets:
        row = summary_of(session, item)
        if row is None or (row.error_reason is not None and label(item) not in dead):
            lost.append(label(item))
    return lost
