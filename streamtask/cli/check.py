"""`streamtask check`: does the worker or beat of this container live, and is it ready? Reads its heartbeat file."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import click

from streamtask import heartbeat
from streamtask.cli.command import Command
from streamtask.cli.failures import UNFIT, Failure
from streamtask.cli.options import Duration
from streamtask.heartbeat import Heartbeat, why_not_live, why_not_ready

_HELP = """Say whether the workers and beats of this user on this host live, or are ready; for probes of containers.

live: the event loop turns (with --processes: that of each process). Redis is not looked at: restarting a worker does
not bring Redis back.

ready: live, connected, not stopping, and Redis answered within --max-age (with --processes: all of that for each).

It reads the files that they write every two seconds, into /tmp/streamtask-<uid>/heartbeats or the folder that
STREAMTASK_HEARTBEAT_DIR names. Exit code 6 when one of them is not as asked, or when none runs.
"""
_EXAMPLES = """
streamtask check live                      in a container: is its one process alive?
streamtask check ready --max-age 10s
streamtask check ready --worker mail-1     of several on a host, the one that was started with --name mail-1
"""


@click.command("check", cls=Command, help=_HELP, examples=_EXAMPLES)
@click.argument("what", metavar="live|ready", type=click.Choice(["live", "ready"]))
@click.option("--worker", metavar="NAME", help="Only this one: its whole name, the part before the colon, or its pid.")
@click.option(
    "--max-age", type=Duration(1.0), default="30s", show_default=True, help="How old a sign of life may be, at most."
)
def command(what: str, worker: str | None, max_age: float) -> None:
    """Read the files and judge them."""
    try:
        where = heartbeat.folder()
        every = heartbeat.living(where)
        found = list(every if worker is None else called(every, worker))
    except OSError as error:
        raise Failure(f"cannot read heartbeat files: {error}", UNFIT) from None
    if not found:
        name = f" called {worker!r}" if worker else ""
        raise Failure(f"no worker or beat{name} runs here (no heartbeat in {where})", UNFIT)
    judge = why_not_live if what == "live" else why_not_ready
    now = time.monotonic()
    wrong = [why for one in found if (why := judge(one, now, max_age))]
    if wrong:
        raise Failure(f"not {what}: {'; '.join(wrong)}", UNFIT)
    click.echo(f"{what}: {', '.join(one.consumer for one in found)}")


def called(found: Iterable[Heartbeat], name: str) -> Iterator[Heartbeat]:
    """Those that a name means; of a parent the one of its processes that it names."""
    for one in found:
        if name in (one.consumer, one.consumer.partition(":")[0], str(one.pid)):
            yield one
        else:
            yield from called(one.children, name)
