"""Every, At, Schedule and plan(): which ticks there are, and which of them are sent."""

from __future__ import annotations

import math
import pickle
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtask.cron import Cron
from streamtask.schedule import At, Every, Plan, Schedule, When, dst_note, plan
from streamtask.walltime import DAY_MS, from_ms, to_ms

MINUTE = 60_000
NOON = to_ms(datetime(2026, 11, 21, 12, tzinfo=UTC))
#: A time in the years of a living schedule, ms.
times = st.integers(NOON - 400 * DAY_MS, NOON + 400 * DAY_MS)
CRONS = [
    Cron("*/5 * * * *", "UTC"),
    Cron("30 2 * * *", "Europe/Berlin"),
    Cron("0 9 * * mon-fri", "America/New_York"),
    Cron("*/20 * * * * *", "Asia/Tokyo"),
    Cron("0 0 29 2 *", "UTC"),
]


@st.composite
def everys(draw: st.DrawFn) -> Every:
    anchor = draw(st.none() | times.map(from_ms))
    period = draw(st.integers(50, 5000) | st.integers(50, 3 * DAY_MS))
    return Every(seconds=period / 1000, anchor=anchor)


whens: st.SearchStrategy[When] = st.one_of(everys(), st.sampled_from(CRONS), times.map(from_ms).map(At))


@st.composite
def schedules(draw: st.DrawFn, missed: str | None = None) -> Schedule:
    spans = st.none() | st.floats(0.001, 10) | st.floats(1, 10 * 86_400)
    return a_schedule(
        draw(whens),
        missed=missed or draw(st.sampled_from(["skip", "once", "all"])),
        max_catch_up=draw(st.integers(1, 7)),
        max_age=draw(spans),
        grace=draw(spans),
    )


def a_schedule(when: When, **options: Any) -> Schedule:
    return Schedule(name="s", when=when, task="t", queue="default", **options)


def absence(schedule: Schedule) -> st.SearchStrategy[int]:
    """How long (ms) nobody looked: some ticks' worth, so that lists of all ticks stay short."""
    ticks = schedule.when.ticks(NOON, NOON + 4000 * DAY_MS, 2)
    return st.integers(0, 40 * (ticks[1] - ticks[0] if len(ticks) == 2 else DAY_MS))


