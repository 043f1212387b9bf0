"""The record of attempts: what ran where, how often and how it ended. The demo's counts are counted here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import update
from sqlalchemy.orm import Session

from examples.diary.db import Database
from examples.diary.models import Execution

#: done: written. fresh: a summary of this version was there. gone: no diary any more. retry: failed, to be tried
#: again. limited: the model asked us to wait. refused: it never will. failed: the last attempt failed. late: there is
#: a summary of a newer version of the diary already.
Outcome = Literal["done", "fresh", "gone", "retry", "limited", "refused", "failed", "late"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a task knows of its own run."""

    message_id: str
    attempt: int = 1
    deliveries: int = 1
    is_last: bool = False  # a failure now is final
    is_last_delivery: bool = False  # a crash now is final
    worker: str = ""


def start(database: Database, kind: str, item: str, attempt: Attempt, source_updated_at: datetime | None) -> int:
    """Record that an attempt begins, before anything is done; gives the row's id."""
    row = Execution(
        kind=kind,
        item=item,
        message_id=attempt.message_id,
        attempt=attempt.attempt,
        deliveries=attempt.deliveries,
        worker=attempt.worker,
        pid=os.getpid(),
        source_updated_at=source_updated_at,
        started_at=datetime.now(UTC),
    )
    with database.writing() as session:
        session.add(row)
        session.flush()
        return row.id


def end(session: Session, row: int, outcome: Outcome) -> None:
    """Complete the record, in the transaction that writes what the attempt made."""
    session.execute(update(Execution).where(Execution.id == row).values(ended_at=datetime.now(UTC), outcome=outcome))
