"""Crons by chance, and a plain oracle of their ticks: it asks each minute what the clock on the wall shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from streamtask.cron import Cron
from streamtask.walltime import DAY_MS, from_ms, shifts, to_ms

MINUTE = 60_000
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Tokyo", "UTC", "Africa/Casablanca"]
START, END = to_ms(datetime(2024, 1, 1, tzinfo=UTC)), to_ms(datetime(2032, 1, 1, tzinfo=UTC))
CHANGES = {zone: [shift.at for shift in shifts(ZoneInfo(zone), START, END)] for zone in ZONES}


@dataclass(frozen=True)
class Case:
    """A cron and, from the same draw, the sets that its fields mean."""

    cron: Cron
    minutes: frozenset[int] = field(repr=False)
    hours: frozenset[int] = field(repr=False)
    days: frozenset[int] = field(repr=False)
    weekdays: frozenset[int] = field(repr=False)

    def matches(self, wall: datetime) -> bool:
        return (
            wall.minute in self.minutes
            and wall.hour in self.hours
            and wall.day in self.days
            and wall.isoweekday() % 7 in self.weekdays
        )


def fields(low: int, high: int, mostly: int | None = None) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    """The text of a cron field and the set of its values; what is named is at most `mostly`."""
    everything = frozenset(range(low, high + 1))
    number = st.integers(low, mostly or high)
    lists = st.frozensets(number, min_size=1, max_size=4)
    spans = st.tuples(number, number).filter(lambda ends: ends[0] < ends[1])
    return st.one_of(
        st.just(("*", everything)),
        st.integers(1, high).map(lambda n: (f"*/{n}", frozenset(range(low, high + 1, n)))),
        lists.map(lambda values: (",".join(map(str, values)), values)),
        spans.map(lambda ends: (f"{ends[0]}-{ends[1]}", frozenset(range(ends[0], ends[1] + 1)))),
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    minute, minutes = draw(fields(0, 59))
    # the hours of most clock changes come up more often than the rest
    hour, hours = draw(st.one_of(fields(0, 23), fields(0, 23, mostly=3), st.just(("2", frozenset({2})))))
    day, days, weekday, weekdays = "*", frozenset(range(1, 32)), "*", frozenset(range(7))
    restricted = draw(st.sampled_from(["neither", "neither", "day", "weekday"]))  # not both: those warn
    if restricted == "day":
        day, days = draw(fields(1, 31))
    elif restricted == "weekday":
        weekday, weekdays = draw(fields(0, 6))
    cron = Cron(
        f"{minute} {hour} {day} * {weekday}",
        draw(st.sampled_from(ZONES)),
        fold=draw(st.sampled_from(["once", "twice"])),
        gap=draw(st.sampled_from(["next", "skip"])),
    )
    return Case(cron, minutes, hours, days, weekdays)


@st.composite
def spans(draw: st.DrawFn, zone: str) -> tuple[int, int]:
    """Some hours to some days (ms), mostly around a clock change; often they begin or end right at it."""
    middles = st.integers(START, END - 10 * DAY_MS)
    middle = draw(st.one_of(st.sampled_from(CHANGES[zone]), middles) if CHANGES[zone] else middles)
    distance = st.one_of(st.sampled_from([0, 1, 1000, MINUTE]), st.integers(0, DAY_MS // 8), st.integers(0, 2 * DAY_MS))
    return middle - draw(distance), middle + draw(distance)


def oracle(case: Case, after: int, until: int) -> list[int]:
    """The ticks (ms) in (after, until], by asking each minute what the clocks on the wall show."""
    cron, zone = case.cron, case.cron.zone
    hour = cron.expression.split()[1]
    all_hours = len(case.hours) == 24
    wildcard = all_hours or (hour.startswith("*/") and "," not in hour)
    found = []
    for t in range(after // MINUTE * MINUTE + MINUTE, until + 1, MINUTE):
        local, before = from_ms(t, zone), from_ms(t - MINUTE, zone)
        runs = case.matches(local) and (local.fold == 0 or wildcard or cron.fold == "twice")
        missing = before.replace(tzinfo=None) + timedelta(minutes=1)
        while missing < local.replace(tzinfo=None) and cron.gap == "next" and not all_hours:
            runs = runs or case.matches(missing)
            missing += timedelta(minutes=1)
        if runs:
            found.append(t)
    return found
