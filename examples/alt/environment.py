"""Values of environment variables, strictly read: what is set and cannot be used stops the start, and names itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

_YES, _NO = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


class SettingError(ValueError):
    """A variable of the environment has a value that cannot be used, or does not go with another one."""


def value(env: Mapping[str, str], names: str | tuple[str, ...], parse: Callable[[str], T], default: str) -> T:
    """The value of the first of these variables that is set; an empty one counts as not set. Raises SettingError.

    Two of them that say different things are an error: nobody could know which one was meant.
    """
    names = (names,) if isinstance(names, str) else names
    found = {name: env[name].strip() for name in names if env.get(name, "").strip()}
    if len(set(found.values())) > 1:
        told = " and ".join(f"{name}={text!r}" for name, text in found.items())
        raise SettingError(f"{told}: they mean the same setting; set one of them")
    name, text = next(iter(found.items()), (names[0], default))
    try:
        return parse(text)
    except ValueError as error:
        raise SettingError(f"{name}: {error}") from None


def switch(text: str) -> bool:
    """`true 1 yes on` or `false 0 no off`, in any case. A typing mistake is not "off"."""
    given = text.lower()
    if given in _YES | _NO:
        return given in _YES
    raise ValueError(f"{text!r} is no switch; write true or false (or 1, 0, yes, no, on, off)")


def number(least: int, most: int = 10_000_000) -> Callable[[str], int]:
    """A parser of whole numbers within these bounds."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?\d{1,12}", text) or not least <= int(text) <= most:
            raise ValueError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return parse


def seconds(text: str) -> float:
    """`60` (seconds), `60s`, `1m30s`, `250ms`, as Go writes durations."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text if re.search(r"[a-z]$", text) else f"{text}s")
    if not parts or "".join(amount + unit for amount, unit in parts) != (text if text[-1:].isalpha() else f"{text}s"):
        raise ValueError(f"{text!r} is no duration; write seconds or a unit: 30, 60s, 1m30s, 250ms")
    return sum(float(amount) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit] for amount, unit in parts)


def name(text: str) -> str:
    """The name of a group or a consumer."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise ValueError(f"{text!r} is no name; use up to 64 letters, digits, dots, dashes and underscores")
    return text


def address(*schemes: str) -> Callable[[str], str]:
    """A parser of URLs with one of these schemes."""

    def parse(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in schemes:
            shown = f"{parts.scheme}://..." if parts.scheme and "://" in text else repr(text)  # it may hold a password
            raise ValueError(f"{shown} is no address; it must begin with {' or '.join(f'{s}://' for s in schemes)}")
        return text.rstrip("/")

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    """A parser of one of these words."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"{text!r} is unknown; write one of {', '.join(words)}")
        return text.lower()

    return parse
