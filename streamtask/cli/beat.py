"""`streamtask beat`: sends what is scheduled, and moves what is due."""

from __future__ import annotations

import logging
import time

import click

from streamtask._version import __version__
from streamtask.address import safe_url
from streamtask.beat import Beat
from streamtask.cli import banner, serve
from streamtask.cli.apps import Loaded
from streamtask.cli.command import BEGAN, Command, globals_of
from streamtask.cli.pulse import Condition, Pulse
from streamtask.cli.worker import names
from streamtask.heartbeat import HeartbeatFile
from streamtask.logs import LogReporter

_HELP = """Send the scheduled tasks of APP when they are due; each tick is sent once, however many beats run.

A beat also moves messages with a countdown, an eta or a retry of all queues of the namespace into their queue when
their time has come, so that a deployment without workers wakes up again.
"""
_EXAMPLES = """
streamtask beat shop.tasks:app             run two of these on two machines
streamtask worker shop.tasks:app --beat    or let a worker do it
streamtask schedule list                   what is scheduled, and when it ticked last
"""


@click.command("beat", cls=Command, help=_HELP, examples=_EXAMPLES)
@click.argument("path", metavar="[APP]", required=False)
@click.option("--no-mover", is_flag=True, help="Leave moving due messages to workers and other beats.")
@click.option("--include", multiple=True, metavar="MODULES", help="More modules with tasks, with commas or repeated.")
@click.pass_context
def command(ctx: click.Context, path: str | None, no_mover: bool, include: tuple[str, ...]) -> None:
    """Wire a beat from the command line."""
    options = globals_of(ctx)
    loaded = serve.open_app(options, path, names(include))
    ctx.exit(serve.run(options, lambda report: _serve(loaded, not no_mover, report)))


async def _serve(loaded: Loaded, mover: bool, report: LogReporter) -> int:
    beat = Beat(loaded.app, report, mover=mover)
    report.worker = beat.consumer
    condition = Condition("beat", beat.consumer, loaded.app.namespace)
    async with Pulse(condition.heartbeat, HeartbeatFile(beat.consumer), report) as pulse:
        return await _tick(loaded, beat, report, condition, pulse)


async def _tick(loaded: Loaded, beat: Beat, report: LogReporter, condition: Condition, pulse: Pulse) -> int:
    def drain(signal_name: str) -> None:
        report.event("beat.stopping", logging.INFO, f"{signal_name}: stopping", signal=signal_name)
        beat.stop()
        condition.draining = True
        pulse.tell()

    serve.Signals(drain, beat.stop).install()
    await serve.connect(loaded.app, beat.connect())
    warnings = serve.check_eviction(loaded.app, beat.server) + banner.warnings(loaded.app, beat.server)
    if not loaded.app.schedules:
        warnings.append("this app has no schedules: add @app.schedule(...), or import their modules by --include")
    _say_start(beat, report, warnings)
    report.amend("beat.started", f"ready in {(time.monotonic() - BEGAN) * 1000:.0f} ms")
    condition.ready(lambda: beat.answered_at)
    pulse.tell()
    await beat.serve()
    report.event("beat.stopped", logging.INFO, "stopped")
    return 0


def _say_start(beat: Beat, report: LogReporter, warnings: list[str]) -> None:
    app, server, url = beat.app, beat.server, beat.app.post.sender.url()
    if report.as_json:
        redis = {"engine": server.engine, "version": server.version, "mode": server.mode, "url": safe_url(url)}
        facts = {
            "version": __version__,
            "redis": redis,
            "namespace": app.namespace,
            "schedule_names": sorted(app.schedules),
        }
        report.event("beat.connected", logging.INFO, "connected", **facts)
    elif report.level <= logging.INFO:
        lines = banner.schedule_lines(app.schedules.values(), beat.clock.now())
        report.plain(
            [banner.head("beat", app, beat.consumer, "Ctrl-C to stop"), *banner.redis_lines(app, server, url), *lines]
        )
    serve.warn(report, warnings)
