"""`streamtask topics replay|join|leave`: they change a group, so they say what that means, and ask."""

from __future__ import annotations

from typing import Any

import click

from streamtask import checks
from streamtask.cli.command import Command, globals_of
from streamtask.cli.dead_replay import confirm
from streamtask.cli.failures import FAILED, USAGE, Failure
from streamtask.cli.reach import namespace_of, reach
from streamtask.cli.text import plural, print_json
from streamtask.cli.topics_look import PLACE, lag_of, look, topic_of
from streamtask.groups import Plan, join, leave, plan, rewind
from streamtask.topics import GroupView, count

_REPLAY = """Let one group have events of TOPIC again: all that came after an entry's id, or since a time. Other groups
are not touched.

What is pending now comes again too. A handler with once="event_id" takes events for done that it has handled, and what
is no longer in the topic cannot come again.
"""
_REPLAY_EXAMPLES = """
streamtask topics replay shop:orders --group search --from 2h --dry-run
streamtask topics replay shop:orders --group search --from 2026-11-21T12:00:00Z --yes
streamtask topics replay shop:orders --group search --from 1795308987490-0
"""
_JOIN = """Make a group on TOPIC before its worker is there: from then on events are kept for it.

--from says where it begins: beginning (all that the topic still has), new, a time, or the id of the entry after which.
"""
_JOIN_EXAMPLES = """
streamtask topics join shop:orders --group mailer --from new
streamtask topics join shop:orders --group audit --from beginning
"""
_LEAVE = """Let a group leave TOPIC for good, so that no event is kept for it any more. Stop its workers first.

It does not leave while events are pending, or failed and wait in its own queue to be tried again; --force gives them
up. Dead letters stay, and can be read, replayed and purged as before.
"""
_LEAVE_EXAMPLES = """
streamtask topics leave shop:orders --group search
"""
_FROM = "beginning, new, an entry's id (after which), 2h, or 2026-11-21T12:00:00Z."
#: Waiting events that `join` counts at most.
COUNTED = 100_000


