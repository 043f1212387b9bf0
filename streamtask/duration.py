"""Durations: seconds everywhere, written as a number, a timedelta or text such as `250ms`, `15s`, `5m`, `2h`, `1d`."""

from __future__ import annotations

import math
import re
from datetime import timedelta

_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h|d)?\s*", re.IGNORECASE)
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: object) -> float:
    """The duration in seconds; a bare number is seconds. Raises ValueError that names the value."""
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, str):
        match = _TEXT.fullmatch(value)
        if not match:
            raise ValueError(f"{value!r} is no duration; write seconds or a unit: 250ms, 15s, 5m, 2h, 1d")
        number = float(match[1]) * _UNIT[(match[2] or "s").lower()]
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} is no duration; give seconds (a number) or a timedelta")
    else:
        number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{value!r} is no duration: it must be finite and not negative")
    return number


def show(value: float) -> str:
    """A duration for people: `0.412 s`, `15 s`, `5 min`, `2 h 4 min`, `3 d`."""
    if value < 60:
        return f"{value:.3f}".rstrip("0").rstrip(".") + " s"
    if round(value) < 3600:
        minutes, rest = divmod(round(value), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(value / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
