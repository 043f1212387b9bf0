"""Cron against a plain oracle that looks at every minute, around the clock changes of many zones and far from them."""

from __future__ import annotations

import calendar
import pickle
from datetime import UTC, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtask.cron import Cron
from streamtask.schedule import dst_note
from streamtask.walltime import DAY_MS, from_ms, to_ms
from tests.unit.cron_oracle import CHANGES, MINUTE, Case, cases, fields, oracle, spans


@settings(max_examples=400)
@given(st.data())
def test_ticks_are_what_the_clock_on_the_wall_says(data: st.DataObject) -> None:
    case = data.draw(cases())
    after, until = data.draw(spans(case.cron.zone.key))
    expected = oracle(case, after, until)
    assert case.cron.ticks(after, until, limit=10**6) == expected
    assert case.cron.newest(after, until) == (expected[-1] if expected else None)
    assert case.cron.ticks(after, until, limit=3) == expected[:3]
    following = case.cron.next_after(after)
    assert following == expected[0] if expected else following is None or following > until


@settings(max_examples=150)
@given(st.data())
def test_ticks_do_not_depend_on_the_start_point(data: st.DataObject) -> None:
    case = data.draw(cases())
    a, c = data.draw(spans(case.cron.zone.key))
    near = [t for t in CHANGES[case.cron.zone.key] if a <= t <= c]
    b = data.draw(st.one_of(st.integers(a, c), st.sampled_from([*case.cron.ticks(a, c, 50), *near, a])))
    first, second = case.cron.ticks(a, b, 10**6), case.cron.ticks(b, c, 10**6)
    assert case.cron.ticks(a, c, 10**6) == first + second
    assert case.cron.newest(a, b) == (first[-1] if first else None)


