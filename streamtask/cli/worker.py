"""`streamtask worker`: runs tasks."""

from __future__ import annotations

import click
from click.core import ParameterSource

from streamtask.child.origin import Origin
from streamtask.cli import serve
from streamtask.cli.apps import Loaded
from streamtask.cli.command import Command, globals_of
from streamtask.cli.options import DURATION, SIZE, Duration
from streamtask.cli.reach import check_typed
from streamtask.cli.supervise import supervise
from streamtask.cli.working import Working
from streamtask.logs import LogReporter
from streamtask.supervisor import Limits, Parent
from streamtask.worker import WorkerOptions, processors

_HELP = """Run the tasks of APP: from all its queues, or those named by -Q; and handle the events of its groups.

A message is held by a lease that is renewed while its task runs, and goes to another worker when this one dies. The
first Ctrl-C or SIGTERM lets running tasks end (--grace), the second stops at once and gives them back.
"""
_EXAMPLES = """
streamtask worker shop.tasks:app
streamtask worker shop.tasks:app -Q mail,reports --concurrency 20 --threads 4
streamtask worker tasks.py --beat --embedded          one process, with a private Redis
streamtask worker shop.tasks:app --burst              work off what is there, then end
streamtask worker shop.tasks:app --processes 4        four processes, each with 100 coroutines and 10 threads
streamtask worker shop.tasks:app --max-rss 512MiB     one process, under a parent that replaces it in time
STREAMTASK_WORKER_CONCURRENCY=20 streamtask worker    each option has its variable
"""


@click.command("worker", cls=Command, help=_HELP, examples=_EXAMPLES)
@click.argument("path", metavar="[APP]", required=False)
@click.option(
    "-c",
    "--concurrency",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Coroutine tasks at once, in each process.",
)
@click.option(
    "--threads", type=click.IntRange(1), default=10, show_default=True, help="Plain (`def`) tasks at once, likewise."
)
@click.option(
    "--children",
    type=click.IntRange(1),
    metavar="N",
    help="Child processes for `process=True` tasks, likewise.  [default: one a processor, shared by --processes]",
)
@click.option(
    "--processes", type=click.IntRange(1), metavar="N", help="Whole workers, under a parent that replaces what dies."
)
@click.option("-Q", "--queues", multiple=True, metavar="NAMES", help="Only these queues, with commas or repeated.")
@click.option("-X", "--exclude-queues", multiple=True, metavar="NAMES", help="All queues but these.")
@click.option("--topics/--no-topics", default=True, help="Handle events, too.  [default: if the app has handlers]")
@click.option("--beat", is_flag=True, help="Send what is scheduled, too; no harm beside other beats.")
@click.option(
    "--prefetch", type=DURATION, default="100ms", show_default=True, help="Read ahead this much work, in time."
)
@click.option(
    "--lease", type=Duration(0.1), default="15s", show_default=True, help="A dead worker's tasks move after this."
)
@click.option("--grace", type=DURATION, default="30s", show_default=True, help="Time for running tasks at a stop.")
@click.option(
    "--stall-limit",
    type=Duration(2.0),
    default="30s",
    show_default=True,
    help="With --processes: kill one whose event loop stands still for so long.",
)
@click.option(
    "--max-tasks", type=click.IntRange(1), metavar="N", help="Replace a process when it has ended so many tasks."
)
@click.option(
    "--max-rss", type=SIZE, metavar="SIZE", help="Replace a process before it holds so much memory, such as 512MiB."
)
@click.option("--name", help="The worker's name in logs and `inspect`.  [default: the host's]")
@click.option("--burst", is_flag=True, help="End when nothing waits and nothing runs.")
@click.option("--include", multiple=True, metavar="MODULES", help="More modules with tasks, with commas or repeated.")
@click.option("--embedded", is_flag=True, help="Use the private Redis of this project (embedded://).")
@click.pass_context
def command(
    ctx: click.Context,
    path: str | None,
    concurrency: int,
    threads: int,
    children: int | None,
    processes: int | None,
    queues: tuple[str, ...],
    exclude_queues: tuple[str, ...],
    topics: bool,
    beat: bool,
    prefetch: float,
    lease: float,
    grace: float,
    stall_limit: float,
    max_tasks: int | None,
    max_rss: int | None,
    name: str | None,
    burst: bool,
    include: tuple[str, ...],
    embedded: bool,
) -> None:
    """Wire a worker from the command line."""
    options = globals_of(ctx)
    if name is not None:
        check_typed("worker", name)
    limits = Limits(max_tasks, max_rss)
    if processes is None and limits.given:
        processes = 1  # somebody must be there to replace it
    if processes is None and ctx.get_parameter_source("stall_limit") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--stall-limit needs a parent that watches: add --processes 1, or more")
    parent = Parent.at_hand(stall_limit)
    if processes is not None and parent is None:
        ctx.exit(supervise(options, name, processes, stall_limit=stall_limit, grace=grace, limits=limits, burst=burst))
    loaded = serve.open_app(options, path, names(include), embedded)
    worker_options = WorkerOptions(
        concurrency=concurrency,
        threads=threads,
        children=children or max(1, processors() // (processes or 1)),
        queues=names(queues),
        exclude=names(exclude_queues),
        topics=topics,
        prefetch=prefetch,
        lease=lease,
        grace=grace,
        name=name,
        burst=burst,
        max_rss=max_rss,
    )
    check_queues(loaded, worker_options)
    origin = Origin(loaded.path, names(include), "embedded://" if embedded else options.url, options.namespace)

    async def work(report: LogReporter) -> int:
        working = Working(
            loaded,
            worker_options,
            report,
            origin=origin,
            ticks=beat,
            parent=parent,
            processes=processes or 0,
            limits=limits,
        )
        return await working.run()

    ctx.exit(serve.run(options, work))


def names(values: tuple[str, ...]) -> tuple[str, ...]:
    """Names that were given with commas, repeated, or both."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def check_queues(loaded: Loaded, options: WorkerOptions) -> None:
    """Raise UnknownQueue, which says what was meant, for a queue that the app has not; UsageError when none is left."""
    for name in (*options.queues, *options.exclude):
        loaded.app.post.keys(name)
    if options.topics and loaded.app.subscriptions:
        return
    every = options.queues or tuple(task.queue for task in loaded.app.tasks.values())
    if not every:
        raise click.UsageError("--no-topics leaves nothing to serve: the app has event handlers and no tasks")
    if not set(every) - set(options.exclude):
        raise click.UsageError("-X leaves no queue to serve")
