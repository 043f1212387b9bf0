"""`streamtask send TASK`: send a task by its name."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from streamtask.app import StreamTask
from streamtask.cli.apps import load_app, pyproject_app
from streamtask.cli.command import Command, globals_of
from streamtask.cli.failures import FAILED, USAGE, Failure, explain
from streamtask.cli.options import DURATION, Globals
from streamtask.cli.progress import Progress
from streamtask.cli.reach import namespace_of, place, reach
from streamtask.cli.text import plural, print_json
from streamtask.errors import Cancelled, Expired, ResultExpired, ResultsDisabled, TaskFailed
from streamtask.inspector import queue_names
from streamtask.options import CallOptions
from streamtask.result import Result

_HELP = """Send a task by its name, such as shop.tasks.welcome.

With an app (-A, STREAMTASK_APP or pyproject.toml) its task checks the arguments and knows its queue, and the name may
leave out the module. Without one the message is sent as it is, to --queue.
"""
_EXAMPLES = """
streamtask -A shop.tasks send welcome --args '{"user_id": 5}'
streamtask send shop.tasks.welcome --args '{"user_id": 5}' --queue mail --namespace shop
streamtask send shop.tasks.report --countdown 10m
streamtask send shop.tasks.add --args '{"x": 1, "y": 2}' --wait
"""
#: Messages of one round trip.
CHUNK = 1000


@click.command("send", cls=Command, help=_HELP, examples=_EXAMPLES)
@click.argument("task")
@click.option(
    "--args",
    "args_json",
    envvar="STREAMTASK_SEND_ARGS",
    default="{}",
    metavar="JSON",
    help="Arguments by name, as a JSON object.",
)
@click.option("--countdown", type=DURATION, help="Not before so long from now: 30s, 5m.")
@click.option("--eta", metavar="TIME", help="Not before: 2026-11-21T12:00:00+01:00.")
@click.option("--queue", help="Another queue than the task's own.")
@click.option("--wait", is_flag=True, help="Wait for the result and print it; exit code 1 if the task fails.")
@click.option("--count", type=click.IntRange(1), default=1, help="Send it so many times.")
@click.pass_context
def command(
    ctx: click.Context,
    task: str,
    args_json: str,
    countdown: float | None,
    eta: str | None,
    queue: str | None,
    wait: bool,
    count: int,
) -> None:
    """Send, say the ids, and wait if asked to."""
    options = globals_of(ctx)
    args = parse_args(args_json)
    given = {"countdown": countdown, "eta": eta, "queue": queue}
    call = call_options({name: value for name, value in given.items() if value is not None})
    app, name = target(options, task, call)
    ctx.call_on_close(app.close)
    results = send(app, name, args, call, count, options)
    if not wait:
        report(options, results)
        return
    values = [_value(result) for result in results]
    if options.json:
        print_json({"results": values})
        return
    for value in values:
        click.echo(to_json(value))


def parse_args(text: str) -> dict[str, Any]:
    """The arguments; UsageError for what is no JSON object."""
    try:
        args = from_json(text)
    except ValueError as error:
        raise click.UsageError(f"--args is not JSON: {error}") from None
    if not isinstance(args, dict):
        raise click.UsageError("--args must be a JSON object, parameter name to value: '{\"user_id\": 5}'")
    return args


def call_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the call, checked; UsageError that says what is wrong."""
    call = dict(given)
    try:
        if "eta" in call:
            call["eta"] = datetime.fromisoformat(call["eta"])
        CallOptions(**call)
    except (ValueError, TypeError) as error:
        raise click.UsageError(str(error)) from None
    return call


def target(options: Globals, task: str, call: dict[str, Any]) -> tuple[StreamTask, str]:
    """The app to send with, and the task's full name."""
    path = options.app or pyproject_app()
    if path:
        app = load_app(path).app
        place(app, options, options.url)
        return app, known_name(app, task)
    client = reach(options)
    namespace = namespace_of(options, client)
    known = client.drive(queue_names(namespace))
    queue = call.get("queue") or (known[0] if len(known) == 1 else "default")
    if queue not in known and "queue" not in call:
        raise Failure(f"to which queue? Say --queue; {namespace} has {', '.join(known) or 'none yet'}", USAGE)
    if queue not in known and known:
        near = difflib.get_close_matches(queue, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise Failure(f"{namespace} has no queue {queue!r}{hint} (it has {', '.join(known)})", USAGE)
    call["queue"] = queue
    app = StreamTask(namespace, queues=[queue])
    place(app, options, options.url)
    return app, task


def known_name(app: StreamTask, task: str) -> str:
    """The full name of a task of the app; Failure (usage) with the nearest one when there is none."""
    if task in app.tasks:
        return task
    short = [name for name in app.tasks if name.endswith(f".{task}")]
    if len(short) == 1:
        return short[0]
    if short:
        raise Failure(f"{task!r} names several tasks: {', '.join(sorted(short))}", USAGE)
    near = difflib.get_close_matches(task, [*app.tasks, *(name.rpartition(".")[2] for name in app.tasks)], 1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(sorted(app.tasks)) or 'none'}"
    raise Failure(f"the app {app.name} has no task {task!r}{hint}", USAGE)


def send(
    app: StreamTask, task: str, args: Mapping[str, Any], call: Mapping[str, Any], count: int, options: Globals
) -> list[Result[Any]]:
    """Send so many; errors as in `Task.delay`."""
    results: list[Result[Any]] = []
    known = app.tasks.get(task)
    with Progress("sent", count, options) as progress:
        for first in range(0, count, CHUNK):
            number = min(CHUNK, count - first)
            try:
                if known is not None:
                    results += known.options(**call).delay_many([args] * number)
                else:
                    results += send_raw(app, task, args, call, number)
            except (ValidationError, TypeError) as error:
                text = explain(error) if isinstance(error, ValidationError) else str(error)
                raise Failure(f"{task} does not take these arguments: {text}", USAGE) from None
            progress.step(number)
    return results


def send_raw(
    app: StreamTask, task: str, args: Mapping[str, Any], call: Mapping[str, Any], number: int
) -> list[Result[Any]]:
    """Send a task that nobody here knows, in one round trip."""
    queue, post = call["queue"], app.post
    keys, options, raw = post.keys(queue), CallOptions(**call), to_json(args)
    outgoing = [post.build(keys, task, queue, raw, {}, options, None, None) for _ in range(number)]
    receipts = post.send(outgoing)
    return [
        Result(post, keys, item.message.id, task, queue, entry_id=receipt.entry_id)
        for item, receipt in zip(outgoing, receipts, strict=True)
    ]


def report(options: Globals, results: list[Result[Any]]) -> None:
    """What was sent."""
    if options.json:
        keys = ("id", "task", "queue", "duplicate")
        print_json({"messages": [{key: getattr(result, key) for key in keys} for result in results]})
        return
    if len(results) > 10:
        click.echo(f"sent {plural(len(results), 'message')} of {results[0].task} to {results[0].queue}")
        return
    for result in results:
        there = "was there before: " if result.duplicate else "sent "
        click.echo(f"{there}{result.task} {result.id} to {result.queue}")


def _value(result: Result[Any]) -> Any:
    print(f"waiting for {result.task} {result.id}", file=sys.stderr)
    try:
        return result.get()
    except (TaskFailed, Cancelled, Expired, ResultExpired, ResultsDisabled) as error:
        raise Failure(str(error), FAILED) from None
