"""What an option's value must be: each check gives the value back, in the form that is used, or raises ValueError.

Written by hand and not as pydantic models, because building those takes most of what `import streamtask` may cost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from streamtask.duration import seconds
from streamtask.size import in_bytes

#: Names of apps, queues and schedules: what is safe in a key, a shell and a URL.
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MESSAGE_ID = re.compile(r"[A-Za-z0-9._:@/-]{1,128}")

Check = Callable[[Any], Any]


def check_name(kind: str, name: object) -> str:
    """A name of an app, queue or schedule."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no {kind} name: use 1 to 64 of A-Z a-z 0-9 . _ -")
    return name


#: `<ns>:queues`, `<ns>:schedules` and `streamtask:namespaces` are keys of their own, and no queue's stream.
_RESERVED = ("queues", "schedules", "namespaces")


def queue(value: object) -> str:
    """A queue's name."""
    name = check_name("queue", value)
    if name in _RESERVED:
        raise ValueError(f"{name!r} is no queue name: a key of streamtask has it; choose another")
    return name


#: What a topic may be called: it is the key of a stream that others write too, so nearly anything printable.
_TOPIC = re.compile(r"[!-~]{1,256}")


def topic(value: object) -> str:
    """A topic's name, the key of its stream; braces only as one pair around a part of it."""
    if not isinstance(value, str) or not _TOPIC.fullmatch(value):
        raise ValueError(
            f"{value!r} is no topic: use 1 to 256 printable ASCII characters, no spaces, as in shop:orders"
        )
    braces = value.count("{"), value.count("}")
    if value[0] == "{" and value[-1] == "}":
        raise ValueError(
            f"{value!r} is no topic: {value[1:-1]!r} would have the same keys beside it; leave the braces out"
        )
    if braces != (0, 0) and (braces != (1, 1) or value.find("{") + 1 >= value.find("}")):
        raise ValueError(
            f"{value!r} is no topic: braces must be one pair around a part of it, as in shop:{{eu}}:orders"
        )
    return value


def group(value: object) -> str:
    """A consumer group's name; it is a durable identity."""
    name = check_name("group", value)
    if name in ("released", "lost", "published"):
        raise ValueError(f"{name!r} is no group name: a key of streamtask has it; choose another")
    return name


def label(kind: str, value: object) -> str:
    """An event's type or source: what every reader of the topic takes."""
    if not isinstance(value, str) or not 0 < len(value) <= 256 or not value.isprintable():
        raise ValueError(f"{value!r:.80} is no {kind} of an event: use 1 to 256 printable characters")
    return value


def message_id(value: object) -> str:
    """A message id chosen by the caller."""
    if not isinstance(value, str) or not _MESSAGE_ID.fullmatch(value):
        raise ValueError(f"{value!r} is no message id: use 1 to 128 of A-Z a-z 0-9 . _ : @ / -")
    return value


def text(value: object) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def flag(value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither True nor False")
    return value


def count(least: int) -> Check:
    """A whole number, `least` or more."""

    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{value!r} is no whole number from {least} up")
        return value

    return check


def aware(value: object) -> datetime:
    """A datetime with a time zone."""
    if not isinstance(value, datetime):
        raise ValueError(f"{value!r} is no datetime")
    if value.utcoffset() is None:
        raise ValueError(f"{value.isoformat()} has no time zone; write datetime.now(UTC) or .replace(tzinfo=UTC)")
    return value


def headers(value: object) -> dict[str, str]:
    """Names and values, all text."""
    if not isinstance(value, Mapping) or not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise ValueError(f"{value!r:.80} are no headers: give a dict of text to text")
    return dict(value)


def optional(check: Check) -> Check:
    """None, or what the check takes."""
    return lambda value: None if value is None else check(value)


def duration(value: object) -> float:
    """Seconds, of a number, timedelta or text."""
    return seconds(value)


def size(value: object) -> int:
    """Bytes, of a whole number or text with a unit."""
    return in_bytes(value)


def checked(what: str, options: Mapping[str, object], checks: Mapping[str, Check]) -> dict[str, Any]:
    """All options checked; TypeError for one that is unknown, ValueError that names the one whose value is wrong."""
    found = {}
    for name, value in options.items():
        if name not in checks:
            near = get_close_matches(name, checks, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(checks)}"
            raise TypeError(f"{what} has no option {name!r}; {hint}")
        try:
            found[name] = checks[name](value)
        except ValueError as error:
            raise ValueError(f"{what}, {name}: {error}") from None
    return found
