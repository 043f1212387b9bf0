"""When a schedule ticks: the base class, `Every` and `At`. `Cron` has its own file, because it loads croniter.

Ticks are a pure function of the object, never of where one starts to count, so any number of beats find the same ones.
Times inside are ints: milliseconds since 1970 UTC, as Redis `TIME` counts them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from streamtask.moments import from_ms, require_aware, to_ms

_UNITS = {"weeks": 604_800_000, "days": 86_400_000, "hours": 3_600_000, "minutes": 60_000, "seconds": 1000}
_SHORT = {"days": "d", "hours": "h", "minutes": "min", "seconds": "s"}
_SHORTEST = 50  # ms; a beat that ticks faster would do little else
_LONGEST = 100 * 366 * _UNITS["days"]  # ms; keeps every next tick inside what a datetime can hold


class When(ABC):
    """The points in time at which something is due."""

    __slots__ = ()

    @abstractmethod
    def next_after(self, t: int) -> int | None:
        """The first tick (ms) strictly after `t` (ms); None when there is none any more."""

    @abstractmethod
    def newest(self, after: int, until: int) -> int | None:
        """The newest tick (ms) in (after, until] (ms), or None. Its cost does not grow with the span."""

    def ticks(self, after: int, until: int, limit: int) -> list[int]:
        """The ticks (ms) in (after, until] (ms), oldest first, at most `limit` of them."""
        found: list[int] = []
        tick = self.next_after(after)
        while tick is not None and tick <= until and len(found) < limit:
            found.append(tick)
            tick = self.next_after(tick)
        return found

    def upcoming(self, start: datetime, n: int) -> list[datetime]:
        """The first `n` ticks after `start` (aware), as datetimes in the schedule's zone."""
        zone, found = self.zone, list[datetime]()
        tick = self.next_after(to_ms(require_aware(start, "start")))
        while tick is not None and len(found) < n:
            found.append(from_ms(tick, zone))
            tick = self.next_after(tick)
        return found

    def dst_notes(self, after: int, until: int) -> list[str]:
        """A line for each tick in (after, until] (ms) whose local time a clock change moves, drops or repeats."""
        return []

    @property
    def zone(self) -> tzinfo:
        """The zone in which people read these ticks."""
        return UTC


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Every(When):
    """Ticks at a fixed distance of real time, for example `Every(minutes=5)`.

    The parts add up; at least 0.05 seconds, rounded to whole milliseconds. Ticks are aligned to 1970-01-01 00:00 UTC,
    so that a restart does not shift them: `Every(hours=1)` ticks at each full hour, `Every(days=1)` at 00:00 UTC,
    `Every(weeks=1)` on Thursdays (1970 began on one). `anchor` (an aware datetime, past or future) aligns to another
    moment; it does not delay the first tick. A day is 24 hours here: for "at 9 o'clock, summer and winter" use `Cron`.
    """

    period: int  # ms
    phase: int  # ms, 0 <= phase < period: ticks are at phase + k * period

    def __init__(
        self,
        seconds: float = 0,
        minutes: float = 0,
        hours: float = 0,
        days: float = 0,
        weeks: float = 0,
        *,
        anchor: datetime | None = None,
    ) -> None:
        period = _period({"seconds": seconds, "minutes": minutes, "hours": hours, "days": days, "weeks": weeks})
        phase = 0 if anchor is None else to_ms(require_aware(anchor, "Every(anchor=...)")) % period
        object.__setattr__(self, "period", period)
        object.__setattr__(self, "phase", phase)

    def next_after(self, t: int) -> int:
        """The first tick (ms) strictly after `t` (ms)."""
        return self._at_or_before(t) + self.period

    def newest(self, after: int, until: int) -> int | None:
        """The newest tick (ms) in (after, until] (ms), or None."""
        tick = self._at_or_before(until)
        return tick if tick > after else None

    def _at_or_before(self, t: int) -> int:
        return t - (t - self.phase) % self.period

    def __str__(self) -> str:
        shift = f" + {_show(self.phase)}" if self.phase else ""
        return f"every {_show(self.period)}{shift}"

    def __repr__(self) -> str:
        unit, number = _largest_unit(self.period)
        anchor = f", anchor={from_ms(self.phase)!r}" if self.phase else ""
        return f"Every({unit}={number}{anchor})"


@dataclass(frozen=True, slots=True)
class At(When):
    """One tick, at an aware datetime (rounded down to a millisecond): `At(datetime(2027, 1, 1, tzinfo=UTC))`."""

    moment: datetime

    def __post_init__(self) -> None:
        instant = to_ms(require_aware(self.moment, "At"))
        object.__setattr__(self, "moment", from_ms(instant))  # in UTC, where no two moments look alike

    def next_after(self, t: int) -> int | None:
        """The tick (ms) if it is strictly after `t` (ms), else None."""
        tick = to_ms(self.moment)
        return tick if tick > t else None

    def newest(self, after: int, until: int) -> int | None:
        """The tick (ms) if it is in (after, until] (ms), else None."""
        tick = to_ms(self.moment)
        return tick if after < tick <= until else None

    def __str__(self) -> str:
        return f"once at {self.moment.replace(tzinfo=None).isoformat()}Z"


def _period(parts: Mapping[str, object]) -> int:
    """The sum of the parts in ms; ValueError with the part, or with the sum, that cannot be."""
    total = 0.0
    for unit, value in parts.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            raise ValueError(f"Every({unit}={value!r}): give a number of {unit}, not negative")
        total += value * _UNITS[unit]
    if not total:
        raise ValueError("Every() needs a time, for example Every(minutes=5)")
    given = ", ".join(f"{unit}={value!r}" for unit, value in parts.items() if value)
    if total < _SHORTEST:
        raise ValueError(f"Every({given}) is too short: at least 0.05 seconds")
    if total > _LONGEST:
        raise ValueError(f"Every({given}) is too long: at most 100 years")
    return round(total)


def _largest_unit(ms: int) -> tuple[str, int | float]:
    """The largest unit of which `ms` is a whole number; else seconds and their fraction."""
    for unit in _SHORT:
        if ms % _UNITS[unit] == 0:
            return unit, ms // _UNITS[unit]
    return "seconds", ms / 1000


def _show(ms: int) -> str:
    unit, number = _largest_unit(ms)
    return f"{number} {_SHORT[unit]}"
