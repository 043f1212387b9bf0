"""Schedules: what is sent when, and `plan()`, which decides at each look of a beat what is due.

Pure: no clock and no Redis. Times inside are ints, milliseconds of Redis `TIME`; options are seconds, as everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict, get_args

from streamtask.moments import require_aware, to_ms
from streamtask.when import At, Every, When

__all__ = ["At", "Every", "Missed", "Overlap", "Plan", "Schedule", "ScheduleOptionsDict", "When", "dst_note", "plan"]

Missed = Literal["skip", "once", "all"]
Overlap = Literal["allow", "skip"]

_GRACE = 60_000  # ms; what "skip" still calls in time, for schedules slower than every two minutes


@dataclass(frozen=True, slots=True)
class Schedule:
    """A task that is sent at each tick of `when`.

    `missed` says what becomes of ticks for which no beat was there: "once" sends the newest, "all" sends each, oldest
    first and at most `max_catch_up` a look, "skip" sends the newest only if it is younger than `grace` seconds (None:
    half the distance to the next tick, at most 60). Ticks older than `max_age` seconds are never sent (None: no limit).
    `overlap="skip"` leaves a tick out while the message of the one before is unfinished; that is the sender's to ask.
    """

    name: str
    when: When
    task: str
    queue: str
    args: Mapping[str, Any] = field(default_factory=dict)
    missed: Missed = "once"
    max_catch_up: int = 100
    max_age: float | None = None  # seconds
    grace: float | None = None  # seconds
    overlap: Overlap = "allow"
    enabled: bool = True

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a schedule needs a name")
        where = f'schedule "{self.name}"'
        if not isinstance(self.when, When):
            raise TypeError(f"{where}: {self.when!r} says no time; give Every(minutes=5), Cron(...) or At(...)")
        if self.missed not in get_args(Missed):
            raise ValueError(f'{where}: missed={self.missed!r}; give "skip", "once" or "all"')
        if self.overlap not in get_args(Overlap):
            raise ValueError(f'{where}: overlap={self.overlap!r}; give "allow" or "skip"')
        if not _is_count(self.max_catch_up):
            raise ValueError(f"{where}: max_catch_up={self.max_catch_up!r}; give a whole number from 1 up")
        for option in ("max_age", "grace"):
            value = getattr(self, option)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{where}: {option}={value!r}; give seconds, more than 0, or None")


class ScheduleOptionsDict(TypedDict, total=False):
    """The keywords of `@app.schedule(...)`, for type checkers."""

    name: str
    missed: Missed
    max_catch_up: int
    max_age: float | timedelta | None
    grace: float | timedelta | None
    overlap: Overlap
    enabled: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What one look decided: the ticks to send (oldest first, maybe none) and the one to remember as the last; ms."""

    fire: tuple[int, ...]
    last: int


def plan(schedule: Schedule, last: int, now: int) -> Plan | None:
    """What is due at `now` (ms) when `last` (ms) is the last tick that was dealt with; None when nothing is.

    `last` is a tick, or the time at which the schedule was first seen: what lies before that is never made up for. The
    plan's own `last` is never after `now`. It also passes over ticks that the policy drops: they are looked at once.
    """
    if not schedule.enabled:
        return None
    if schedule.missed == "all":
        return _plan_all(schedule, last, now)
    newest = schedule.when.newest(last, now)
    if newest is None:
        return None
    return Plan((newest,) if _is_wanted(schedule, newest, now) else (), newest)


def _plan_all(schedule: Schedule, last: int, now: int) -> Plan | None:
    """Each tick that is not too old, as far as one call goes; the next call goes on from there."""
    oldest = last if schedule.max_age is None else max(last, now - _ms(schedule.max_age) - 1)
    ticks = schedule.when.ticks(oldest, now, schedule.max_catch_up)
    if ticks:
        return Plan(tuple(ticks), ticks[-1])
    too_old = schedule.when.newest(last, now)
    return None if too_old is None else Plan((), too_old)


def _is_wanted(schedule: Schedule, tick: int, now: int) -> bool:
    age = now - tick
    if schedule.max_age is not None and age > _ms(schedule.max_age):
        return False
    return schedule.missed != "skip" or age < _grace(schedule, tick)


def _grace(schedule: Schedule, tick: int) -> float:
    """How old (ms) a tick may be and still be in time."""
    if schedule.grace is not None:
        return _ms(schedule.grace)
    following = schedule.when.next_after(tick)
    return _GRACE if following is None else min(_GRACE, (following - tick) / 2)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def dst_note(when: When, start: datetime, until: datetime) -> list[str]:
    """A line for each clock change in (start, until] (aware) that moves, drops or repeats a tick; for previews.

    For example `Europe/Berlin 2027-03-28 02:30 does not exist; gap="next" runs it at 03:00`. A Cron whose hour field is
    `*` ticks through a clock change, as `Every` does, and has no lines.
    """
    return when.dst_notes(to_ms(require_aware(start, "start")), to_ms(require_aware(until, "until")))
