"""`streamtask dead replay` and `purge`: they change something, so they count first, and ask."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

import click
from pydantic import ValidationError
from pydantic_core import from_json

from streamtask.app import StreamTask
from streamtask.cli.apps import app_path, load_app
from streamtask.cli.command import Command, globals_of
from streamtask.cli.failures import FAILED, explain
from streamtask.cli.graveyard import Graveyard, choice_of, choosing
from streamtask.cli.options import RATE, Globals
from streamtask.cli.progress import Progress
from streamtask.cli.text import plural, print_json
from streamtask.deadletters import Changes, DeadLetter, NotReplayable, purge, replay, revived
from streamtask.envelope import AnyMessage, EventMessage
from streamtask.message import short_id

if TYPE_CHECKING:
    from streamtask.subscription import EventSignature

#: Dead letters in one round trip, and refusals that are told one by one.
BATCH, TOLD = 100, 10

_REPLAY = """Send dead letters back into their queues, as new messages: attempts and `expires` count anew, unique keys
are taken again. Those of a group on a topic go into its own queue, so that no other group gets them. Name them by ID,
by the options, or all by --all.

What cannot be read, or is refused by --validate, stays where it is; then the exit code is 1.
"""
_REPLAY_EXAMPLES = """
streamtask dead replay 71aa…02
streamtask dead replay --queue mail --error TimeoutError --rate 20/s --validate --dry-run
streamtask dead replay --queue shop:orders/search --since 1d
streamtask dead replay 71aa…02 --set user.email='"ann@example.org"'
"""
_PURGE = "Delete dead letters for good. Name them by ID, by the options, or all by --all."
_PURGE_EXAMPLES = """
streamtask dead purge 71aa…02
streamtask dead purge --queue mail --error ValueError --yes
"""

_ALL = "All of them, when nothing else chooses."

#: A dead letter as it can be found again: its queue and its entry id.
Place = tuple[str, str]
#: Makes the message that goes back; raises NotReplayable.
Prepare = Callable[[DeadLetter], AnyMessage]


@click.command("replay", cls=Command, help=_REPLAY, examples=_REPLAY_EXAMPLES)
@click.argument("ids", nargs=-1)
@choosing
@click.option("--all", "everything", envvar="STREAMTASK_DEAD_REPLAY_ALL", is_flag=True, help=_ALL)
@click.option(
    "--set",
    "changes",
    envvar="STREAMTASK_DEAD_REPLAY_SET",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change an argument, or a part of the payload; VALUE is JSON, or text.",
)
@click.option("--rate", type=RATE, help="No faster than this: 20/s, 300/m.")
@click.option("--validate", is_flag=True, help="Import the app, and refuse what its tasks and handlers would refuse.")
@click.option("--force", is_flag=True, help="Take unique keys although other messages hold them.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def replay_command(
    ctx: click.Context,
    /,
    ids: tuple[str, ...],
    everything: bool,
    changes: tuple[str, ...],
    rate: float | None,
    validate: bool,
    force: bool,
    dry_run: bool,
    yes: bool,
    **choice: Any,
) -> None:
    """Count, ask, replay, report."""
    options = globals_of(ctx)
    app = load_app(app_path(None, options.app)).app if validate else None
    what = Changes(parse_changes(changes), force)

    def prepare(letter: DeadLetter) -> AnyMessage:
        return validated(revived(letter, what), app, letter.queue)

    graveyard = Graveyard.open(options, choice["queue"])
    places: list[Place] = []
    refused: dict[str, str] = {}
    for letter in chosen(graveyard, ids, everything, **choice):
        try:
            prepare(letter)
            places.append((letter.queue, letter.entry_id))
        except NotReplayable as error:
            refused[letter.id] = str(error)
    of = f"{len(places):,} of {plural(len(places) + len(refused), 'dead letter')}"
    if dry_run:
        against = f" against {app.name}" if app is not None else ""
        text = f"would replay {of}   ({len(places):,} valid, {len(refused):,} invalid{against})"
        tell(options, text, {"would_replay": len(places)}, refused)
        return
    if places and not ids:
        confirm(f"replay {of}?", yes)
    replayed = carry_out(graveyard, places, prepare, what, rate, options, refused)
    tell(options, f"replayed {len(replayed):,}, refused {len(refused):,}", {"replayed": replayed}, refused)
    if refused:
        ctx.exit(FAILED)


@click.command("purge", cls=Command, help=_PURGE, examples=_PURGE_EXAMPLES)
@click.argument("ids", nargs=-1)
@choosing
@click.option("--all", "everything", envvar="STREAMTASK_DEAD_PURGE_ALL", is_flag=True, help=_ALL)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def purge_command(ctx: click.Context, /, ids: tuple[str, ...], everything: bool, yes: bool, **choice: Any) -> None:
    """Count, ask, delete."""
    options = globals_of(ctx)
    graveyard = Graveyard.open(options, choice["queue"])
    places = [(letter.queue, letter.entry_id) for letter in chosen(graveyard, ids, everything, **choice)]
    if places:
        confirm(f"delete {plural(len(places), 'dead letter')} of {graveyard.namespace} for good?", yes)
    purged = 0
    with Progress("purged", len(places), options) as progress:
        for queue, entry_ids in batches(places, BATCH):
            purged += graveyard.client.drive(purge(graveyard.keys(queue), entry_ids))
            progress.step(len(entry_ids))
    tell(options, f"purged {purged:,}", {"purged": purged}, {})


def chosen(
    graveyard: Graveyard,
    ids: Sequence[str],
    everything: bool,
    *,
    queue: str | None,
    task: str | None,
    error: str | None,
    since: float | None,
    limit: int | None,
) -> Iterator[DeadLetter]:
    """The dead letters that are meant; UsageError when nothing says which."""
    if ids:
        return iter(graveyard.named(ids))
    if not everything and not any((queue, task, error, since, limit)):
        raise click.UsageError("which ones? Give ids, or --queue --task --error --since --limit, or --all")
    return islice(graveyard.letters(choice_of(task, error, since)), limit)


def validated(message: AnyMessage, app: StreamTask | None, queue: str) -> AnyMessage:
    """The message, which the app's task or handler would take; NotReplayable when it would not."""
    if app is None:
        return message
    if isinstance(message, EventMessage):
        return _handled(message, app, queue)
    task = app.tasks.get(message.task)
    if task is None:
        raise NotReplayable(f"the app {app.name} has no task {message.task!r}")
    try:
        task.signature.load(message.args)
    except ValidationError as error:
        raise NotReplayable(f"its arguments do not fit: {explain(error)}") from None
    return message


