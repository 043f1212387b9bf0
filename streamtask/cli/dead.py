"""`streamtask dead`: what failed for good; look at it, send it back, or delete it."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import click
from pydantic_core import from_json

from streamtask.cli.command import Command, Group, globals_of
from streamtask.cli.dead_replay import purge_command, replay_command
from streamtask.cli.graveyard import Graveyard, choice_of, choosing
from streamtask.cli.text import ago, clock, indent, one_line, plural, print_json, short_task, table
from streamtask.context import from_ms
from streamtask.deadletters import DeadLetter
from streamtask.inspector import server_time
from streamtask.message import short_id

#: Bytes that are shown of a payload which is no JSON.
PREVIEW = 200
#: Dead letters that `list` counts by error at most.
COUNTED = 10_000

_HELP = """Dead letters: messages that failed for good. They stay until they are replayed or purged.

REASON says why: retries (used up), reject (the task gave up), poison (its worker died again and again), decode (no
message), unknown_task, arguments, result (not storable), interrupted (a worker's stop, with idempotent=False).
"""
_EXAMPLES = """
streamtask dead list --queue mail --since 2h
streamtask dead list --queue shop:orders/search
streamtask dead show 71aa…02
streamtask dead replay 71aa…02
streamtask dead replay --task send_mail --error TimeoutError --rate 20/s --dry-run
streamtask dead purge --queue mail --since 2026-11-01T00:00:00Z --yes
"""


@click.group("dead", cls=Group, help=_HELP, examples=_EXAMPLES)
def command() -> None:
    """Hold the verbs together."""


@command.command("list", cls=Command, help="List dead letters, the newest first, and count them by their error.")
@choosing
@click.pass_context
def list_command(
    ctx: click.Context, queue: str | None, task: str | None, error: str | None, since: float | None, limit: int | None
) -> None:
    """Print a table or JSON."""
    options = globals_of(ctx)
    graveyard = Graveyard.open(options, queue)
    shown: list[DeadLetter] = []
    kinds = Counter[str]()
    for letter in islice(graveyard.letters(choice_of(task, error, since)), COUNTED):
        kinds[letter.error_type if letter.reason in ("retries", "reject") else letter.reason] += 1
        if len(shown) < (limit or 50):
            shown.append(letter)
    if options.json:
        total = kinds.total()
        print_json({"dead": [as_json(letter) for letter in shown], "total": total, "errors": dict(kinds.most_common())})
        return
    if not shown:
        click.echo("no dead letters")
        return
    now = from_ms(graveyard.client.drive(server_time()))
    several = len(graveyard.queues) > 1
    rows = [_row(letter, ago(letter.at, now), several) for letter in shown]
    head = ["ID", "TASK", *(["QUEUE"] if several else []), "WHEN", "ATTEMPTS", "DELIVERIES", "REASON", "ERROR"]
    click.echo("\n".join(table(head, rows, "    rr" if several else "   rr")))
    click.echo(summary(kinds, len(shown)))


@command.command(
    "show", cls=Command, help="Show one dead letter: arguments or event, headers, attempts, error and traceback."
)
@click.argument("id")
@click.option("--queue", help="Only of this queue, or TOPIC/GROUP.")
@click.pass_context
def show_command(ctx: click.Context, id: str, queue: str | None) -> None:
    """Print all that is known of it."""
    options = globals_of(ctx)
    graveyard = Graveyard.open(options, queue)
    letters = graveyard.named([id])
    if options.json:
        print_json({"dead": [as_json(letter) for letter in letters]})
        return
    for letter in letters:
        click.echo("\n".join(lines(letter, graveyard.namespace)))


def summary(kinds: Counter[str], shown: int) -> str:
    """`12 dead letters, 2 groups by error:  11 TimeoutError  1 poison`."""
    total = kinds.total()
    most = "  ".join(f"{number:,} {kind}" for kind, number in kinds.most_common(8))
    least = "at least " if total >= COUNTED else ""
    more = f" ({shown} shown: --limit)" if shown < total else ""
    return f"{least}{plural(total, 'dead letter')}{more}, {plural(len(kinds), 'group')} by error:  {most}"


def lines(letter: DeadLetter, namespace: str) -> list[str]:
    """One dead letter for people."""
    meta = letter.message.meta if letter.message is not None else {}
    rows = [
        ("queue", letter.queue),
        ("died", clock(letter.at)),
        ("reason", letter.reason),
        ("error", one_line(letter.error, 500)),
        ("attempts", str(letter.attempt)),
        ("deliveries", str(letter.deliveries)),
        *_content(letter),
        *((key, str(meta[key])) for key in ("headers", "scheduled_for", "parent", "root", "ttl") if key in meta),
        ("entry", f"{letter.entry_id} (was {letter.stream_id})"),
    ]
    if letter.problem:
        rows.append(("unreadable", letter.problem))
        rows += [("field", f"{name[:40]!r}: {value[:200]!r}") for name, value in _fields(letter)]
    shown = [f"{letter.task or '?'} {letter.id}", *(f"  {name:<11} {value}" for name, value in rows)]
    for attempt in meta.get("errors", ()):
        if isinstance(attempt, dict) and isinstance(attempt.get("at"), int):
            said = f"{attempt.get('type', '?')}: {one_line(str(attempt.get('message', '')))}"
            shown.append(f"  failed      {clock(from_ms(attempt['at']))}  {attempt.get('worker', '?')}  {said}")
    if letter.traceback:
        shown += ["", indent(letter.traceback, "    "), ""]
    return [*shown, f"  again       streamtask dead replay {letter.id} --namespace {namespace} --queue {letter.queue}"]


def as_json(letter: DeadLetter) -> dict[str, Any]:
    """One dead letter as an object."""
    plain = ("id", "queue", "task", "reason", "error", "error_type", "traceback", "deliveries", "attempt", "at")
    shown = {name: getattr(letter, name) for name in (*plain, "entry_id", "stream_id", "args")}
    if letter.event is not None:
        shown["args"], shown["event"] = as_value(letter.event.args), letter.event.event
    shown["meta"] = dict(letter.message.meta) if letter.message is not None else {}
    if letter.problem:
        shown["problem"] = letter.problem
        shown["fields"] = {n.decode(errors="replace"): v.decode(errors="replace") for n, v in _fields(letter)}
    return shown


def _content(letter: DeadLetter) -> list[tuple[str, str]]:
    """What it was about: a task's arguments, or an event."""
    if letter.message is None:
        return [("arguments", "-")]
    args = letter.message.args
    if letter.event is None:
        return [("arguments", args.decode(errors="replace"))]
    event = letter.event.event
    told = [("event", event.id), ("source", event.source), ("created", event.created_at.isoformat())]
    told += [("metadata", f"{name}={value}") for name, value in event.metadata.items()]
    readable = as_value(args) is not None or args == b"null"
    return [*told, ("payload", args.decode() if readable else f"{len(args):,} bytes, no JSON: {args[:PREVIEW]!r}")]


def as_value(payload: bytes) -> Any:
    """A payload's JSON; None when it is none."""
    try:
        return from_json(payload)
    except ValueError:
        return None


def _row(letter: DeadLetter, when: str, several: bool) -> list[str]:
    queue = [letter.queue] if several else []
    numbers = [str(letter.attempt), str(letter.deliveries)]
    return [
        short_id(letter.id),
        short_task(letter.task),
        *queue,
        when,
        *numbers,
        letter.reason,
        one_line(letter.error, 80),
    ]


def _fields(letter: DeadLetter) -> list[tuple[bytes, bytes]]:
    return list(zip(letter.fields[::2], letter.fields[1::2], strict=True))


command.add_command(replay_command)
command.add_command(purge_command)
