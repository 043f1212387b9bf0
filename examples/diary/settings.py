"""What the environment says: one frozen object, every value checked, every error naming its variable."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

T = TypeVar("T")

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class SettingError(ValueError):
    """A variable of the environment has a value that cannot be used."""


def duration(text: str) -> timedelta:
    """`30` (seconds), `30s`, `5m`, `1h30m` or `250ms`; longer than zero. Raises ValueError."""
    given = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", given):
        given += "s"
    parts = _PART.findall(given)
    if not parts or "".join(number + unit for number, unit in parts) != given:
        raise ValueError(f"{text!r} is no duration; write seconds or a unit: 30, 30s, 5m, 1h30m, 250ms")
    try:
        value = timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))
    except OverflowError:
        raise ValueError(f"{text!r} is too long a duration") from None
    if value < timedelta(milliseconds=1):
        raise ValueError(f"{text!r} is too short: a duration here is at least 1ms")
    return value


def zone(name: str) -> ZoneInfo:
    """The time zone of this IANA name. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError; a folder's name is an OSError
        raise ValueError(f"{name!r} is no time zone; write an IANA name such as Asia/Tokyo or UTC") from None


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text.strip()):
        raise ValueError(f"{text!r} is no count; write a whole number from 0 to 999")
    return int(text)


def _delay(text: str) -> timedelta | None:
    return None if text.strip() == "0" else duration(text)


@dataclass(frozen=True, slots=True)
class DiarySettings:
    """The service's settings. The README's table explains each variable."""

    database: Path
    timezone: ZoneInfo
    daily_interval: timedelta
    monthly_interval: timedelta
    max_retries: int
    retry_base: timedelta
    simulated_delay: timedelta | None  # the demo's: makes a summary slow enough to be interrupted
    fail_item: str  # the demo's: `<user>/<2025-03-14>` or `<user>/<2025-03>` fails for ever

    @classmethod
    def read(cls, env: Mapping[str, str]) -> DiarySettings:
        """The settings of this environment; an empty value counts as not set. Raises SettingError."""
        return cls(
            database=_value(env, "DIARY_DATABASE", Path, "diary.sqlite3"),
            timezone=_value(env, "DIARY_TIMEZONE", zone, "Asia/Tokyo"),
            daily_interval=_value(env, "SCHEDULER_DAILY_INTERVAL", duration, "5m"),
            monthly_interval=_value(env, "SCHEDULER_MONTHLY_INTERVAL", duration, "5m"),
            max_retries=_value(env, "DIARY_MAX_RETRIES", _count, "5"),
            retry_base=_value(env, "DIARY_RETRY_BASE", duration, "2s"),
            simulated_delay=_value(env, "DIARY_SIMULATED_DELAY", _delay, "0"),
            fail_item=env.get("DIARY_FAIL_ITEM", ""),
        )


def _value(env: Mapping[str, str], name: str, parse: Callable[[str], T], default: str) -> T:
    """The variable's value (an empty one counts as not set), or SettingError that names the variable."""
    try:
        return parse(env.get(name) or default)
    except ValueError as error:
        raise SettingError(f"{name}: {error}") from None


@cache
def settings() -> DiarySettings:
    """The settings of this process's environment, read once."""
    return DiarySettings.read(os.environ)
