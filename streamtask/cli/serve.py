"""What worker and beat share: the app at its address, the event loop, the signals, and the end of the process."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import click

from streamtask.app import StreamTask
from streamtask.broker.link import CONNECTION_ERRORS
from streamtask.broker.server import Server
from streamtask.cli.apps import Loaded, app_path, load_app, need_tasks
from streamtask.cli.failures import GAVE_BACK, INTERRUPTED, Failure
from streamtask.cli.options import Globals
from streamtask.cli.reach import place
from streamtask.logs import LogReporter, adopt_logging, to_stderr

if sys.platform != "win32":
    import uvloop

T = TypeVar("T")
#: Objects made between two looks of Python's garbage collector at the youngest ones. At its own 700 (3.13: 2,000)
#: it looks at what is in work several times a read, and takes a fifth of a worker's time to find nothing.
COLLECT_EVERY = 10_000
#: What the collector is told to do before an app is imported; whoever changes it there means it.
_COLLECTOR = gc.get_threshold()
#: The fix for a Redis that may throw tasks away.
NO_EVICTION = "Set maxmemory-policy noeviction (and give the cache a Redis of its own)"


def open_app(options: Globals, argument: str | None, include: tuple[str, ...] = (), embedded: bool = False) -> Loaded:
    """Import the app and put it where the command line says; raises AppImportError, also when it has no tasks."""
    if embedded and options.url:
        raise click.UsageError("--embedded brings its own Redis; leave out --url")
    loaded = load_app(app_path(argument, options.app), include)
    need_tasks(loaded)
    place(loaded.app, options, "embedded://" if embedded else options.url)
    return loaded


async def connect(app: StreamTask, asking: Awaitable[T]) -> T:
    """Wait for what a start asks of Redis; SendError that says what to do when it is not there."""
    try:
        return await asking
    except CONNECTION_ERRORS as error:
        raise app.post.sender.unreachable(error) from None


def check_eviction(app: StreamTask, server: Server) -> list[str]:
    """Warnings about a Redis that may throw tasks away; Failure unless the setting `allow_eviction` is on."""
    if server.policy is None or server.policy == "noeviction":
        return []
    text = f"redis evicts keys ({server.policy}): tasks can vanish. {NO_EVICTION}."
    if app.post.settings.allow_eviction:
        return [text]
    where = f" The address came from {app.post.address.source}."
    raise Failure(f"{text}{where} To start all the same: STREAMTASK_ALLOW_EVICTION=1")


def warn(report: LogReporter, warnings: list[str]) -> None:
    """Say loudly what is wrong: below the banner, or as events."""
    for text in warnings:
        if report.as_json:
            report.event("worker.warning", logging.WARNING, text)
        elif report.level <= logging.WARNING:
            report.plain([f"! {text}"])


def run(options: Globals, main: Callable[[LogReporter], Coroutine[Any, Any, int]], *, fast: bool = True) -> int:
    """Run `main` on a loop of its own, with the log on standard error; returns its exit code. `fast`: uvloop's."""
    report = to_stderr(level=options.level, as_json=options.log_format == "json", colour=options.color(sys.stderr))
    adopt_logging(report)
    if fast:
        _calm_collector()
    runner = asyncio.Runner(loop_factory=_loop_factory() if fast else None)
    try:
        code = runner.run(main(report))
    except BaseException:
        runner.close()
        raise
    finally:
        report.close()
    if code in (GAVE_BACK, INTERRUPTED):
        _leave(code)
    runner.close()
    return code


class Signals:
    """SIGINT and SIGTERM: the first drains, the second stops now, a third ends the process where it stands."""

    def __init__(
        self, drain: Callable[[str], None], now: Callable[[], None], end: Callable[[], None] | None = None
    ) -> None:
        """`end` is called just before a third signal ends the process."""
        self._drain, self._now, self._end = drain, now, end
        self._seen = 0

    def install(self) -> None:
        """Take them over; on the event loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            if sys.platform == "win32":
                signal.signal(number, lambda n, _: loop.call_soon_threadsafe(self._received, signal.Signals(n)))
            else:
                loop.add_signal_handler(number, self._received, number)

    def _received(self, number: signal.Signals) -> None:
        self._seen += 1
        if self._seen == 1:
            self._drain(number.name)
        elif self._seen == 2:
            self._now()
        else:
            if self._end is not None:
                self._end()
            os._exit(INTERRUPTED)


def _calm_collector() -> None:
    """Look for garbage less often, and never among what was imported, which stays anyway."""
    if gc.isenabled() and gc.get_threshold() == _COLLECTOR:
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_EVERY, *_COLLECTOR[1:])


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    return None if sys.platform == "win32" else uvloop.new_event_loop


def _leave(code: int) -> None:
    """End the process although threads of tasks may still run: Python would wait for some of them for ever."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
