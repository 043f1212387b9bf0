"""The tables: users, their diaries, the summaries of days and months, and a record of every attempt."""

from __future__ import annotations

import datetime as dt
from typing import ClassVar

from sqlalchemy import DateTime, Dialect, ForeignKey, Index, String, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Utc(TypeDecorator[dt.datetime]):
    """A moment: only aware datetimes go in; UTC with microseconds is stored, so text order is time order."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        del dialect
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError(f"{value.isoformat()} has no time zone; write datetime.now(UTC)")
        return value.astimezone(dt.UTC).replace(tzinfo=None)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        del dialect
        return None if value is None else value.replace(tzinfo=dt.UTC)


class Base(DeclarativeBase):
    """Dates are plain calendar days of the diary; every datetime is a moment in UTC."""

    type_annotation_map: ClassVar = {dt.datetime: Utc}


class User(Base):
    """Who writes, and which summaries they asked for."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    auto_summary_daily: Mapped[bool] = mapped_column(default=False)
    auto_summary_monthly: Mapped[bool] = mapped_column(default=False)


class Diary(Base):
    """What a user wrote on a day; `updated_at` is its version."""

    __tablename__ = "diaries"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    date: Mapped[dt.date] = mapped_column(primary_key=True)
    content: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[dt.datetime]


class Summary:
    """The columns of both kinds of summary: a text, or the reason why there will be none for this version."""

    summary: Mapped[str | None] = mapped_column(Text)
    error_reason: Mapped[str | None] = mapped_column(Text)
    model_version: Mapped[str]
    source_updated_at: Mapped[dt.datetime]  # the version of the diary it speaks of
    updated_at: Mapped[dt.datetime]


class DailySummary(Summary, Base):
    """The summary of one day."""

    __tablename__ = "daily_summaries"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    date: Mapped[dt.date] = mapped_column(primary_key=True)


class MonthlySummary(Summary, Base):
    """The summary of one month, from its diaries (not from their summaries)."""

    __tablename__ = "monthly_summaries"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    year: Mapped[int] = mapped_column(primary_key=True)
    month: Mapped[int] = mapped_column(primary_key=True)


class Execution(Base):
    """One attempt of one task: a row at its start, completed at its end. No end: its worker died."""

    __tablename__ = "executions"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    kind: Mapped[str]  # daily, monthly, scan
    item: Mapped[str]  # mara/2025-03-14, mara/2025-03; of a scan: its name and tick
    message_id: Mapped[str]
    attempt: Mapped[int]
    deliveries: Mapped[int]
    worker: Mapped[str]
    pid: Mapped[int]
    source_updated_at: Mapped[dt.datetime | None]
    started_at: Mapped[dt.datetime]
    ended_at: Mapped[dt.datetime | None]
    outcome: Mapped[str | None]  # see executions.Outcome

    __table_args__ = (Index("executions_of_item", "item"), Index("executions_running", "pid", "ended_at"))