@settings(max_examples=60)
@given(st.data())
def test_seconds_keep_the_same_rules(data: st.DataObject) -> None:
    """Six fields, the second last; checked against each second for some minutes around a clock change."""
    zone = data.draw(st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe"]))
    hour = data.draw(st.sampled_from(["*", "1", "2", "3", "1-3"]))
    second, seconds = data.draw(fields(0, 59))
    cron = Cron(f"*/7 {hour} * * * {second}", zone)
    change = data.draw(st.sampled_from(CHANGES[zone]))
    hours = set(range(24)) if hour == "*" else set(range(int(hour[0]), int(hour[-1]) + 1))
    start = change + data.draw(st.integers(-40, 40)) * MINUTE
    expected = []
    for t in range(start + 1000, start + 20 * MINUTE + 1, 1000):
        local = from_ms(t, cron.zone)
        if (
            local.hour in hours
            and local.minute % 7 == 0
            and local.second in seconds
            and (hour == "*" or not local.fold)
        ):
            expected.append(t)
    is_gap = from_ms(change, cron.zone).utcoffset() > from_ms(change - 1, cron.zone).utcoffset()
    if is_gap and hour != "*" and 2 in hours and start < change <= start + 20 * MINUTE:
        expected.append(change)  # both zones leave out the beginning of the third hour
    due = sorted(set(expected))
    assert cron.ticks(start, start + 20 * MINUTE, 10**6) == due
    assert cron.newest(start, start + 20 * MINUTE) == (due[-1] if due else None)


HOURS = {"*": range(24), "*/2": range(0, 24, 2), "1-3": range(1, 4), "2": range(2, 3)}


@pytest.mark.parametrize("fold", ["once", "twice"])
@pytest.mark.parametrize("gap", ["next", "skip"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe"])
def test_right_at_a_clock_change(zone: str, gap: str, fold: str) -> None:
    """Each start and each end that is a millisecond or a tick from a change, for expressions that have a tick there."""
    always = frozenset(range(60))
    for change in CHANGES[zone][:2]:
        edges = [change + side * MINUTE * 30 + off for side in (-2, -1, 0, 1, 2) for off in (-1, 0, 1)]
        for hour, minute in product(HOURS, (0, 15, 30)):
            cron = Cron(f"{minute} {hour} * * *", zone, fold=fold, gap=gap)  # type: ignore[arg-type]
            case = Case(cron, frozenset({minute}), frozenset(HOURS[hour]), always, always)
            ticks = oracle(case, change - 3 * 60 * MINUTE, change + 30 * 60 * MINUTE)
            for edge in edges:
                assert cron.next_after(edge) == min(tick for tick in ticks if tick > edge)
                past = [tick for tick in ticks if tick <= edge]
                assert cron.newest(ticks[0] - 1, edge) == (past[-1] if past else None)


def days_of(expression: str, years: range) -> list[datetime]:
    cron = Cron(expression, "UTC")
    start, end = datetime(years.start, 1, 1, tzinfo=UTC), datetime(years.stop, 1, 1, tzinfo=UTC)
    ticks = cron.ticks(to_ms(start) - 1, to_ms(end) - 1, 10**6)
    backwards, until = [], to_ms(end) - 1
    while (tick := cron.newest(to_ms(start) - 1, until)) is not None:
        backwards.append(tick)
        until = tick - 1
    assert backwards[::-1] == ticks
    return [from_ms(tick) for tick in ticks]


def test_month_ends_and_leap_days() -> None:
    months = [(year, month) for year in range(2023, 2031) for month in range(1, 13)]
    last = [datetime(y, m, calendar.monthrange(y, m)[1], tzinfo=UTC) for y, m in months]
    assert days_of("0 0 L * *", range(2023, 2031)) == last
    assert days_of("0 0 31 * *", range(2023, 2031)) == [day for day in last if day.day == 31]
    assert [day.year for day in days_of("0 0 29 2 *", range(2023, 2110)) if day.year > 2090] == [2092, 2096, 2104, 2108]


def test_nearest_weekday_and_counted_weekday() -> None:
    """June 2024 begins on a Saturday: 1W stays in the month; the third Friday, and the last."""
    june = (datetime(2024, 6, 1, tzinfo=UTC) - timedelta(seconds=1), 1)
    assert [day.day for day in Cron("0 0 1W * *", "UTC").upcoming(*june)] == [3]
    assert [day.day for day in Cron("0 0 15W * *", "UTC").upcoming(*june)] == [14]
    assert [day.day for day in Cron("0 0 * * fri#3", "UTC").upcoming(*june)] == [21]
    assert [day.day for day in Cron("0 0 * * L5", "UTC").upcoming(*june)] == [28]


def test_words_and_names() -> None:
    assert Cron("@daily", "UTC").ticks(0, 3 * DAY_MS, 9) == [DAY_MS, 2 * DAY_MS, 3 * DAY_MS]
    assert days_of("0 0 * jan,Mar MON-WED", range(2024, 2025))[0] == datetime(2024, 1, 1, tzinfo=UTC)
    assert Cron(" 0   4 * * * ", "UTC") == Cron("0 4 * * *", "UTC")


@pytest.mark.parametrize(
    ("zone", "expression", "start", "expected"),
    [
        ("Europe/Berlin", "30 2 * * *", "2026-10-25", ["10-25 02:30 +0200", "10-26 02:30 +0100"]),
        ("Europe/Berlin", "30 2 * * *", "2027-03-28", ["03-28 03:00 +0200", "03-29 02:30 +0200"]),
        ("Europe/Berlin", "15 * * * *", "2027-03-28T01:00", ["03-28 01:15 +0100", "03-28 03:15 +0200"]),
        ("Europe/Berlin", "0 */2 * * *", "2026-10-25T01:00", ["10-25 02:00 +0200", "10-25 02:00 +0100"]),
        ("Australia/Lord_Howe", "15 2 * * *", "2027-10-03", ["10-03 02:30 +1100", "10-04 02:15 +1100"]),
        ("Australia/Lord_Howe", "*/30 * * * *", "2027-04-04T01:00", ["04-04 01:30 +1100", "04-04 01:30 +1030"]),
        ("America/Sao_Paulo", "0 0 * * *", "2018-11-03T12:00", ["11-04 01:00 -0200", "11-05 00:00 -0200"]),
        ("America/Havana", "0 0 * * *", "2026-10-31T12:00", ["11-01 00:00 -0400", "11-02 00:00 -0500"]),
        ("Pacific/Apia", "0 4 * * *", "2011-12-29T12:00", ["12-31 00:00 +1400", "12-31 04:00 +1400"]),
    ],
)
def test_clock_changes_by_example(zone: str, expression: str, start: str, expected: list[str]) -> None:
    """Gaps and folds, also at midnight, of half an hour, and of a whole day that Samoa left out."""
    begin = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))
    assert [tick.strftime("%m-%d %H:%M %z") for tick in Cron(expression, zone).upcoming(begin, 2)] == expected


def test_a_long_absence_costs_nothing() -> None:
    """`newest` does not walk from `after`: the last second of ten years, and a yearly tick of fifty, in some steps."""
    now = to_ms(datetime(2030, 6, 1, tzinfo=UTC))
    every_second = Cron("* * * * * *", "Europe/Berlin")
    assert every_second.newest(now - 3650 * DAY_MS, now + 999) == now
    assert len(every_second.ticks(0, now, limit=100)) == 100
    assert Cron("0 0 29 2 *", "UTC").newest(0, now) == to_ms(datetime(2028, 2, 29, tzinfo=UTC))


def test_the_ends_of_time_are_quiet() -> None:
    cron = Cron("0 0 * * *", "Europe/Berlin")
    assert cron.next_after(9 * 10**15) is None  # what the last tick of a removed schedule is set to
    assert cron.newest(9 * 10**15, 10**12) is None
    assert cron.newest(-1, 9 * 10**15) is not None
    assert cron.next_after(-(10**12)) == cron.next_after(-1)


def test_dst_notes_name_what_moves() -> None:
    start, until = datetime(2026, 10, 1, tzinfo=UTC), datetime(2027, 4, 1, tzinfo=UTC)
    assert dst_note(Cron("30 2 * * *", "Europe/Berlin"), start, until) == [
        'Europe/Berlin 2026-10-25 02:30 happens twice; fold="once" runs it the first time only',
        'Europe/Berlin 2027-03-28 02:30 does not exist; gap="next" runs it at 03:00',
    ]
    assert dst_note(Cron("*/20 2 * * *", "Europe/Berlin", fold="twice", gap="skip"), start, until) == [
        'Europe/Berlin 2026-10-25 02:00 to 02:40 happen twice; fold="twice" runs it both times',
        'Europe/Berlin 2027-03-28 02:00 to 02:40 do not exist; gap="skip" leaves it out',
    ]
    for quiet in (
        Cron("0 4 * * *", "Europe/Berlin"),
        Cron("*/5 * * * *", "Europe/Berlin"),
        Cron("0 2 * * *", "Asia/Tokyo"),
    ):
        assert dst_note(quiet, start, until) == []


def test_it_is_a_value() -> None:
    cron = Cron("0 4 * * *", ZoneInfo("Asia/Tokyo").key)
    assert pickle.loads(pickle.dumps(cron)) == cron
    assert {cron: 1}[Cron("0 4 * * *", timezone="Asia/Tokyo")] == 1
    assert str(cron) == "0 4 * * * Asia/Tokyo"
    assert cron.upcoming(datetime(2026, 1, 1, tzinfo=UTC), 1)[0].tzinfo == ZoneInfo("Asia/Tokyo")
