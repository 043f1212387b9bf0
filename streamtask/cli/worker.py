"""`streamtask worker`: runs tasks."""

from __future__ import annotations

import asyncio
import logging
import time

import click

from streamtask.beat import Beat
from streamtask.broker.link import ResponseError
from streamtask.cli import banner, serve
from streamtask.cli.apps import Loaded
from streamtask.cli.command import BEGAN, Command, globals_of
from streamtask.cli.options import DURATION, Duration
from streamtask.cli.reach import check_typed
from streamtask.cli.text import plural
from streamtask.inspector import unserved
from streamtask.logs import LogReporter
from streamtask.logs.reporter import short
from streamtask.worker import Worker, WorkerOptions
from streamtask.worker.delivery import State

_HELP = """Run the tasks of APP: from all its queues, or those named by -Q.

A message is held by a lease that is renewed while its task runs, and goes to another worker when this one dies. The
first Ctrl-C or SIGTERM lets running tasks end (--grace), the second stops at once and gives them back.
"""
_EXAMPLES = """
streamtask worker shop.tasks:app
streamtask worker shop.tasks:app -Q mail,reports --concurrency 20 --threads 4
streamtask worker tasks.py --beat --embedded          one process, with a private Redis
streamtask worker shop.tasks:app --burst              work off what is there, then end
STREAMTASK_WORKER_CONCURRENCY=20 streamtask worker    each option has its variable
"""
#: Running tasks that the line about the stop names.
_NAMED = 5


@click.command("worker", cls=Command, help=_HELP, examples=_EXAMPLES)
@click.argument("path", metavar="[APP]", required=False)
@click.option(
    "-c", "--concurrency", type=click.IntRange(1), default=100, show_default=True, help="Coroutine tasks at once."
)
@click.option("--threads", type=click.IntRange(1), default=10, show_default=True, help="Plain (`def`) tasks at once.")
@click.option("-Q", "--queues", multiple=True, metavar="NAMES", help="Only these queues, with commas or repeated.")
@click.option("-X", "--exclude-queues", multiple=True, metavar="NAMES", help="All queues but these.")
@click.option("--beat", is_flag=True, help="Send what is scheduled, too; no harm beside other beats.")
@click.option(
    "--prefetch", type=DURATION, default="100ms", show_default=True, help="Read ahead this much work, in time."
)
@click.option(
    "--lease", type=Duration(0.1), default="15s", show_default=True, help="A dead worker's tasks move after this."
)
@click.option("--grace", type=DURATION, default="30s", show_default=True, help="Time for running tasks at a stop.")
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
    queues: tuple[str, ...],
    exclude_queues: tuple[str, ...],
    beat: bool,
    prefetch: float,
    lease: float,
    grace: float,
    name: str | None,
    burst: bool,
    include: tuple[str, ...],
    embedded: bool,
) -> None:
    """Wire a worker from the command line."""
    options = globals_of(ctx)
    if name is not None:
        check_typed("worker", name)
    loaded = serve.open_app(options, path, names(include), embedded)
    worker_options = WorkerOptions(
        concurrency=concurrency,
        threads=threads,
        queues=names(queues),
        exclude=names(exclude_queues),
        prefetch=prefetch,
        lease=lease,
        grace=grace,
        name=name,
        burst=burst,
    )
    check_queues(loaded, worker_options)
    ctx.exit(serve.run(options, lambda report: _serve(loaded, worker_options, beat, report)))


def names(values: tuple[str, ...]) -> tuple[str, ...]:
    """Names that were given with commas, repeated, or both."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def check_queues(loaded: Loaded, options: WorkerOptions) -> None:
    """Raise UnknownQueue, which says what was meant, for a queue that the app has not; UsageError when none is left."""
    for name in (*options.queues, *options.exclude):
        loaded.app.post.keys(name)
    every = options.queues or tuple(task.queue for task in loaded.app.tasks.values())
    if not set(every) - set(options.exclude):
        raise click.UsageError("-X leaves no queue to serve")


async def _serve(loaded: Loaded, options: WorkerOptions, ticks: bool, report: LogReporter) -> int:
    worker = Worker(loaded.app, options, report)
    report.worker = worker.consumer
    beat = None
    if ticks:
        beat = Beat(loaded.app, report)

    def drain(signal_name: str) -> None:
        _say_stop(worker, report, signal_name)
        worker.stop()
        if beat is not None:
            beat.stop()

    serve.Signals(drain, worker.stop_now).install()
    await serve.connect(loaded.app, worker.connect())
    warnings = serve.check_eviction(loaded.app, worker.server) + banner.warnings(loaded.app, worker.server)
    warnings += await _unserved(worker)
    _say_start(worker, report, ticks, warnings)
    if beat is not None:
        await serve.connect(loaded.app, beat.connect())
    waiting = await worker.waiting()
    took = (time.monotonic() - BEGAN) * 1000
    are = "message is" if waiting == 1 else "messages are"
    report.amend("worker.ready", f"ready in {took:.0f} ms, {waiting:,} {are} waiting", waiting=waiting)
    if beat is None:
        return await worker.serve()
    report.amend("beat.started", f"this worker ticks {len(loaded.app.schedules)} schedules")
    ticking = asyncio.create_task(beat.serve())
    working = asyncio.create_task(worker.serve())
    await asyncio.wait([ticking, working], return_when=asyncio.FIRST_COMPLETED)
    if ticking.done() and not working.done() and ticking.exception() is not None:
        worker.stop()  # a beat that broke is a defect of ours: end in order, and let it be seen
    code = await working
    beat.stop()
    await ticking
    return code


async def _unserved(worker: Worker) -> list[str]:
    """Queues of this namespace that have messages and that nobody reads."""
    served = {queue.name for queue in worker.queues}
    try:
        found = await worker.app.post.adrive(unserved(worker.app.namespace, served))
    except ResponseError:
        return []  # a command is forbidden to us: then we cannot know
    fix = "streamtask worker APP -Q"
    return [f'queue "{name}" has {plural(n, "message")} and no worker ({fix} {name})' for name, n in found]


def _say_start(worker: Worker, report: LogReporter, ticks: bool, warnings: list[str]) -> None:
    url = worker.app.post.sender.url()
    if report.as_json:
        facts = banner.worker_facts(worker, url, ticks)
        report.event("worker.started", logging.INFO, "started", **facts)
    elif report.level <= logging.INFO:
        report.plain(banner.worker_lines(worker, url, ticks))
    serve.warn(report, warnings)


def _say_stop(worker: Worker, report: LogReporter, signal_name: str) -> None:
    """Say that it stops, and let the runtime's own line name what it waits for."""
    report.event("worker.stopping", logging.INFO, f"{signal_name}: stopping; once more to stop now", signal=signal_name)
    running = [d for queue in worker.queues for d in queue.held.values() if d.state is State.RUNNING]
    if running:
        of = ", ".join(short(d.message.task if d.message else None, d.message_id) for d in running[:_NAMED])
        more = f" and {len(running) - _NAMED} more" if len(running) > _NAMED else ""
        tasks = "1 running task" if len(running) == 1 else f"{len(running)} running tasks"
        text = f"waiting for {tasks}, at most {worker.options.grace:g} s: {of}{more}"
        report.amend("worker.draining", text, running=len(running))