class TestEvery:
    @given(everys(), times, st.integers(0, 10**9), st.integers(0, 10**9))
    def test_ticks_do_not_depend_on_the_start_point(self, every: Every, a: int, x: int, y: int) -> None:
        b, c = a + x % (every.period * 20), a + (x + y) % (every.period * 40)
        b, c = min(b, c), max(b, c)
        ticks = every.ticks(a, c, 10**6)
        assert ticks == every.ticks(a, b, 10**6) + every.ticks(b, c, 10**6)
        assert all(later - earlier == every.period for earlier, later in pairwise(ticks))
        assert every.newest(a, c) == (ticks[-1] if ticks else None)
        assert every.next_after(a) == every.ticks(a, a + every.period, 1)[0]

    def test_it_is_aligned_to_the_epoch_or_the_anchor(self) -> None:
        start = datetime(2026, 11, 21, 12, 3, 30, tzinfo=UTC)
        assert Every(minutes=5).upcoming(start, 2) == [start.replace(minute=m, second=0) for m in (5, 10)]
        assert Every(weeks=1).upcoming(start, 1)[0].strftime("%A %H:%M") == "Thursday 00:00"
        monday = datetime(2027, 1, 4, 9, tzinfo=ZoneInfo("Asia/Tokyo"))  # later than the ticks: it only aligns
        assert Every(weeks=1, anchor=monday).upcoming(start, 1) == [datetime(2026, 11, 23, tzinfo=UTC)]

    def test_the_parts_add_up_and_equal_ones_are_equal(self) -> None:
        assert Every(days=1, hours=2, minutes=3, seconds=4.5).period == 93_784_500
        assert Every(minutes=90) == Every(hours=1.5)
        assert len({Every(weeks=1), Every(days=7)}) == 1
        assert eval(repr(Every(minutes=7)), {"Every": Every}) == Every(minutes=7)
        assert pickle.loads(pickle.dumps(Every(minutes=7))) == Every(minutes=7)

    @pytest.mark.parametrize(
        ("every", "text"),
        [
            (Every(minutes=5), "every 5 min"),
            (Every(seconds=90), "every 90 s"),
            (Every(seconds=0.05), "every 0.05 s"),
            (Every(hours=36), "every 36 h"),
            (Every(weeks=2), "every 14 d"),
            (Every(hours=1, anchor=datetime(2026, 1, 1, 0, 15, tzinfo=UTC)), "every 1 h + 15 min"),
        ],
    )
    def test_it_says_what_it_is(self, every: Every, text: str) -> None:
        assert str(every) == text

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({}, r"Every\(\) needs a time"),
            ({"minutes": 0}, "needs a time"),
            ({"seconds": 0.049}, r"seconds=0.049\) is too short: at least 0.05"),
            ({"minutes": -5}, "minutes=-5"),
            ({"hours": 1, "minutes": -5}, "minutes=-5"),
            ({"seconds": math.nan}, "seconds=nan"),
            ({"days": math.inf}, "days=inf"),
            ({"minutes": "5"}, "minutes='5'"),
            ({"minutes": True}, "minutes=True"),
            ({"weeks": 1e6}, "too long"),
            ({"hours": 1, "anchor": datetime(2026, 1, 1)}, "no time zone.*tzinfo"),  # noqa: DTZ001
        ],
    )
    def test_a_bad_value_is_named(self, arguments: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            Every(**arguments)


class TestAt:
    def test_it_ticks_once(self) -> None:
        at = At(datetime(2027, 1, 1, 9, tzinfo=timezone(timedelta(hours=9))))
        moment = to_ms(datetime(2027, 1, 1, tzinfo=UTC))
        assert str(at) == "once at 2027-01-01T00:00:00Z"
        assert at.next_after(moment - 1) == moment
        assert at.next_after(moment) is None
        assert at.ticks(0, moment, 5) == [moment]
        assert (at.newest(0, moment), at.newest(0, moment - 1), at.newest(moment, moment + 1)) == (moment, None, None)
        assert at == At(datetime(2027, 1, 1, tzinfo=UTC))
        assert dst_note(at, from_ms(0), from_ms(NOON)) == []

    def test_a_naive_datetime_is_refused_with_the_fix(self) -> None:
        with pytest.raises(ValueError, match=r"2027-01-01T00:00:00 has no time zone.*Asia/Tokyo"):
            At(datetime(2027, 1, 1))  # noqa: DTZ001
        with pytest.raises(TypeError, match="must be a datetime"):
            At("2027-01-01")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"start .* has no time zone"):
            Every(minutes=1).upcoming(datetime(2027, 1, 1), 1)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"missed": "never"}, r'schedule "s": missed=.never.; give "skip", "once" or "all"'),
        ({"overlap": "no"}, "overlap="),
        ({"max_catch_up": 0}, "max_catch_up=0"),
        ({"max_catch_up": 1.5}, r"max_catch_up=1\.5"),
        ({"max_age": 0}, "max_age=0"),
        ({"grace": -1.0}, "grace=-1"),
        ({"grace": math.nan}, "grace=nan"),
    ],
)
def test_a_schedule_checks_its_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        a_schedule(Every(minutes=5), **options)


def test_a_schedule_needs_a_when() -> None:
    with pytest.raises(TypeError, match=r"'5m' says no time; give Every\(minutes=5\)"):
        a_schedule("5m")  # type: ignore[arg-type]


