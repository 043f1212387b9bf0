"""`streamtask worker --processes N`, `--max-tasks`, `--max-rss`: the parent of N worker processes."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import click

from streamtask._version import __version__
from streamtask.cli import serve
from streamtask.cli.options import Globals
from streamtask.cli.pulse import Pulse
from streamtask.heartbeat import HeartbeatFile
from streamtask.logs import LogReporter
from streamtask.supervisor import Hello, Limits, Supervisor, SupervisorOptions
from streamtask.worker.membership import consumer_name

#: Seconds beyond `grace` that a process which was replaced has to end: coroutines that are cancelled, and the last
#: write, have 15 of them.
ENDS_WITHIN = 30.0


def supervise(
    options: Globals,
    name: str | None,
    processes: int,
    *,
    stall_limit: float,
    grace: float,
    limits: Limits,
    burst: bool,
) -> int:
    """Run this command in so many processes; the exit code of all."""
    if sys.platform == "win32":
        flags = "--processes, --max-tasks and --max-rss"
        raise click.UsageError(f"{flags} need Linux or macOS; start more workers instead")
    # The same command as it was typed, whatever started it: `python -m streamtask`, a console script, a path.
    again = [sys.executable, *sys.orig_argv[1:]]
    plan = SupervisorOptions(again, dict(os.environ), processes, stall_limit, burst, limits, grace + ENDS_WITHIN)
    return serve.run(options, lambda report: _serve(plan, consumer_name(name), report), fast=False)


async def _serve(plan: SupervisorOptions, name: str, report: LogReporter) -> int:
    report.worker = name
    processes = "1 process" if plan.processes == 1 else f"{plan.processes} processes"

    def greeted(hello: Hello) -> None:
        """The first child knows what there is to say of all."""
        head = f"streamtask {__version__}  worker {hello.namespace}@{name}  {processes}"
        if report.as_json:
            facts: dict[str, Any] = {"version": __version__, "namespace": hello.namespace, "processes": plan.processes}
            facts |= {"stall_limit_s": plan.stall_limit, "max_tasks": plan.limits.max_tasks}
            facts["max_rss_bytes"] = plan.limits.max_rss
            report.event("worker.supervising", logging.INFO, processes, **facts)
        elif report.level <= logging.INFO:
            report.plain([f"{head}    (Ctrl-C to stop, twice to stop now)", *hello.banner[1:]])
        serve.warn(report, list(hello.warnings))

    supervisor = Supervisor(name, plan, report, greeted)

    def drain(signal_name: str) -> None:
        text = f"{signal_name}: stopping {processes}; once more to stop now"
        report.event("worker.stopping", logging.INFO, text, signal=signal_name)
        supervisor.stop()

    serve.Signals(drain, supervisor.stop_now, supervisor.kill).install()
    async with Pulse(supervisor.heartbeat, HeartbeatFile(name), report):
        code = await supervisor.run()
    if supervisor.app is not None:
        report.event("worker.stopped", logging.INFO, "stopped")
    return code
