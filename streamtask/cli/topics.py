"""`streamtask topics`: topics and their groups; rewind one, make one before its worker comes, let one leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from streamtask.broker.sender import Sender
from streamtask.cli.command import Command, Group, globals_of
from streamtask.cli.reach import reach
from streamtask.cli.text import ago, count, plural, print_json, size, span, table
from streamtask.cli.topic_groups import join_command, leave_command, replay_command
from streamtask.cli.topics_look import lag_of, look
from streamtask.context import from_ms
from streamtask.inspector import server_time
from streamtask.topics import GroupView, TopicView, problems

_HELP = """Topics, and the groups that read them. They read Redis only; TOPIC may be any stream, known to an app or not.

\b
LAG      events that the group has not got        RETRY  failed, in its own queue to be tried again
PENDING  got, and not done with                   DEAD   failed for good: streamtask dead list --queue TOPIC/GROUP
OLDEST   the age of the oldest of both            CONSUMERS  those that are alive
"""
_EXAMPLES = """
streamtask topics list
streamtask topics show alt:events:articles
streamtask topics replay alt:events:articles --group search --from 2h --dry-run
streamtask topics join alt:events:articles --group mailer --from new
streamtask topics leave alt:events:articles --group search
"""
_LIST = "List topics and their groups: those of the namespace, or those that are named."
_SHOW = "Show one topic: what it holds, each group with what waits and failed, which event types it handles."


@click.group("topics", cls=Group, help=_HELP, examples=_EXAMPLES)
def command() -> None:
    """Hold the verbs together."""


@command.command("list", cls=Command, help=_LIST)
@click.argument("topics", nargs=-1)
@click.pass_context
def list_command(ctx: click.Context, topics: tuple[str, ...]) -> None:
    """Print a table or JSON."""
    options = globals_of(ctx)
    client = reach(options)
    seen = look(client, options, topics)
    if options.json:
        print_json({"topics": [as_json(topic) for topic in seen], "now": now_of(client)})
        return
    if not seen:
        click.echo("no topics: nobody has published an event, or reads one")
        return
    head = ["TOPIC", "ENTRIES", "NEWEST", "GROUP", "LAG", "PENDING", "RETRY", "DEAD", "OLDEST", "CONSUMERS"]
    click.echo("\n".join(table(head, [row for topic in seen for row in _rows(topic)], " rr rrrrrr")))
    for line in complaints(seen):
        click.echo(line)


@command.command("show", cls=Command, help=_SHOW)
@click.argument("topic")
@click.pass_context
def show_command(ctx: click.Context, topic: str) -> None:
    """Print all that is known of it."""
    options = globals_of(ctx)
    client = reach(options)
    (seen,) = look(client, options, (topic,))
    if options.json:
        print_json({"topic": as_json(seen), "now": now_of(client)})
        return
    click.echo("\n".join([*lines(seen, now_of(client)), *complaints([seen])]))


def now_of(client: Sender) -> datetime:
    """The server's time."""
    return from_ms(client.drive(server_time()))


def as_json(topic: TopicView) -> dict[str, Any]:
    """One topic as an object; the keys are stable."""
    shown: dict[str, Any] = {name: getattr(topic, name) for name in TopicView.__slots__}
    shown["groups"] = [_group_json(group) for group in topic.groups]
    shown["problems"] = [{"group": p.group, "text": p.text, "fix": p.fix} for p in problems(topic)]
    return shown


def _group_json(group: GroupView) -> Mapping[str, Any]:
    return {name: getattr(group, name) for name in GroupView.__slots__} | {"oldest_s": group.oldest_s}


def complaints(seen: Sequence[TopicView]) -> list[str]:
    """The `!` lines under a table, each with its fix."""
    return [
        f"! {problem.topic}{f' as {problem.group}' if problem.group else ''}: {problem.text}\n  fix: {problem.fix}"
        for topic in seen
        for problem in problems(topic)
    ]


def lines(topic: TopicView, now: datetime) -> list[str]:
    """One topic for people."""
    memory = "" if topic.memory is None else f", {size(topic.memory)}"
    shown = [topic.name, f"  entries  {count(topic.entries)}{memory}"]
    if topic.first_id and topic.last_id:
        shown.append(f"  first    {topic.first_id}  {span(topic.first_age_s)} ago")
        shown.append(f"  last     {topic.last_id}  {span(topic.last_age_s)} ago")
    head = ["GROUP", "LAG", "PENDING", "WAITING", "RUNNING", "DUE", "DEAD", "LOST", "OLDEST", "CONSUMERS", "LAST ID"]
    rows = []
    for group in topic.groups:
        numbers = (group.pending, group.waiting, group.running, group.due, group.dead, group.lost)
        age = span(group.oldest_s)
        last = "has left" if group.left else group.last_id
        rows.append([group.name, lag_of(group), *map(count, numbers), age, count(group.consumers), last])
    if rows:
        shown += ["", *table(head, rows, " rrrrrrrrr")]
    for group in topic.groups:
        said = ", ".join(f"{kind} (said {ago(at, now)})" for kind, at in group.types.items())
        if said:
            shown.append(f"  {group.name} handles {said}")
        if group.dead:
            letters = plural(group.dead, "dead letter")
            shown.append(f"  {group.name} has {letters}: streamtask dead list --queue {topic.name}/{group.name}")
    return shown


def _rows(topic: TopicView) -> list[list[str]]:
    start = [topic.name, count(topic.entries), span(topic.last_age_s)]
    rows = []
    for group in topic.groups:
        numbers = (group.pending, group.waiting + group.due, group.dead)
        readers = "left" if group.left else count(group.consumers)
        rows.append([*start, group.name, lag_of(group), *map(count, numbers), span(group.oldest_s), readers])
    return rows or [[*start, "-", "-", "-", "-", "-", "-", "0"]]


for verb in (replay_command, join_command, leave_command):
    command.add_command(verb)
