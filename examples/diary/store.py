"""What is written: diaries and summaries, each in one statement that never puts an older version over a newer one."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import and_, func, or_, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from examples.diary.models import DailySummary, Diary, MonthlySummary, User
from examples.diary.targets import Day, Month


@dataclass(frozen=True, slots=True)
class Source:
    """What a summary is made of, and its version."""

    text: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Written:
    """A summary, or the reason why there is none."""

    summary: str | None
    error_reason: str | None
    model_version: str


def opt_in(session: Session, user_id: str) -> None:
    """The user exists and wants both kinds of summary."""
    flags = {"auto_summary_daily": True, "auto_summary_monthly": True}
    statement = insert(User).values(id=user_id, **flags)
    session.execute(statement.on_conflict_do_update(index_elements=["id"], set_=flags))


def save_diary(
    session: Session, user_id: str, day: date, content: str, now: datetime
) -> Literal["added", "changed", "unchanged"]:
    """Write a diary; its version moves forward when the text changed, and only then.

    The versions of one user's diaries rise with every change, also when the clock stands still or goes back:
    else a summary of the day, or of its month, could look newer than the edit.
    """
    known = session.get(Diary, (user_id, day))
    if known is not None and known.content == content:
        return "unchanged"
    newest = session.scalar(select(func.max(Diary.updated_at)).where(Diary.user_id == user_id))
    version = now if newest is None else max(now, newest + timedelta(microseconds=1))
    if known is None:
        session.add(Diary(user_id=user_id, date=day, content=content, updated_at=version))
        return "added"
    known.content, known.updated_at = content, version
    return "changed"


def source_of(session: Session, item: Day | Month) -> Source | None:
    """The text to summarise and its version, None when nothing is (or is left) there.

    A month is read from its diaries themselves: its summary waits for no daily one, and short days count too.
    """
    if isinstance(item, Day):
        first = last = item.date
    else:
        first = date(item.year, item.month, 1)
        last = date(item.year, item.month, calendar.monthrange(item.year, item.month)[1])
    rows = session.execute(
        select(Diary.content, Diary.updated_at)
        .where(Diary.user_id == item.user_id, Diary.date >= first, Diary.date <= last)
        .order_by(Diary.date)
    ).all()
    if not rows:
        return None
    return Source("\n\n".join(row.content for row in rows), max(row.updated_at for row in rows))


def _table(item: Day | Month) -> type[DailySummary | MonthlySummary]:
    return DailySummary if isinstance(item, Day) else MonthlySummary


def summary_of(session: Session, item: Day | Month) -> DailySummary | MonthlySummary | None:
    """The stored row of this item."""
    if isinstance(item, Day):
        return session.get(DailySummary, tuple(item))
    return session.get(MonthlySummary, tuple(item))


def save_summary(session: Session, item: Day | Month, source: datetime, written: Written, now: datetime) -> bool:
    """Insert or update the item's row; False when what stands there is of a newer version, or better.

    Two attempts may overlap after a lost lease: the one that read the newer diary wins, in whatever order they end,
    and an error never replaces a summary of the same version.
    """
    table = _table(item)
    key: Mapping[str, Any] = item._asdict()
    values = {
        "summary": written.summary,
        "error_reason": written.error_reason,
        "model_version": written.model_version,
        "source_updated_at": source,
        "updated_at": now,
    }
    statement = insert(table).values(**key, **values)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=list(key),
        set_={name: new[name] for name in values},
        where=or_(
            table.source_updated_at < new.source_updated_at,
            and_(
                table.source_updated_at == new.source_updated_at,
                or_(new.error_reason.is_(None), table.error_reason.is_not(None)),
            ),
        ),
    )
    return session.execute(statement.returning(table.user_id)).first() is not None
