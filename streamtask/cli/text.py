"""Text for people: tables, numbers, times and short ids; and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

import click

from streamtask.duration import show
from streamtask.task import Kind

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> list[str]:
    """Lines with columns; `right` has one letter a column, `r` for those that end at the right."""
    grid = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in grid) for i in range(len(header))]
    right = right.ljust(len(header))
    lines = []
    for row in grid:
        columns = zip(row, widths, right, strict=True)
        cells = [cell.rjust(width) if side == "r" else cell.ljust(width) for cell, width, side in columns]
        lines.append("  ".join(cells).rstrip())
    return lines


def count(number: int) -> str:
    """1204 as `1,204`."""
    return f"{number:,}"


def slot_counts(slots: Mapping[str, int] | Mapping[Kind, int]) -> str:
    """`100 coroutines, 10 threads, 2 children`."""
    return ", ".join(f"{number} {'children' if kind == 'child' else f'{kind}s'}" for kind, number in slots.items())


def plural(number: int, noun: str) -> str:
    """`1 message`, `1,204 messages`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(number: float) -> str:
    """Bytes as `412 MiB`."""
    power = 0
    while number >= 1024 and power < len(_UNITS) - 1:
        number, power = number / 1024, power + 1
    return f"{number:.0f} {_UNITS[power]}" if power == 0 or number >= 10 else f"{number:.1f} {_UNITS[power]}"


def span(seconds: float | None, none: str = "-") -> str:
    """A duration, short: `0.8 s`, `41.2 s`, `9 min 3 s`, `2 h 4 min`."""
    if seconds is None:
        return none
    return f"{seconds:.1f} s" if seconds < 60 else show(seconds)


def ago(moment: datetime | None, now: datetime, none: str = "-") -> str:
    """How long ago: `2 min ago`."""
    if moment is None:
        return none
    seconds = (now - moment).total_seconds()
    if seconds < 60:
        return f"{max(0.0, seconds):.0f} s ago"
    return f"{show(seconds // 60 * 60)} ago"


def clock(moment: datetime | None, none: str = "-") -> str:
    """A moment in UTC: `2026-11-21 12:00:00Z`."""
    return none if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}Z"


def short_task(task: str | None) -> str:
    """A task's own name, without its module."""
    return task.rpartition(".")[2] if task else "?"


def one_line(text: str, width: int = 100) -> str:
    """The first line, cut to a width."""
    first = text.strip().split("\n", 1)[0].strip()
    return first if len(first) <= width else first[: width - 1] + "…"


def indent(text: str, by: str = "  ") -> str:
    """Each line moved in."""
    return "\n".join(by + line for line in text.rstrip().splitlines())


def print_json(value: Mapping[str, Any]) -> None:
    """One object; times as RFC 3339, dataclasses as objects."""
    click.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):  # one that is no dict, such as metadata that nobody may change
        return dict(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)
