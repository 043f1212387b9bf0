"""Sizes: bytes everywhere, written as a whole number, or as text with its unit such as `512MiB`, `1.5GiB`, `500MB`."""

from __future__ import annotations

import re

MIB = 2**20
_PER = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": MIB, "GIB": 2**30}
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?) ?([KMG]i?B|B)\s*", re.IGNORECASE)


def in_bytes(value: object) -> int:
    """The size in bytes. Text needs its unit: others take a bare number for KiB. Raises ValueError that names the
    value.
    """
    number = 0
    if isinstance(value, str):
        found = _TEXT.fullmatch(value)
        number = round(float(found[1]) * _PER[found[2].upper()]) if found else 0
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    if number < 1:
        raise ValueError(f"{value!r} is no size; write a number and its unit: 512MiB, 1.5GiB, 500MB")
    return number


def show(number: float) -> str:
    """Bytes for people, so fine that what is above a limit is not shown as the limit: `512 MiB`, `1536.3 MiB`."""
    return f"{round(number / MIB, 1):.12g} MiB"
