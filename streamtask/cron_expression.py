"""Cron expressions: what may be written, checked field by field, and the matching wall times by croniter.

croniter is used for naive wall times only. There its next and its previous match agree for every expression that passes
`parse`; with zones its answers around a clock change depend on where one starts, so `Cron` does that part itself.
"""

from __future__ import annotations

import copy
import re
from datetime import datetime, timedelta
from functools import lru_cache

from croniter import CroniterBadDateError, CroniterError, croniter

FIELDS = ("minute", "hour", "day of month", "month", "day of week", "second")
WORDS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY, _SECOND = range(6)
_VALUES = (
    "0 to 59",
    "0 to 23",
    "1 to 31, L for the last day, 15W for the weekday nearest to the 15th",
    "1 to 12 or jan to dec",
    "0 to 7 (0 and 7 are Sunday) or sun to sat, mon#2 for the second Monday, L5 for the last Friday",
    "0 to 59",
)
_SIZES = (60, 24, 31, 12, 7, 60)
_RANDOM = re.compile(r"[hr]($|[(/])", re.IGNORECASE)
_RANGE = re.compile(r"(\w+)-(\w+)")
_EVERY_NTH = re.compile(r"\*/\d+")
_STEP = re.compile(r".*/(\d+)")
_SOME_DAY = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall time; where the search for a first match starts
_ONE_SECOND = timedelta(seconds=1)


class Expression:
    """A cron expression that was found good: which wall times (naive datetimes, whole seconds) it matches."""

    def __init__(self, fields: list[str], matcher: croniter[datetime]) -> None:
        self._fields = fields
        self._matcher = matcher

    @property
    def all_hours(self) -> bool:
        """Each hour of the day matches."""
        return self._matcher.expanded[_HOUR] == ["*"]

    @property
    def names_hour(self) -> bool:
        """The hour field is neither `*` nor `*/n`: the user thinks of a time of day."""
        return not self.all_hours and not _EVERY_NTH.fullmatch(self._fields[_HOUR])

    @property
    def either_day(self) -> bool:
        """Both day fields are restricted: cron then fires on either."""
        return self._matcher.expanded[_DAY] != ["*"] and self._matcher.expanded[_WEEKDAY] != ["*"]

    def first_from(self, wall: datetime) -> datetime | None:
        """The first match at or after `wall` (whole seconds)."""
        return self.first_after(wall - _ONE_SECOND)

    def first_after(self, wall: datetime) -> datetime | None:
        """The first match strictly after `wall`."""
        try:  # a copy, since croniter keeps its place in itself and this object is shared by threads
            return copy.copy(self._matcher).get_next(datetime, start_time=wall.replace(microsecond=0, fold=0))
        except (CroniterBadDateError, OverflowError):
            return None

    def last_until(self, wall: datetime) -> datetime | None:
        """The last match at or before `wall`."""
        try:
            start = wall.replace(microsecond=0, fold=0) + _ONE_SECOND
            return copy.copy(self._matcher).get_prev(datetime, start_time=start)
        except (CroniterBadDateError, OverflowError):
            return None


@lru_cache(maxsize=1024)
def parse(text: str) -> Expression:
    """The expression of `text` (fields parted by one blank); ValueError that names the expression and the field."""
    where = f'Cron("{text}")'
    if text.startswith("@"):
        _check_word(where, text)
    else:
        _check_fields(where, text.split(" "))
    try:
        matcher = croniter(text, _SOME_DAY, ret_type=datetime)
    except (CroniterError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error
    _check_days(where, matcher)
    expression = Expression(matcher.expressions, matcher)
    if expression.first_after(_SOME_DAY) is None:
        days, months = matcher.expressions[_DAY], matcher.expressions[_MONTH]
        raise ValueError(f'{where} never fires: no date matches day of month "{days}" and month "{months}"')
    return expression


def _check_word(where: str, word: str) -> None:
    if word.lower() in WORDS:
        return
    if word.lower().startswith("@every"):
        raise ValueError(f"{where}: for a fixed distance use Every, for example Every(minutes=5)")
    raise ValueError(f"{where}: unknown word; there are {' '.join(WORDS)}")


def _check_fields(where: str, fields: list[str]) -> None:
    if len(fields) not in (5, 6):
        raise ValueError(
            f"{where}: give 5 fields (minute hour day-of-month month day-of-week) or 6 (second last), not {len(fields)}"
        )
    for index, text in enumerate(fields):
        named = f'{where}: {FIELDS[index]} "{text}"'
        if _RANDOM.match(text):
            raise ValueError(f"{named}: hashed and random values (H, R) are not known here")
        for item in text.lower().split(","):
            _check_item(named, index, item)
        alone = ["*"] * 6
        alone[index] = text
        try:
            croniter.expand(" ".join(alone))
        except (CroniterError, ValueError) as error:
            raise ValueError(f"{named} is not valid; give {_VALUES[index]}; also *, */n, a-b, a-b/n, a,b") from error


def _check_item(named: str, index: int, item: str) -> None:
    """Refuse what croniter takes but reads as something that nobody means."""
    ends = _RANGE.match(item)
    if ends and ends[1].lstrip("0") == ends[2].lstrip("0"):  # croniter reads 3-3 as the whole field
        raise ValueError(f'{named}: a range needs two different ends; write "{ends[1]}"')
    step = _STEP.fullmatch(item)
    if step and int(step[1][:9]) > _SIZES[index]:  # */90 minutes would fire once an hour
        raise ValueError(
            f"{named}: a step of {step[1]} is more than the field has ({_SIZES[index]}); for longer distances use Every"
        )


def _check_days(where: str, matcher: croniter[datetime]) -> None:
    """Refuse mixtures of the day fields to which croniter gives no plain meaning, neither "and" nor "or"."""
    day, weekday = matcher.expressions[_DAY], matcher.expressions[_WEEKDAY]
    counted = bool(matcher.nth_weekday_of_month)
    if counted and not all("#" in item or item.startswith("l") for item in weekday.split(",")):
        raise ValueError(f'{where}: day of week "{weekday}" mixes plain days with # or L; make two schedules')
    if (counted or matcher.nearest_weekday) and matcher.expanded[_DAY] != ["*"] and matcher.expanded[_WEEKDAY] != ["*"]:
        raise ValueError(f'{where}: day of month "{day}" and day of week "{weekday}" cannot be combined; set one to *')
