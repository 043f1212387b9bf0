"""The command `streamtask`. Only the command that is asked for is loaded; its module wires, the work is elsewhere."""

from __future__ import annotations

import sys

import click

from streamtask._version import __version__
from streamtask.cli.command import Entry, Root

_HELP = """Tasks and schedules on Redis Streams: run workers and beats, look at queues, mend what failed.

APP names your app: pkg.module:app, pkg.module (its only StreamTask), pkg.module:create_app(), or a file: tasks.py.
It may also stand in STREAMTASK_APP, or as app = "..." under [tool.streamtask] in pyproject.toml.

Redis is found by --url, the app's code, STREAMTASK_URL, [tool.streamtask] url, REDIS_URL, REDIS_HOST and REDIS_PORT,
and else on localhost. Each option of a command is also read from STREAMTASK_<COMMAND>_<OPTION>.
"""
_EXAMPLES = """
streamtask dev tasks.py                      a private Redis, a worker and a beat in this terminal
streamtask worker shop.tasks:app             run tasks; as many of these as you like
streamtask beat shop.tasks:app               send what is scheduled; two of these for safety
streamtask inspect                           what waits, runs, is due and is dead
streamtask dead list --queue mail            what failed for good, and why
streamtask doctor                            is this Redis fit to hold tasks?
"""
_EXIT_CODES = """
0 done    1 failed    2 wrong usage    3 Redis does not answer    4 the app cannot be imported, or has no tasks
5 stopped, but tasks were given back    6 doctor found an error, check said no    7 doctor found a warning (--strict)
70 a worker's process hung and was killed at the stop    130 interrupted
"""

COMMANDS = {
    "worker": Entry("streamtask.cli.worker", "Run tasks", "Run"),
    "beat": Entry("streamtask.cli.beat", "Send what is scheduled, and move what is due", "Run"),
    "dev": Entry("streamtask.cli.dev", "A private Redis, a worker and a beat in one terminal", "Run"),
    "hub": Entry("streamtask.cli.hub", "Publish events and call tasks over HTTP", "Run"),
    "send": Entry("streamtask.cli.send", "Send a task by its name", "Run"),
    "publish": Entry("streamtask.cli.publish", "Publish an event to a topic", "Run"),
    "inspect": Entry("streamtask.cli.inspect", "Queues, workers and schedules at a glance", "Look"),
    "show": Entry("streamtask.cli.show", "One message: where it is and what became of it", "Look"),
    "schedule": Entry("streamtask.cli.schedule", "List, preview and run schedules", "Look"),
    "topics": Entry("streamtask.cli.topics", "Topics and their groups: list, show, replay, join, leave", "Look"),
    "doctor": Entry("streamtask.cli.doctor", "Check Redis, and what workers and beats should do", "Look"),
    "check": Entry("streamtask.cli.check", "Do the workers of this container live, are they ready?", "Look"),
    "config": Entry("streamtask.cli.config", "The settings that hold here, and where they come from", "Look"),
    "dead": Entry("streamtask.cli.dead", "Dead letters: list, show, replay, purge", "Mend"),
}


@click.group("streamtask", cls=Root, entries=COMMANDS, help=_HELP, examples=_EXAMPLES, more={"Exit codes": _EXIT_CODES})
@click.version_option(__version__, "--version", message="streamtask %(version)s")
def cli() -> None:
    """Parse the global options; the commands do the rest."""


def main() -> None:
    """Run the command line of this process, and end it with the exit code."""
    try:
        cli.main(prog_name="streamtask")
    except BrokenPipeError:  # `streamtask dead list | head`: who reads has enough
        sys.stderr.close()
        sys.exit(0)