class TestPlan:
    @settings(max_examples=300)
    @given(schedules(), times, st.data())
    def test_what_fires_is_due_rises_and_comes_from_the_ticks(self, schedule: Schedule, last: int, data: Any) -> None:
        now = last + data.draw(absence(schedule))
        found = plan(schedule, last, now)
        ticks = schedule.when.ticks(last, now, 10**6)
        assert plan(schedule, last, now) == found  # two beats that look at one moment agree
        if found is None:
            assert not ticks
            return
        assert last < found.last <= now
        assert set(found.fire) <= set(ticks)
        assert all(earlier < later for earlier, later in pairwise(found.fire))
        assert not found.fire or found.fire[-1] == found.last
        assert all(schedule.max_age is None or now - tick <= round(schedule.max_age * 1000) for tick in found.fire)

    @settings(max_examples=200)
    @given(schedules(missed="all"), times, st.data())
    def test_all_sends_each_tick_once_and_ends(self, schedule: Schedule, last: int, data: Any) -> None:
        now = last + data.draw(absence(schedule))
        oldest = -math.inf if schedule.max_age is None else now - round(schedule.max_age * 1000)
        due = [tick for tick in schedule.when.ticks(last, now, 10**6) if tick >= oldest]
        sent: list[int] = []
        for _ in range(len(due) + 2):
            found = plan(schedule, last, now)
            if found is None:
                break
            assert len(found.fire) <= schedule.max_catch_up
            sent += found.fire
            last = found.last
        assert found is None
        assert sent == due

    @settings(max_examples=200)
    @given(schedules(), times, st.data())
    def test_two_beats_with_one_last_send_no_tick_twice(self, schedule: Schedule, last: int, data: Any) -> None:
        """Redis takes a plan only from the beat whose `last` is the stored one; the other works from the reply."""
        now, stored, sent = last, last, list[int]()
        memory = [last, last]
        for beat in data.draw(st.lists(st.integers(0, 1), max_size=12)):
            now += data.draw(absence(schedule)) // 8
            found = plan(schedule, memory[beat], now)
            if found is not None and memory[beat] == stored:
                sent += found.fire
                stored = found.last
            memory[beat] = stored
        assert sent == sorted(set(sent))

    def test_once_sends_the_newest(self) -> None:
        schedule = a_schedule(Every(minutes=5), missed="once")
        assert plan(schedule, NOON, NOON + 4 * MINUTE) is None
        assert plan(schedule, NOON, NOON + 5 * MINUTE) == Plan((NOON + 5 * MINUTE,), NOON + 5 * MINUTE)
        assert plan(schedule, NOON, NOON + 59 * MINUTE) == Plan((NOON + 55 * MINUTE,), NOON + 55 * MINUTE)

    def test_all_sends_the_oldest_first_and_some_at_a_time(self) -> None:
        schedule = a_schedule(Every(minutes=5), missed="all", max_catch_up=2)
        first = plan(schedule, NOON, NOON + 16 * MINUTE)
        assert first == Plan((NOON + 5 * MINUTE, NOON + 10 * MINUTE), NOON + 10 * MINUTE)
        assert plan(schedule, first.last, NOON + 16 * MINUTE) == Plan((NOON + 15 * MINUTE,), NOON + 15 * MINUTE)

    def test_all_sends_a_hundred_a_call_unless_told_otherwise(self) -> None:
        schedule = a_schedule(Every(minutes=1), missed="all")
        last, calls = NOON, list[int]()
        while (found := plan(schedule, last, NOON + 250 * MINUTE)) is not None:
            calls.append(len(found.fire))
            last = found.last
        assert (calls, last) == ([100, 100, 50], NOON + 250 * MINUTE)

    @pytest.mark.parametrize(
        ("when", "grace", "late", "sent"),
        [
            (Every(minutes=10), None, 59.9, True),  # the default: 60 s ...
            (Every(minutes=10), None, 60, False),
            (Every(seconds=10), None, 4.9, True),  # ... or half the distance to the next tick
            (Every(seconds=10), None, 5, False),
            (Every(minutes=10), 300, 299, True),
            (Every(minutes=10), 300, 301, False),
            (Cron("0 12 * * *", "UTC"), None, 59, True),
            (At(datetime(2026, 11, 21, 12, tzinfo=UTC)), None, 59, True),
            (At(datetime(2026, 11, 21, 12, tzinfo=UTC)), None, 61, False),
        ],
    )
    def test_skip_sends_only_what_is_in_time(self, when: When, grace: float | None, late: float, *, sent: bool) -> None:
        schedule = a_schedule(when, missed="skip", grace=grace)
        assert plan(schedule, NOON - 1, NOON + round(late * 1000)) == Plan((NOON,) if sent else (), NOON)

    def test_skip_passes_over_a_long_absence(self) -> None:
        schedule = a_schedule(Every(minutes=5), missed="skip")
        assert plan(schedule, NOON, NOON + 58 * MINUTE) == Plan((), NOON + 55 * MINUTE)
        assert plan(schedule, NOON + 55 * MINUTE, NOON + 58 * MINUTE) is None

    @pytest.mark.parametrize("missed", ["once", "all", "skip"])
    def test_what_is_too_old_is_never_sent(self, missed: str) -> None:
        schedule = a_schedule(Every(hours=1), missed=missed, max_age=60, grace=3600)
        assert plan(schedule, NOON, NOON + 179 * MINUTE) == Plan((), NOON + 120 * MINUTE)
        assert plan(schedule, NOON, NOON + 121 * MINUTE) == Plan((NOON + 120 * MINUTE,), NOON + 120 * MINUTE)

    def test_nothing_is_due_when_disabled_removed_or_in_the_past(self) -> None:
        assert plan(a_schedule(Every(minutes=5), enabled=False), NOON, NOON + DAY_MS) is None
        for when in (Every(minutes=5), *CRONS, At(from_ms(NOON))):
            for missed in ("once", "all", "skip"):
                assert plan(a_schedule(when, missed=missed), 9 * 10**15, NOON) is None
                assert plan(a_schedule(when, missed=missed), NOON, NOON - DAY_MS) is None
