"""`Cron`: ticks by a cron expression on the wall clock of a time zone, through clock changes.

The expression gives wall times, the zone gives their instants. This module alone decides what happens where a wall time
is none (a gap) or two instants (a fold), so that the ticks do not depend on where one starts to count.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from streamtask.cron_expression import FIELDS, Expression, parse
from streamtask.moments import from_ms, to_ms
from streamtask.walltime import Shift, instant, load_zone, shift_over, shifts
from streamtask.when import When

_ONE_SECOND = timedelta(seconds=1)
_FIRST = -1  # ms; no schedule is older than 1970
_LAST = 7_952_342_400_000  # ms, the year 2222; a removed schedule's last tick lies far behind it

#: A field of `from_crontab`: a number, text as in cron, or several numbers.
CrontabField = int | str | Iterable[int]


@dataclass(frozen=True, slots=True)
class Cron(When):
    """Ticks at the wall times of a cron expression, for example `Cron("0 4 * * *", timezone="Asia/Tokyo")`.

    `expression` has 5 fields (minute, hour, day of month, month, day of week) or 6 (second **last**), or is a word:
    `@hourly @daily @midnight @weekly @monthly @yearly @annually`. Days 0 and 7 are Sunday. Where both day fields are
    restricted it fires when either matches, which is cron's rule and warned about. `timezone` is an IANA name; without
    one the app's `timezone` is taken, and until then there are no ticks.

    Where the clock goes back, wall times happen twice: an expression that names an hour runs the first time
    (`fold="once"`) or both times ("twice"); one with a wildcard hour (`*`, `*/n`) always runs both times. Where the
    clock goes forward, a missing wall time runs at the first instant after the gap (`gap="next"`) or not at all
    ("skip"); with the hour `*` it never runs, since the hour after it does.
    """

    expression: str
    timezone: str | None = None
    _: KW_ONLY
    fold: Literal["once", "twice"] = "once"
    gap: Literal["next", "skip"] = "next"

    def __post_init__(self) -> None:
        if not isinstance(self.expression, str):
            raise TypeError(f'Cron: the expression must be text such as "0 4 * * *", not {self.expression!r}')
        object.__setattr__(self, "expression", " ".join(self.expression.split()))
        object.__setattr__(self, "timezone", _zone_name(self.timezone))
        expression = parse(self.expression)
        if self.fold not in ("once", "twice"):
            raise ValueError(f'Cron("{self.expression}"): fold={self.fold!r}; give "once" or "twice"')
        if self.gap not in ("next", "skip"):
            raise ValueError(f'Cron("{self.expression}"): gap={self.gap!r}; give "next" or "skip"')
        if expression.either_day:
            warnings.warn(
                f'Cron("{self.expression}") fires when the day of month or the day of week matches, as cron does, '
                f"not only when both do",
                UserWarning,
                stacklevel=3,  # the user's line, past the dataclass's __init__
            )

    @classmethod
    def from_crontab(
        cls,
        minute: CrontabField = "*",
        hour: CrontabField = "*",
        day_of_week: CrontabField = "*",
        day_of_month: CrontabField = "*",
        month_of_year: CrontabField = "*",
        *,
        timezone: str | None = None,
    ) -> Cron:
        """The Cron of a Celery `crontab(...)`: the same names, order and defaults; numbers, text or several numbers.

        A Celery crontab with both days fires only when both match. Cron cannot say that, so it is a ValueError.
        """
        values = (minute, hour, day_of_month, month_of_year, day_of_week)
        fields = [_crontab_field(*item) for item in zip(FIELDS, values, strict=False)]
        text = " ".join(fields)
        if parse(text).either_day:
            raise ValueError(
                f'from_crontab(day_of_month="{fields[2]}", day_of_week="{fields[4]}"): Celery fires when both match, '
                f"cron when either does. Name one of them, and test the other at the start of the task"
            )
        return cls(text, timezone)

    def with_timezone(self, timezone: str) -> Cron:
        """The same Cron in that zone (an IANA name)."""
        other = copy.copy(self)  # no second look at the expression, and no second warning
        object.__setattr__(other, "timezone", _zone_name(timezone))
        return other

    @property
    def names_hour(self) -> bool:
        """The hour field is neither `*` nor `*/n`, so a zone is needed."""
        return parse(self.expression).names_hour

    @property
    def zone(self) -> ZoneInfo:
        """The time zone; ValueError while there is none."""
        if self.timezone is None:
            raise ValueError(
                f'Cron("{self.expression}") has no time zone: give timezone="Asia/Tokyo", or set the app\'s `timezone`'
            )
        return ZoneInfo(self.timezone)

    def next_after(self, t: int) -> int | None:
        """The first tick (ms) strictly after `t` (ms); None past the year 2222."""
        zone, walls, t = self.zone, parse(self.expression), max(t, _FIRST)
        if t >= _LAST:
            return None
        local = from_ms(t, zone).replace(tzinfo=None)
        wall = walls.first_after(local)
        shift = shift_over(local, zone)
        if shift and t < shift.at and self._runs_twice(walls) and (wall is None or wall >= shift.end):
            again = walls.first_from(shift.start)  # no match is left in the fold's first pass: look into its second
            if again is not None and again < shift.end:
                return instant(again, shift.after)
        while wall is not None:
            shift = shift_over(wall, zone)
            later = [tick for tick in self._instants(wall, shift, zone, walls) if tick > t]
            if later or shift is None:
                return later[0]
            wall = walls.first_from(shift.end)  # a gap to skip, or the second pass of a fold that counts once
        return None

    def newest(self, after: int, until: int) -> int | None:
        """The newest tick (ms) in (after, until] (ms), or None."""
        zone, walls, until = self.zone, parse(self.expression), min(until, _LAST)
        if until <= max(after, _FIRST):
            return None
        local = from_ms(until, zone).replace(tzinfo=None)
        bounds = [local]
        shift = shift_over(local, zone)
        if shift and until >= shift.at:  # in a fold's second pass: the first one went on to later wall times
            bounds.append(shift.end - _ONE_SECOND)
        found = [tick for bound in bounds if (tick := self._newest_from(bound, until, zone, walls)) is not None]
        newest = max(found, default=after)
        return newest if newest > after else None

    def _newest_from(self, bound: datetime, until: int, zone: ZoneInfo, walls: Expression) -> int | None:
        """The newest tick up to `until` (ms) whose wall time is at most `bound`."""
        wall = walls.last_until(bound)
        while wall is not None:
            shift = shift_over(wall, zone)
            due = [tick for tick in self._instants(wall, shift, zone, walls) if tick <= until]
            if due or shift is None:
                return due[-1]
            wall = walls.last_until(shift.start - _ONE_SECOND)  # a gap to skip
        return None

    def _instants(self, wall: datetime, shift: Shift | None, zone: ZoneInfo, walls: Expression) -> tuple[int, ...]:
        """The ticks (ms) of a wall time that matches, in order: mostly one; `shift` is the clock change over it."""
        if shift is None:
            return (to_ms(wall.replace(tzinfo=zone)),)
        if shift.is_gap:
            return (shift.at,) if self.gap == "next" and not walls.all_hours else ()
        first, second = instant(wall, shift.before), instant(wall, shift.after)
        return (first, second) if self._runs_twice(walls) else (first,)

    def _runs_twice(self, walls: Expression) -> bool:
        return self.fold == "twice" or not walls.names_hour

    def dst_notes(self, after: int, until: int) -> list[str]:
        """A line for each clock change in (after, until] (ms) that moves, drops or repeats a tick."""
        walls = parse(self.expression)
        return [note for shift in shifts(self.zone, after, until) if (note := self._note(shift, walls))]

    def _note(self, shift: Shift, walls: Expression) -> str:
        first, last = walls.first_from(shift.start), walls.last_until(shift.end - _ONE_SECOND)
        wildcard = walls.all_hours if shift.is_gap else not walls.names_hour
        if wildcard or first is None or last is None or first >= shift.end:
            return ""
        one = first == last
        what = f"{self.timezone} {_clock(first, date=True)}" + ("" if one else f" to {_clock(last)}")
        if not shift.is_gap:
            runs = "runs it the first time only" if self.fold == "once" else "runs it both times"
            return f'{what} {"happens" if one else "happen"} twice; fold="{self.fold}" {runs}'
        runs = f"runs it at {_clock(shift.end)}" if self.gap == "next" else "leaves it out"
        return f'{what} {"does" if one else "do"} not exist; gap="{self.gap}" {runs}'

    def __str__(self) -> str:
        return self.expression if self.timezone is None else f"{self.expression} {self.timezone}"


def _clock(wall: datetime, *, date: bool = False) -> str:
    return wall.strftime(("%Y-%m-%d " if date else "") + ("%H:%M:%S" if wall.second else "%H:%M"))


def _zone_name(timezone: object) -> str | None:
    """The checked name of a zone that was given as text or ZoneInfo."""
    if timezone is None:
        return None
    name = timezone.key if isinstance(timezone, ZoneInfo) else timezone
    if not isinstance(name, str):
        raise TypeError(f'Cron: timezone must be an IANA name such as "Asia/Tokyo", not {timezone!r}')
    return load_zone(name).key


def _crontab_field(name: str, value: CrontabField) -> str:
    if isinstance(value, str):
        return "".join(value.split())
    numbers = [value] if isinstance(value, int) else list(value)
    if not numbers or any(isinstance(number, bool) or not isinstance(number, int) for number in numbers):
        raise ValueError(f"from_crontab: {name} {value!r}; give a number, text as in cron, or several numbers")
    return ",".join(str(number) for number in sorted(numbers))