@click.command("replay", cls=Command, help=_REPLAY, examples=_REPLAY_EXAMPLES)
@click.argument("topic")
@click.option("--group", required=True, help="The group that gets them again.")
@click.option(
    "--from",
    "start",
    envvar="STREAMTASK_TOPICS_REPLAY_FROM",
    type=PLACE,
    required=True,
    help="After this entry's id, or since: 2h, a time, beginning.",
)
@click.option("--dry-run", is_flag=True, help="Say what would happen, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def replay_command(ctx: click.Context, topic: str, group: str, start: str, dry_run: bool, yes: bool) -> None:
    """Count, ask, rewind."""
    options = globals_of(ctx)
    if start == "$":
        raise click.UsageError("--from new replays nothing; give a time, an entry's id, or beginning")
    client = reach(options)
    topic = topic_of(topic)
    what = client.drive(plan(topic, group, start))
    text = _promise(what, topic, group)
    if not what.again or dry_run:
        done = False
    else:
        confirm(f"replay {text}?", yes)
        done = client.drive(rewind(topic, group, start))
    if options.json:
        facts = {"topic": topic, "group": group, "from": start, "place": what.place, "again": what.again}
        print_json({**facts, "exact": what.exact, "pending": what.pending, "first": what.first, "replayed": done})
    elif done:
        click.echo(f"{group} goes on after {start}: {text}")
    elif not what.again:
        click.echo(f"nothing to replay: {group} stands at {what.place}, and gets all after that by itself")
    elif dry_run:
        click.echo(f"would replay {text}")
    else:
        raise Failure(f"{group} was rewound by somebody else meanwhile; look again: streamtask topics show {topic}")


@click.command("join", cls=Command, help=_JOIN, examples=_JOIN_EXAMPLES)
@click.argument("topic")
@click.option("--group", required=True, help="The group's name.")
@click.option("--from", "start", envvar="STREAMTASK_TOPICS_JOIN_FROM", type=PLACE, required=True, help=_FROM)
@click.pass_context
def join_command(ctx: click.Context, topic: str, group: str, start: str) -> None:
    """Make it, and say what it will get."""
    options = globals_of(ctx)
    client = reach(options)
    topic = topic_of(topic)
    try:
        checks.group(group)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    made, place = client.drive(join(namespace_of(options, client), topic, group, start))
    if not made:
        again = f"streamtask topics replay {topic} --group {group} --from ..."
        raise Failure(f"the group {group!r} is on {topic} already, and stands at {place}; to move it back: {again}")
    waiting, exact = client.drive(count(topic, place, "+", COUNTED))
    if options.json:
        print_json({"topic": topic, "group": group, "place": place, "waiting": waiting, "exact": exact})
        return
    events = f"{plural(waiting, 'event')}{'' if exact else ' or more'} that {'is' if waiting == 1 else 'are'} there"
    gets = (
        f"its worker will get {events} already, and what comes" if waiting else "it gets what is published from now on"
    )
    click.echo(f"made the group {group} on {topic}: {gets}")


@click.command("leave", cls=Command, help=_LEAVE, examples=_LEAVE_EXAMPLES)
@click.argument("topic")
@click.option("--group", required=True, help="The group that leaves.")
@click.option(
    "--force", is_flag=True, help="Although a worker reads for it, or events are pending or wait; they are lost."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def leave_command(ctx: click.Context, topic: str, group: str, force: bool, yes: bool) -> None:
    """Count, ask, leave."""
    options = globals_of(ctx)
    client = reach(options)
    namespace = namespace_of(options, client)
    (seen,) = look(client, options, (topic,))
    view = next((one for one in seen.groups if one.name == group), None)
    if view is None:
        there = ", ".join(one.name for one in seen.groups) or "none"
        raise Failure(f"the topic {topic!r} has no group {group!r}; it has {there}", USAGE)
    if view.consumers and not force:
        readers = (
            f"{plural(view.consumers, 'consumer')} of {group} {'reads' if view.consumers == 1 else 'read'} {topic}"
        )
        text = f"{readers}, so the group would be made again; stop its workers first"
        raise Failure(f"{text} (or --force)")
    lost = view.pending + view.waiting + view.running + view.due
    if lost and not force:
        raise Failure(_refusal(topic, group, view.pending, view.waiting + view.running, view.due))
    confirm(f"let {group} leave {topic}? {_inventory(view)}", yes)
    left = client.drive(leave(namespace, topic, group, force))
    if options.json:
        facts: dict[str, Any] = {"topic": topic, "group": group, "left": left.done, "unread": view.lag}
        print_json({**facts, "pending": left.pending, "waiting": left.waiting, "due": left.due, "dead": left.dead})
        if not left.done:
            ctx.exit(FAILED)
        return
    if not left.done:
        raise Failure(_refusal(topic, group, left.pending, left.waiting, left.due))
    click.echo(f"{group} has left {topic}: {_inventory(view)}")
    if left.dead:
        click.echo(f"its dead letters stay: streamtask dead list --queue {topic}/{group}")


def _promise(what: Plan, topic: str, group: str) -> str:
    """What a rewind means."""
    more = "" if what.exact else " or more"
    text = f"{plural(what.again, 'event')}{more} of {topic} to {group}, of which {what.pending:,} pending now"
    if what.first is not None:
        text += f" (the topic begins at {what.first}: older ones are gone)"
    return text


def _inventory(view: GroupView) -> str:
    """What a group gives up."""
    kept = f"{plural(view.dead, 'dead letter')} stay{'s' if view.dead == 1 else ''}" if view.dead else "no dead letters"
    waits = view.waiting + view.running
    given = f"{lag_of(view)} unread, {view.pending:,} pending, {waits:,} waiting and {view.due:,} due in its own queue"
    return f"{given} are given up, {kept}"


def _refusal(topic: str, group: str, pending: int, waiting: int, due: int) -> str:
    what = f"{pending:,} pending, {waiting:,} waiting and {due:,} due in its own queue"
    return f"{group} still has events of {topic}: {what}. Let a worker end them, or give them up by --force"
