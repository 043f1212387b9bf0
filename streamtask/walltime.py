"""Wall clocks: which instant a local time is, and where a zone's clock jumps.

An instant is an int, in milliseconds since 1970 UTC. A wall time is a naive datetime, what a clock on the wall shows.
Most wall times are one instant; around a clock change some are none (a gap) and some are two (a fold).
"""

from __future__ import annotations

import difflib
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from streamtask.moments import from_ms, to_ms

DAY_MS = 86_400_000


def load_zone(name: str) -> zoneinfo.ZoneInfo:
    """The zone of that IANA name; an unknown name is a ValueError with the nearest names that exist."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # OSError: "Europe" is a folder of the zone data
        known = {zone.lower(): zone for zone in zoneinfo.available_timezones()}
        if not known:
            raise ValueError(
                f'time zone "{name}": this machine has no zone data; install the system package or `pip install tzdata`'
            ) from error
        near = [known[zone] for zone in difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.6)]
        hint = f"did you mean {' or '.join(near)}?" if near else 'use an IANA name such as "Asia/Tokyo" or "UTC"'
        raise ValueError(f'unknown time zone "{name}": {hint}') from error


@dataclass(frozen=True, slots=True)
class Shift:
    """One clock change: at the instant `at` (ms) the zone's offset goes from `before` to `after`."""

    at: int
    before: timedelta
    after: timedelta

    @property
    def is_gap(self) -> bool:
        """The clock goes forward, so wall times are missing; else it goes back and they happen twice."""
        return self.after > self.before

    @property
    def start(self) -> datetime:
        """The first wall time that is missing, or happens twice."""
        return from_ms(self.at).replace(tzinfo=None) + min(self.before, self.after)

    @property
    def end(self) -> datetime:
        """The first wall time after `start` that is an ordinary one again."""
        return from_ms(self.at).replace(tzinfo=None) + max(self.before, self.after)


def instant(wall: datetime, offset: timedelta) -> int:
    """The instant (ms) at which a clock with that UTC offset shows `wall`."""
    return to_ms(wall.replace(tzinfo=UTC) - offset)


def shift_over(wall: datetime, zone: tzinfo) -> Shift | None:
    """The clock change that makes this wall time missing or double; None for an ordinary one.

    PEP 495: fold=0 reads the clock as before the change, fold=1 as after it; where both agree there is no change.
    """
    before = _offset(wall.replace(tzinfo=zone, fold=0))
    after = _offset(wall.replace(tzinfo=zone, fold=1))
    if before == after:
        return None
    low, high = sorted((instant(wall, before), instant(wall, after)))
    return _find_shift(zone, low, high)  # the change lies after the earlier reading, not after the later one


def shifts(zone: tzinfo, after: int, until: int) -> Iterator[Shift]:
    """The clock changes in (after, until] (ms), oldest first. Looks once a day: no zone changes twice in one."""
    low = after
    while low < until:
        high = min(low + DAY_MS, until)
        if _offset(from_ms(low, zone)) != _offset(from_ms(high, zone)):
            yield _find_shift(zone, low, high)
        low = high


def _find_shift(zone: tzinfo, low: int, high: int) -> Shift:
    """Bisect for the change in (low, high], whose ends have different offsets."""
    before, after = _offset(from_ms(low, zone)), _offset(from_ms(high, zone))
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(from_ms(middle, zone)) == before:
            low = middle
        else:
            high = middle
    return Shift(high, before, after)


def _offset(moment: datetime) -> timedelta:
    offset = moment.utcoffset()
    assert offset is not None  # every datetime in this module carries a zone
    return offset
