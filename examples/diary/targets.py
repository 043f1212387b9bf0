"""Which summaries are missing or stale: the two questions that every scan asks."""

from __future__ import annotations

from datetime import date, datetime, tzinfo
from typing import NamedTuple

from sqlalchemy import Integer, and_, cast, func, or_, select
from sqlalchemy.orm import Session

from examples.diary.models import DailySummary, Diary, MonthlySummary, User

#: Shorter diaries get no daily summary: they are their own. In characters.
MIN_LENGTH = 1000


class Day(NamedTuple):
    """A diary that wants a daily summary."""

    user_id: str
    date: date


class Month(NamedTuple):
    """A month that wants a summary."""

    user_id: str
    year: int
    month: int


def today_at(moment: datetime, zone: tzinfo) -> date:
    """The calendar day in that zone at this moment (an aware datetime).

    The one place where a moment becomes a day. A day of UTC, of the host or of the database would be off by one for
    some hours of every day.
    """
    if moment.utcoffset() is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return moment.astimezone(zone).date()


def daily_targets(session: Session, today: date) -> list[Day]:
    """Past diaries of opted-in users, long enough, with no summary or one of an older version; oldest first.

    A stored error counts as a summary of its version: it is asked for again when the diary changes, not before.
    """
    wanted = (
        select(Diary.user_id, Diary.date)
        .join(User, User.id == Diary.user_id)
        .outerjoin(DailySummary, and_(DailySummary.user_id == Diary.user_id, DailySummary.date == Diary.date))
        .where(
            User.auto_summary_daily,
            Diary.date < today,
            func.length(Diary.content) >= MIN_LENGTH,
            or_(DailySummary.user_id.is_(None), DailySummary.source_updated_at < Diary.updated_at),
        )
        .order_by(Diary.date, Diary.user_id)
    )
    return [Day(user_id, day) for user_id, day in session.execute(wanted)]


def monthly_targets(session: Session, today: date) -> list[Month]:
    """Months before today's, of opted-in users, with a diary and no summary or one older than its newest diary."""
    year = cast(func.strftime("%Y", Diary.date), Integer).label("year")
    month = cast(func.strftime("%m", Diary.date), Integer).label("month")
    months = (
        select(Diary.user_id, year, month, func.max(Diary.updated_at).label("newest"))
        .where(Diary.date < today.replace(day=1))
        .group_by(Diary.user_id, year, month)
        .subquery()
    )
    same = and_(
        MonthlySummary.user_id == months.c.user_id,
        MonthlySummary.year == months.c.year,
        MonthlySummary.month == months.c.month,
    )
    wanted = (
        select(months.c.user_id, months.c.year, months.c.month)
        .join(User, User.id == months.c.user_id)
        .outerjoin(MonthlySummary, same)
        .where(
            User.auto_summary_monthly,
            or_(MonthlySummary.user_id.is_(None), MonthlySummary.source_updated_at < months.c.newest),
        )
        .order_by(months.c.year, months.c.month, months.c.user_id)
    )
    return [Month(*row) for row in session.execute(wanted)]
