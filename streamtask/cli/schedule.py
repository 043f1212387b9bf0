"""`streamtask schedule`: what is scheduled, when it will tick, and a tick by hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import click

from streamtask.app import StreamTask
from streamtask.cli.apps import app_path, load_app
from streamtask.cli.command import Command, Group, globals_of
from streamtask.cli.failures import USAGE, Failure
from streamtask.cli.options import Globals
from streamtask.cli.reach import namespace_of, place, reach
from streamtask.cli.text import ago, clock, print_json, span, table
from streamtask.context import from_ms
from streamtask.duration import seconds, show
from streamtask.inspector import ScheduleView, schedules, server_time
from streamtask.schedule import Schedule, dst_note

_HELP = "Schedules: `list` reads what beats have published in Redis; `preview` and `run` need the app (-A)."
_EXAMPLES = """
streamtask schedule list
streamtask -A shop.tasks schedule preview monthly_report --next 3 --timezone Asia/Tokyo
streamtask -A shop.tasks schedule preview queue_mails --next 24h
streamtask -A shop.tasks schedule run monthly_report
"""
_LIST = "List schedules: when they tick, when they did last, and which are late."
_PREVIEW = """Show the next ticks of a schedule of the app: so many, or those within a duration (24h).

NAME may leave out the module."""
#: Ticks that a preview over a duration prints at most.
MOST = 1000


@click.group("schedule", cls=Group, help=_HELP, examples=_EXAMPLES)
def command() -> None:
    """Hold the verbs together."""


@command.command("list", cls=Command, help=_LIST)
@click.pass_context
def list_command(ctx: click.Context) -> None:
    """Read Redis; no app is needed."""
    options = globals_of(ctx)
    client = reach(options)
    namespace = namespace_of(options, client)
    ms = client.drive(server_time())
    found = client.drive(schedules(namespace, ms))
    if options.json:
        print_json({"schedules": list(found), "now": from_ms(ms)})
        return
    if not found:
        click.echo(f"no beat has published a schedule of {namespace}; run: streamtask beat APP")
        return
    rows = [_row(view, from_ms(ms)) for view in found]
    click.echo("\n".join(table(["NAME", "WHEN", "NEXT", "LAST TICK", "LATE", "STATE", "FROM"], rows)))


@command.command("preview", cls=Command, help=_PREVIEW)
@click.argument("name")
@click.option(
    "--next",
    "span_or_number",
    envvar="STREAMTASK_SCHEDULE_PREVIEW_NEXT",
    default="10",
    show_default=True,
    metavar="N|DURATION",
    help="3, or 24h.",
)
@click.option("--timezone", help="Show the times in this zone, too.  [default: the schedule's]")
@click.pass_context
def preview_command(ctx: click.Context, name: str, span_or_number: str, timezone: str | None) -> None:
    """Ask the schedule itself; Redis is asked for the time only."""
    options = globals_of(ctx)
    app = _app(options)
    schedule = named(app, name)
    start = from_ms(app.post.drive(server_time()))
    ticks = upcoming(schedule, start, span_or_number)
    zone = zone_of(timezone) if timezone else schedule.when.zone
    notes = dst_note(schedule.when, start, ticks[-1]) if ticks else []
    if options.json:
        print_json({"schedule": schedule.name, "when": str(schedule.when), "ticks": ticks, "notes": notes})
        return
    click.echo(f"{schedule.name}  {schedule.when}{'' if schedule.enabled else '  (off)'}")
    for tick in ticks:
        local = tick.astimezone(zone)
        offset = local.isoformat()[-6:]
        left = show(round((tick - start).total_seconds()))
        click.echo(f"{local:%Y-%m-%d %H:%M:%S} {offset}   {clock(tick.astimezone(ZoneInfo('UTC')))}   in {left}")
    if not ticks:
        click.echo("no ticks")
    for note in notes:
        click.echo(f"… DST note: {note}")


@command.command("run", cls=Command, help="Send a schedule's task now, with its arguments; its ticks stay as they are.")
@click.argument("name")
@click.pass_context
def run_command(ctx: click.Context, name: str) -> None:
    """Send it."""
    options = globals_of(ctx)
    app = _app(options)
    schedule = named(app, name)
    result = app.tasks[schedule.task].delay_many([schedule.args])[0]
    if options.json:
        facts = {"id": result.id, "task": result.task, "queue": result.queue, "duplicate": result.duplicate}
        print_json({"messages": [facts]})
        return
    there = "was there before: " if result.duplicate else "sent "
    click.echo(f"{there}{result.task} {result.id} to {result.queue}")


def named(app: StreamTask, name: str) -> Schedule:
    """The schedule, by its name or the last part of it; Failure (usage) when there is none, or several."""
    if name in app.schedules:
        return app.schedules[name]
    short = [schedule for full, schedule in app.schedules.items() if full.endswith(f".{name}")]
    if len(short) == 1:
        return short[0]
    known = ", ".join(sorted(app.schedules)) or "none"
    raise Failure(f"the app {app.name} has {'several schedules' if short else 'no schedule'} {name!r}: {known}", USAGE)


def upcoming(schedule: Schedule, start: datetime, span_or_number: str) -> list[datetime]:
    """The next so many ticks, or those within a duration (at most MOST)."""
    if span_or_number.isdigit():
        return schedule.when.upcoming(start, min(int(span_or_number), MOST))
    try:
        end = start + timedelta(seconds=seconds(span_or_number))
    except (ValueError, OverflowError) as error:
        raise click.UsageError(f"--next: {error}") from None
    return [tick for tick in schedule.when.upcoming(start, MOST) if tick <= end]


def zone_of(name: str) -> ZoneInfo:
    """The time zone; UsageError for one that is none."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise click.UsageError(f"{name!r} is no time zone; use a name such as Asia/Tokyo or UTC") from None


def _app(options: Globals) -> StreamTask:
    app = load_app(app_path(None, options.app)).app
    place(app, options, options.url)
    click.get_current_context().call_on_close(app.close)
    return app


def _row(view: ScheduleView, now: datetime) -> list[str]:
    if view.next is None:
        following = "-"
    elif view.late_s is not None:
        following = f"{clock(view.next)} ({ago(view.next, now)})"
    else:
        following = f"{clock(view.next)} (in {show(round((view.next - now).total_seconds()))})"
    state = view.state + ("  ! no beat" if view.late_s is not None and view.late_s > 5 else "")
    return [view.name, view.when, following, clock(view.last), span(view.late_s), state, view.source]