def _handled(message: EventMessage, app: StreamTask, queue: str) -> EventMessage:
    subscription = app.subscriptions.get(queue)
    handler = subscription.handler(message.event.type) if subscription is not None else None
    if handler is None:
        raise NotReplayable(f"the app {app.name} has no handler of {message.event.type!r} for {queue}")
    try:
        cast("EventSignature", handler.signature).load(message)
    except ValidationError as error:
        raise NotReplayable(f"its payload does not fit: {explain(error)}") from None
    return message


def carry_out(
    graveyard: Graveyard,
    places: Sequence[Place],
    prepare: Prepare,
    changes: Changes,
    rate: float | None,
    options: Globals,
    refused: dict[str, str],
) -> list[str]:
    """Replay, the oldest first; returns the ids, and adds to `refused` what did not go."""
    replayed: list[str] = []
    start = time.monotonic()
    with Progress("replayed", len(places), options, least=1000 if rate is None else 1) as progress:
        for queue, entry_ids in batches(places[::-1], BATCH if rate is None else 1):
            if rate is not None:
                time.sleep(max(0.0, start + progress.count / rate - time.monotonic()))
            ready = []
            for letter in graveyard.exact(queue, entry_ids):
                try:
                    ready.append((letter, prepare(letter)))
                except NotReplayable as error:
                    refused[letter.id] = str(error)
            words = graveyard.client.drive(replay(graveyard.keys(queue), ready, changes))
            for (letter, _), word in zip(ready, words, strict=True):
                if word:
                    refused[letter.id] = word
                else:
                    replayed.append(letter.id)
            progress.step(len(entry_ids))
    return replayed


def batches(places: Sequence[Place], size: int) -> Iterator[tuple[str, list[str]]]:
    """Entry ids of one queue at a time, at most `size`."""
    for queue, group in groupby(sorted(places, key=itemgetter(0)), key=itemgetter(0)):  # stable: their order stays
        ids = [entry_id for _, entry_id in group]
        for first in range(0, len(ids), size):
            yield queue, ids[first : first + size]


def confirm(question: str, yes: bool) -> None:
    """Ask; ends the command when the answer is no, or when nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Say --yes: there is nobody to ask here")
    click.confirm(question, abort=True, err=True)


def tell(options: Globals, text: str, facts: Mapping[str, Any], refused: Mapping[str, str]) -> None:
    """The end of the story."""
    if options.json:
        print_json({**facts, "refused": dict(refused)})
        return
    for id, reason in islice(refused.items(), TOLD):
        click.echo(f"refused {short_id(id)}: {reason}", err=True)
    if len(refused) > TOLD:
        click.echo(f"… and {len(refused) - TOLD:,} more", err=True)
    click.echo(text)


def parse_changes(values: Sequence[str]) -> dict[str, Any]:
    """`--set user.id=5`: values are JSON where they can be, text elsewhere."""
    changes = {}
    for value in values:
        path, mark, text = value.partition("=")
        if not mark or not path:
            raise click.UsageError(f"--set {value!r}: write path=value, for example --set user_id=5")
        try:
            changes[path] = from_json(text)
        except ValueError:
            changes[path] = text
    return changes
