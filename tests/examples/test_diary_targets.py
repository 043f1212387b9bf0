"""Which days and months are asked for, as of which day. The service before this one was off by one day four times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from examples.diary import store
from examples.diary.db import Database
from examples.diary.models import Diary, User
from examples.diary.store import Written
from examples.diary.targets import Day, Month, daily_targets, monthly_targets, today_at
from tests.examples.conftest import LONG, NOON

Write = Callable[..., None]


def daily(db: Database, today: str) -> list[Day]:
    with db.reading() as session:
        return daily_targets(session, date.fromisoformat(today))


def monthly(db: Database, today: str) -> list[Month]:
    with db.reading() as session:
        return monthly_targets(session, date.fromisoformat(today))


def settle(db: Database, item: Day | Month, of: datetime, *, error: str | None = None) -> None:
    """Store a summary (or an error) made of that version of the diary."""
    with db.writing() as session:
        store.save_summary(session, item, of, Written(None if error else "short", error, "test"), of)


# -- the day, from a moment -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "zone", "today"),
    [
        # Tokyo's day begins at 15:00 UTC: a tick at 23:59 UTC belongs to the next day there.
        ("2025-03-31T14:59:59+00:00", "Asia/Tokyo", "2025-03-31"),
        ("2025-03-31T15:00:00+00:00", "Asia/Tokyo", "2025-04-01"),
        ("2025-03-31T23:59:59+00:00", "Asia/Tokyo", "2025-04-01"),
        # and the same moment written in another zone is the same day
        ("2025-03-31T17:00:00+02:00", "Asia/Tokyo", "2025-04-01"),
        # west of Greenwich it is still yesterday
        ("2025-01-01T04:59:59+00:00", "America/New_York", "2024-12-31"),
        ("2025-01-01T05:00:00+00:00", "America/New_York", "2025-01-01"),
        # the night the clocks go forward in Berlin: midnight is at 23:00 UTC, the next one at 22:00
        ("2025-03-29T22:59:59+00:00", "Europe/Berlin", "2025-03-29"),
        ("2025-03-29T23:00:00+00:00", "Europe/Berlin", "2025-03-30"),
        ("2025-03-30T21:59:59+00:00", "Europe/Berlin", "2025-03-30"),
        ("2025-03-30T22:00:00+00:00", "Europe/Berlin", "2025-03-31"),
        # a day without midnight: Beirut's clocks went from 00:00 to 01:00
        ("2025-03-29T21:59:59+00:00", "Asia/Beirut", "2025-03-29"),
        ("2025-03-29T22:00:00+00:00", "Asia/Beirut", "2025-03-30"),
        # leap day, and the day after
        ("2024-02-28T15:00:00+00:00", "Asia/Tokyo", "2024-02-29"),
        ("2024-02-29T15:00:00+00:00", "Asia/Tokyo", "2024-03-01"),
    ],
)
def test_today_is_the_calendar_day_of_the_zone(moment: str, zone: str, today: str) -> None:
    assert today_at(datetime.fromisoformat(moment), ZoneInfo(zone)) == date.fromisoformat(today)


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        today_at(datetime(2025, 3, 1), ZoneInfo("Asia/Tokyo"))  # noqa: DTZ001 - this is what is refused


# -- days -------------------------------------------------------------------------------------------------------------


def test_only_past_days_are_asked_for_oldest_first(diary_db: Database, write: Write) -> None:
    for user, day in [
        ("b", "2025-03-02"),
        ("a", "2025-03-02"),
        ("a", "2025-03-01"),
        ("a", "2025-03-03"),
        ("a", "2025-03-04"),
    ]:
        write(user, day)
    expected = [Day("a", date(2025, 3, 1)), Day("a", date(2025, 3, 2)), Day("b", date(2025, 3, 2))]
    assert daily(diary_db, "2025-03-03") == expected


def test_yesterday_is_due_from_the_first_second_of_the_zones_day(diary_db: Database, write: Write) -> None:
    """00:00 in Tokyo is 15:00 UTC of the day before: a UTC day would ask nine hours too late."""
    write("a", "2025-03-31")
    tokyo = ZoneInfo("Asia/Tokyo")
    before, after = datetime(2025, 3, 31, 14, 59, 59, tzinfo=UTC), datetime(2025, 3, 31, 15, tzinfo=UTC)
    assert daily(diary_db, today_at(before, tokyo).isoformat()) == []
    assert daily(diary_db, today_at(after, tokyo).isoformat()) == [Day("a", date(2025, 3, 31))]


def test_1000_characters_are_enough_whatever_they_take_in_bytes(diary_db: Database, write: Write) -> None:
    write("a", "2025-03-01", "x" * 999)
    write("a", "2025-03-02", "x" * 1000)
    write("a", "2025-03-03", "雪" * 999)
    write("a", "2025-03-04", "雪" * 1000)
    write("a", "2025-03-05", "🍞" * 999)
    assert [day.date.day for day in daily(diary_db, "2025-03-10")] == [2, 4]


def test_each_flag_opts_in_to_its_own_summary(diary_db: Database) -> None:
    with diary_db.writing() as session:
        for user, each_day, each_month in [("d", True, False), ("m", False, True), ("n", False, False)]:
            session.add(User(id=user, auto_summary_daily=each_day, auto_summary_monthly=each_month))
            session.flush()
            session.add(Diary(user_id=user, date=date(2025, 3, 1), content=LONG, updated_at=NOON))
    assert daily(diary_db, "2025-04-01") == [Day("d", date(2025, 3, 1))]
    assert monthly(diary_db, "2025-04-01") == [Month("m", 2025, 3)]


def test_a_day_with_its_summary_is_asked_for_again_after_an_edit_only(diary_db: Database, write: Write) -> None:
    write("a", "2025-03-01")
    settle(diary_db, Day("a", date(2025, 3, 1)), NOON)
    assert daily(diary_db, "2025-03-02") == []
    write("a", "2025-03-01", LONG, NOON + timedelta(hours=1))  # saved again, not changed
    assert daily(diary_db, "2025-03-02") == []
    write("a", "2025-03-01", LONG + "And then it rained.", NOON + timedelta(hours=1))
    assert daily(diary_db, "2025-03-02") == [Day("a", date(2025, 3, 1))]


def test_an_edit_counts_when_the_clock_stands_still_or_goes_back(diary_db: Database, write: Write) -> None:
    write("a", "2025-03-01")
    settle(diary_db, Day("a", date(2025, 3, 1)), NOON)
    write("a", "2025-03-01", LONG + "!", NOON - timedelta(days=1))
    assert daily(diary_db, "2025-03-02") == [Day("a", date(2025, 3, 1))]


def test_a_stored_error_is_asked_for_again_only_when_the_diary_changes(diary_db: Database, write: Write) -> None:
    """Its predecessor compared seconds with milliseconds, so that a blocked month was never tried again."""
    write("a", "2025-03-01")
    settle(diary_db, Day("a", date(2025, 3, 1)), NOON, error="Refused: content policy")
    settle(diary_db, Month("a", 2025, 3), NOON, error="Refused: content policy")
    assert (daily(diary_db, "2025-04-01"), monthly(diary_db, "2025-04-01")) == ([], [])
    write("a", "2025-03-01", LONG + "!", NOON + timedelta(microseconds=1))
    assert daily(diary_db, "2025-04-01") == [Day("a", date(2025, 3, 1))]
    assert monthly(diary_db, "2025-04-01") == [Month("a", 2025, 3)]


def test_another_users_summary_of_the_same_day_counts_for_nothing(diary_db: Database, write: Write) -> None:
    write("a", "2025-03-01")
    write("b", "2025-03-01")
    settle(diary_db, Day("a", date(2025, 3, 1)), NOON)
    assert daily(diary_db, "2025-03-02") == [Day("b", date(2025, 3, 1))]


# -- months -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("today", "months"),
    [
        ("2024-12-31", [(2024, 2)]),
        ("2025-01-01", [(2024, 2), (2024, 12)]),
        ("2025-01-31", [(2024, 2), (2024, 12)]),
        ("2025-02-01", [(2024, 2), (2024, 12), (2025, 1)]),
    ],
)
def test_a_month_is_due_when_it_is_over(
    diary_db: Database, write: Write, today: str, months: list[tuple[int, int]]
) -> None:
    for day in ("2024-02-29", "2024-12-01", "2024-12-31", "2025-01-01", "2025-01-31", "2025-02-01"):
        write("a", day)
    assert [(month.year, month.month) for month in monthly(diary_db, today)] == months


def test_months_end_where_the_zone_says(diary_db: Database, write: Write) -> None:
    """On 31 March at 15:00 UTC it is April in Tokyo; on 1 April at 03:59 UTC it is still March in New York."""
    write("a", "2025-03-31")
    in_tokyo = today_at(datetime(2025, 3, 31, 15, tzinfo=UTC), ZoneInfo("Asia/Tokyo"))
    in_new_york = today_at(datetime(2025, 4, 1, 3, 59, tzinfo=UTC), ZoneInfo("America/New_York"))
    assert monthly(diary_db, in_tokyo.isoformat()) == [Month("a", 2025, 3)]
    assert monthly(diary_db, in_new_york.isoformat()) == []


def test_short_diaries_make_a_month_too_and_no_daily_summary_is_needed(diary_db: Database, write: Write) -> None:
    write("a", "2025-03-01", "Rain.")
    assert daily(diary_db, "2025-04-01") == []
    assert monthly(diary_db, "2025-04-01") == [Month("a", 2025, 3)]


def test_a_month_is_stale_when_its_newest_diary_is_newer(diary_db: Database, write: Write) -> None:
    write("a", "2025-03-01", at=NOON)
    write("a", "2025-03-20", at=NOON + timedelta(hours=2))
    settle(diary_db, Month("a", 2025, 3), NOON + timedelta(hours=2))
    assert monthly(diary_db, "2025-04-01") == []
    write("a", "2025-03-05", "A forgotten day.", NOON + timedelta(hours=3))
    assert monthly(diary_db, "2025-04-01") == [Month("a", 2025, 3)]


def test_an_edit_makes_its_month_stale_when_the_clock_has_gone_back(diary_db: Database, write: Write) -> None:
    write("a", "2025-03-01", at=NOON)
    write("a", "2025-03-20", at=NOON + timedelta(hours=2))
    settle(diary_db, Month("a", 2025, 3), NOON + timedelta(hours=2))
    write("a", "2025-03-01", LONG + "!", NOON + timedelta(hours=1))
    assert monthly(diary_db, "2025-04-01") == [Month("a", 2025, 3)]
