"""The global options, and the types of option values."""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import click
from click.core import ParameterSource

from streamtask.duration import seconds
from streamtask.size import in_bytes

Format = Literal["text", "json"]
LEVELS = ("debug", "info", "warning", "error")


@dataclass(slots=True)
class Globals:
    """The global options. None: not given."""

    app: str | None = None
    url: str | None = None
    namespace: str | None = None
    format: Format | None = None
    log_level: str | None = None
    log_format: Format | None = None
    no_color: bool | None = None
    typed: set[str] = field(default_factory=set)  # the names of those that stand on the command line

    @property
    def json(self) -> bool:
        """Shall a reading command print one JSON object?"""
        return self.format == "json"

    @property
    def level(self) -> int:
        """The level below which nothing is logged."""
        return logging.getLevelNamesMapping()[(self.log_level or "info").upper()]

    def color(self, stream: Any = None) -> bool:
        """May this stream (standard output) be coloured? Only a terminal, and only when nothing forbids it."""
        if self.no_color or os.environ.get("NO_COLOR") or os.environ.get("CI") or os.environ.get("TERM") == "dumb":
            return False
        return bool((stream or sys.stdout).isatty())


class Duration(click.ParamType[float]):
    """Seconds, from a number or text such as 250ms, 15s, 5m, 2h, 1d."""

    name = "duration"

    def __init__(self, least: float = 0.0) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The value in seconds."""
        try:
            number = seconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if number < self.least:
            self.fail(f"{value} is too short: at least {self.least:g} s", param, ctx)
        return number


_PER = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Rate(click.ParamType[float]):
    """Times a second, from 20, 20/s, 300/m or 1000/h."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The value as times a second."""
        if isinstance(value, float):
            return value
        number, _, unit = str(value).partition("/")
        try:
            rate = float(number) / _PER[unit or "s"]
        except (ValueError, KeyError):
            rate = 0.0
        if not 0 < rate < float("inf"):
            self.fail(f"{value!r} is no rate; write 20/s, 300/m or 1000/h", param, ctx)
        return rate


class Size(click.ParamType[int]):
    """Bytes, from text with a unit: 512MiB, 1.5GiB, 500MB. A bare number is refused: others take it for KiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The value in bytes."""
        try:
            return in_bytes(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Since(click.ParamType[float]):
    """A moment, as seconds since 1970: a duration ago (2h), or a time with its zone (2026-11-21T12:00:00Z)."""

    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The moment in seconds since 1970."""
        if isinstance(value, float):
            return value
        try:
            return time.time() - seconds(value)
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None or moment.utcoffset() is None:
            self.fail(f"{value!r}: write a duration such as 2h, or a time such as 2026-11-21T12:00:00Z", param, ctx)
        return moment.timestamp()


DURATION, RATE, SIZE, SINCE = Duration(), Rate(), Size(), Since()


def global_options(root: bool = False) -> list[click.Parameter]:
    """Fresh option objects for one command; what they are given goes into the `Globals` of the whole command line.

    STREAMTASK_URL and STREAMTASK_NAMESPACE are no flags in disguise: they rank below the app's code (see `settings`).
    """

    def option(*names: str, **more: Any) -> click.Parameter:
        return click.Option(names, expose_value=False, callback=_remember, default=None, **more)

    text_or_json = click.Choice(["text", "json"])
    address = "Redis: redis://host:6379/0, rediss://, unix:// or embedded://."
    return [
        option("-A", "--app", metavar="APP", help="The app: pkg.module:app or tasks.py."),
        option("--url", metavar="URL", allow_from_autoenv=not root, help=address),
        option(
            "--namespace", metavar="NS", allow_from_autoenv=not root, help="Prefix of all keys; else the app's name."
        ),
        option("--format", type=text_or_json, help="How reading commands answer.  [default: text]"),
        option("--log-level", type=click.Choice(LEVELS, case_sensitive=False), help="[default: info]"),
        option("--log-format", type=text_or_json, help="How worker, beat and dev write their log.  [default: text]"),
        option("--no-color", is_flag=True, help="No colour and no progress bars on terminals."),
    ]


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep what was given; the last one wins, and what was typed wins over the environment."""
    known, name = ctx.ensure_object(Globals), param.name
    if value is None or value is False or name is None:
        return
    typed = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    if typed or name not in known.typed:
        setattr(known, name, value)
    if typed:
        known.typed.add(name)
