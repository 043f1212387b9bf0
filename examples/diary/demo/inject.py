"""The item that always fails: one diary more than the user gave, so that every real one gets its summary."""

from __future__ import annotations

from datetime import date, datetime

from examples.diary.db import Database
from examples.diary.models import Diary, User
from examples.diary.targets import Day

INJECTED = Day("injected-failure", date(2001, 1, 1))
_TEXT = "Nobody can summarise this day. " * 40


def inject(database: Database, now: datetime) -> None:
    """Write the diary; its user wants daily summaries only, so that no month is added."""
    with database.writing() as session:
        session.add(User(id=INJECTED.user_id, auto_summary_daily=True, auto_summary_monthly=False))
        session.flush()
        session.add(Diary(user_id=INJECTED.user_id, date=INJECTED.date, content=_TEXT, updated_at=now))
