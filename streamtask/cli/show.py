"""`streamtask show ID`: one message, where it is and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click
from pydantic_core import from_json

from streamtask.cli.command import Command, globals_of
from streamtask.cli.failures import Failure
from streamtask.cli.find import Found, find_message
from streamtask.cli.reach import namespace_of, reach
from streamtask.cli.text import clock, indent, one_line, print_json
from streamtask.context import from_ms
from streamtask.inspector import queue_names

_HELP = """Show one message: waiting, due, running, done, dead, cancelled or expired, with its attempts and errors; or
an event that failed, in each group that has it in its own queue or among its dead letters.

ID is a message's id, in full or short as tables print it (6f2c…9a, 6f2c...9a, 6f2c), or the id of its stream entry.
Of a message that is done only its result is kept, for the task's result_ttl.
"""
_EXAMPLES = """
streamtask show 6f2c…9a
streamtask show 6f2c --namespace shop --format json
"""


@click.command("show", cls=Command, help=_HELP, examples=_EXAMPLES)
@click.argument("id")
@click.pass_context
def command(ctx: click.Context, id: str) -> None:
    """Find it and print it."""
    options = globals_of(ctx)
    client = reach(options)
    namespace = namespace_of(options, client)
    found = find_message(client, namespace, client.drive(queue_names(namespace)), id)
    if not found:
        text = f"nothing is known of a message {id!r} in {namespace}: it is done and its result over, or it never was"
        raise Failure(text)
    if len({one.info.id for one in found}) > 1:
        names = "\n".join(f"  {one.info.id}  {one.info.task or ''}" for one in found)
        raise click.UsageError(f"{id!r} names several messages:\n{names}")
    if options.json:
        print_json({"message": as_json(found[0]), "others": [as_json(one) for one in found[1:]]})
        return
    for one in found:
        click.echo("\n".join(lines(one, namespace)))


def lines(found: Found, namespace: str) -> list[str]:
    """The message for people."""
    info = found.info
    rows: list[tuple[str, object]] = [
        ("status", info.status + (f" ({info.reason})" if info.reason else "")),
        ("queue", info.queue),
        ("attempt", info.attempt or None),
        ("deliveries", info.deliveries or None),
        ("worker", info.worker),
        ("sent", _time(info.enqueued_at)),
        ("due", _time(info.due_at)),
        ("started", _time(info.started_at)),
        ("ended", _time(info.finished_at)),
    ]
    meta = found.message.meta if found.message is not None else {}
    rows += [(key, meta.get(key)) for key in ("scheduled_for", "parent", "root")]
    if info.error_type:
        rows.append(("error", f"{info.error_type}: {one_line(info.error or '', 200)}"))
    if found.value is not None:
        rows.append(("result", one_line(found.value.decode(), 1000)))
    shown = [f"{info.task or '?'} {info.id}"]
    shown += [f"  {name:<10} {value}" for name, value in rows if value is not None]
    shown += [f"  failed     {_attempt(error)}" for error in meta.get("errors", ()) if isinstance(error, dict)]
    if info.traceback:
        shown += ["", indent(info.traceback, "    ")]
    if found.letter is not None:
        where = f"{info.id} --namespace {namespace}" + (f" --queue {info.queue}" if "/" in (info.queue or "") else "")
        shown += ["", f"  more       streamtask dead show {where}", f"  again      streamtask dead replay {where}"]
    return shown


def as_json(found: Found) -> dict[str, Any]:
    """The message as one object."""
    info = found.info
    shown = {name: getattr(info, name) for name in info.__slots__}
    shown["result"] = None if found.value is None else from_json(found.value)
    shown["meta"] = dict(found.message.meta) if found.message is not None else {}
    shown["dead_letter"] = found.letter.entry_id if found.letter is not None else None
    return shown


def _attempt(error: Mapping[str, Any]) -> str:
    at = error.get("at")
    when = clock(from_ms(at)) if isinstance(at, int) else "?"
    return f"{when}  {error.get('worker', '?')}  {error.get('type', '?')}: {one_line(str(error.get('message', '')))}"


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else clock(moment)
