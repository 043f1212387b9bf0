"""`streamtask doctor`: is this Redis fit to hold tasks, and does somebody work on them?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click

from streamtask.address import safe_url
from streamtask.broker.link import CONNECTION_ERRORS, SyncLink
from streamtask.broker.replies import must
from streamtask.broker.sender import Sender, Steps
from streamtask.broker.server import Server, answers, questions
from streamtask.cli.command import Command, globals_of
from streamtask.cli.failures import DOUBTFUL, NO_REDIS, UNFIT
from streamtask.cli.options import Globals
from streamtask.cli.reach import TIMEOUT, check_typed, namespaces, reach
from streamtask.cli.text import print_json
from streamtask.doctor import Facts, Finding, examine, worst
from streamtask.errors import SendError
from streamtask.inspector import snapshot
from streamtask.settings import load

_HELP = """Check the server (reachable, version, eviction, memory, append-only file, clock), and in each namespace the
queues, for messages that nobody works on or moves, the topics, for groups that do not keep up, the schedules, for
ticks that no beat sends, and the dead letters.

Exit code 6 when something FAILs, 7 for warnings with --strict, 3 when Redis does not answer.
"""
_EXAMPLES = """
streamtask doctor
streamtask doctor --url redis://10.0.3.7:6379/0 --namespace shop --strict
"""
#: Pings whose times are looked at.
PINGS = 100
_COLOURS = {"ok": "green", "warn": "yellow", "FAIL": "red"}


@click.command("doctor", cls=Command, help=_HELP, examples=_EXAMPLES)
@click.option("--strict", is_flag=True, help="Warnings count, too (exit code 7).")
@click.pass_context
def command(ctx: click.Context, strict: bool) -> None:
    """Measure, examine, report."""
    options = globals_of(ctx)
    client = reach(options)
    try:
        findings = examine(measure(client, options))
    except SendError as error:
        fix = "start Redis, or give its address by --url or STREAMTASK_URL"
        report([Finding("FAIL", "redis", str(error), fix)], options)
        ctx.exit(NO_REDIS)
    report(findings, options)
    level = worst(findings)
    if level == "FAIL":
        ctx.exit(UNFIT)
    if level == "warn" and strict:
        ctx.exit(DOUBTFUL)


def measure(client: Sender, options: Globals) -> Facts:
    """Ask the server; SendError when it does not answer."""
    times, skew = _ping(client)
    server = client.drive(_server())
    names = [check_typed("namespace", options.namespace)] if options.namespace else namespaces(client)
    return Facts(
        server=server,
        url=f"{safe_url(client.url())} (from {client.address.source})",
        ping_s=sorted(times)[int(len(times) * 0.99) - 1],
        pings=len(times),
        skew_s=skew,
        allow_eviction=load().allow_eviction,
        snapshots=[client.drive(snapshot(name)) for name in names],
    )


def report(findings: Sequence[Finding], options: Globals) -> None:
    """Print them."""
    if options.json:
        print_json({"findings": list(findings), "level": worst(findings)})
        return
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        level = f"{finding.level:<5}"
        shown = click.style(level, fg=_COLOURS[finding.level]) if options.color() else level
        click.echo(f"{shown} {finding.name:<{width}}  {finding.text}")
        if finding.fix:
            click.echo(f"{'':<6}{'':<{width}}  fix: {finding.fix}")


def _ping(client: Sender) -> tuple[list[float], float]:
    """Seconds that pings took, and this host's clock minus the server's."""
    link = SyncLink(client.url(), timeout=TIMEOUT)
    try:
        link.call("PING")  # connects
        times = []
        for _ in range(PINGS):
            before = time.perf_counter()
            link.call("PING")
            times.append(time.perf_counter() - before)
        before, (seconds, micros) = time.time(), link.call("TIME")
        return times, (before + time.time()) / 2 - int(seconds) - int(micros) / 1e6
    except CONNECTION_ERRORS as error:
        raise client.unreachable(error) from None
    finally:
        link.close()


def _server() -> Steps[Server]:
    replies: list[Any] = yield questions("streamtask")
    if all(isinstance(reply, Exception) for reply in replies):
        must(replies[0])
    return answers(replies)
