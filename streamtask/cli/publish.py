"""`streamtask publish TOPIC`: publish an event by hand."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from pydantic_core import from_json

from streamtask import checks
from streamtask.app import StreamTask
from streamtask.cli.apps import load_app, pyproject_app
from streamtask.cli.command import Command, globals_of
from streamtask.cli.failures import FAILED, Failure
from streamtask.cli.options import Globals
from streamtask.cli.progress import Progress
from streamtask.cli.reach import namespace_of, place, reach
from streamtask.cli.text import print_json
from streamtask.cli.topics_look import topic_of
from streamtask.envelope import encode
from streamtask.message import MAX_NAME, new_id
from streamtask.topic import TopicLimits

_HELP = """Publish an event to TOPIC, in the format that apps and other programs read.

With an app (-A, STREAMTASK_APP or pyproject.toml) the limits that it declared for the topic are kept. Without one the
topic is neither full nor trimmed by this; its workers trim it.
"""
_EXAMPLES = """
streamtask publish shop:orders --type Ordered --payload '{"n": 5}'
streamtask publish shop:orders --type Ordered --payload @order.json --metadata trace_id=4bf9 --key order-5
jq -c . order.json | streamtask -A shop.tasks publish shop:orders --type Ordered --payload -
"""
#: Events of one round trip.
CHUNK = 1000
#: What this command keeps of a topic whose limits it does not know: all.
NO_LIMITS = TopicLimits(max_length=0, hard_max_length=0)


@click.command("publish", cls=Command, help=_HELP, examples=_EXAMPLES)
@click.argument("topic")
@click.option(
    "--type",
    "event_type",
    envvar="STREAMTASK_PUBLISH_TYPE",
    required=True,
    help="The event's type, as handlers know it: OrderPlaced.",
)
@click.option("--payload", default="", metavar="JSON|@FILE|-", help="JSON, a file with it, or standard input.")
@click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="Metadata; may be repeated.")
@click.option("--source", help="Who publishes it.  [default: the app's name, or the namespace]")
@click.option("--key", help="Publish it once under this key, however often this runs (within 7 days).")
@click.option("--count", type=click.IntRange(1), default=1, help="Publish so many, each with an event id of its own.")
@click.pass_context
def command(
    ctx: click.Context,
    topic: str,
    event_type: str,
    payload: str,
    metadata: tuple[str, ...],
    source: str | None,
    key: str | None,
    count: int,
) -> None:
    """Read, publish, say the entry ids."""
    options = globals_of(ctx)
    topic = topic_of(topic)
    if not event_type or len(event_type) > MAX_NAME:
        raise click.UsageError(f"--type is 1 to {MAX_NAME} characters")
    if key is not None:
        _check_key(key, count)
    body, said = read_payload(payload), parse_metadata(metadata)
    app, limits = publisher(options, topic)
    ctx.call_on_close(app.close)
    entry_ids: list[str] = []
    with Progress("published", count, options) as progress:
        for first in range(0, count, CHUNK):
            number = min(CHUNK, count - first)
            entry_ids += publish(app, topic, limits, number, event_type, source or app.name, body, said, key, entry_ids)
            progress.step(number)
    if options.json:
        print_json({"topic": topic, "type": event_type, "entry_ids": entry_ids})
    elif len(entry_ids) > 10:
        click.echo(f"published {len(entry_ids):,} events {event_type} to {topic}")
    else:
        for entry_id in entry_ids:
            click.echo(f"published {event_type} {entry_id} to {topic}")


def publish(
    app: StreamTask,
    topic: str,
    limits: TopicLimits,
    number: int,
    event_type: str,
    source: str,
    payload: bytes,
    metadata: Mapping[str, str],
    key: str | None,
    before: Sequence[str],
) -> list[str]:
    """Publish so many, in one round trip; Failure with the first error, and how many of all are there."""
    post, now = app.post, datetime.now(UTC)
    publications = []
    for id in [new_id() for _ in range(number)]:
        fields = encode(id, event_type, source, now, payload, metadata)
        publications.append(post.publication(id, event_type, fields, topic, limits, key))
    size, limit = publications[0].size(), post.settings.max_message_bytes
    if size > limit:
        raise Failure(f"the event takes {size:,} bytes, {limit:,} are allowed (max_message_bytes)")
    receipts = post.publish(publications)
    errors = [receipt for receipt in receipts if isinstance(receipt, Exception)]
    if errors:
        there = len(before) + len(receipts) - len(errors)
        if there == 0:
            raise errors[0]
        raise Failure(f"{there:,} were published, then: {errors[0]}", FAILED) from errors[0]
    return [receipt.entry_id or "" for receipt in receipts if not isinstance(receipt, Exception)]


def publisher(options: Globals, topic: str) -> tuple[StreamTask, TopicLimits]:
    """The app to publish with, and what it says of the topic's limits."""
    path = options.app or pyproject_app()
    if path:
        app = load_app(path).app
        place(app, options, options.url)
        return app, app.topics.get(topic) or TopicLimits()
    app = StreamTask(namespace_of(options, reach(options)))
    place(app, options, options.url)
    return app, NO_LIMITS


def read_payload(text: str) -> bytes:
    """The payload, as it was written; UsageError for what is no JSON."""
    where = "--payload"
    try:
        if text == "-":
            where, raw = "standard input", sys.stdin.buffer.read()
        elif text.startswith("@"):
            where, raw = text[1:], Path(text[1:]).read_bytes()
        else:
            raw = text.encode()
        if raw.strip():
            from_json(raw)
    except OSError as error:
        raise click.UsageError(f"--payload {text}: {error.strerror}") from None
    except ValueError as error:
        raise click.UsageError(f"{where} is not JSON: {error}") from None
    return raw.strip()


def parse_metadata(pairs: Sequence[str]) -> dict[str, str]:
    """`trace_id=4bf9` as names and values."""
    found = {}
    for pair in pairs:
        name, mark, value = pair.partition("=")
        if not mark or not name:
            raise click.UsageError(f"--metadata {pair!r}: write name=value, for example --metadata trace_id=4bf9")
        found[name] = value
    return found


def _check_key(key: str, count: int) -> None:
    try:
        checks.message_id(key)
    except ValueError as error:
        raise click.UsageError(f"--key: {error}") from None
    if count > 1:
        raise click.UsageError("--key publishes one event; leave out --count")
