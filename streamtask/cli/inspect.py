"""`streamtask inspect`: queues, workers and schedules at a glance."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime

import click

from streamtask.cli.command import Command, globals_of
from streamtask.cli.failures import USAGE, Failure
from streamtask.cli.reach import namespace_of, reach
from streamtask.cli.text import ago, clock, count, plural, print_json, size, slot_counts, span, table
from streamtask.inspector import ProcessView, QueueView, Snapshot, snapshot
from streamtask.topics import TopicView, problems

_HELP = """Show the queues of a namespace, the groups on its topics, its workers and beats, and its schedules; or one
QUEUE, TOPIC or WORKER by its name.

\b
WAITING  messages that no worker holds          DUE     wait for their time (countdown, eta, retry)
RUNNING  held by workers, read ahead included   DEAD    failed for good: streamtask dead list
OLDEST   how long the first of them waits
LAG      events that the group has not got      PENDING got, and not done with
RETRY    failed, and in the group's own queue to be tried again
"""
_EXAMPLES = """
streamtask inspect                             the only namespace of this Redis
streamtask inspect --namespace shop --watch    again every second
streamtask inspect queue mail
streamtask inspect topic shop:orders
streamtask inspect --format json | jq '.queues[] | select(.waiting > 1000)'
"""
#: Seconds between two looks of --watch.
EVERY = 1.0


@click.command("inspect", cls=Command, help=_HELP, examples=_EXAMPLES)
@click.argument("kind", type=click.Choice(["queue", "worker", "topic"]), required=False)
@click.argument("name", required=False)
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.pass_context
def command(ctx: click.Context, kind: str | None, name: str | None, watch: bool) -> None:
    """Look once, or again and again."""
    if kind and not name:
        raise click.UsageError(f"which {kind}? streamtask inspect {kind} NAME")
    options = globals_of(ctx)
    client = reach(options)
    namespace = namespace_of(options, client)
    while True:
        seen = client.drive(snapshot(namespace))
        if options.json:
            print_json(as_json(seen, kind, name))
        else:
            if watch and options.color():
                click.clear()
            click.echo("\n".join(lines(seen, kind, name)))
        if not watch:
            return
        time.sleep(EVERY)


def lines(seen: Snapshot, kind: str | None = None, name: str | None = None) -> list[str]:
    """The whole picture, or one queue, topic or worker of it."""
    queues, processes, topics = chosen(seen, kind, name)
    blocks = [[header(seen)]]
    if kind not in ("worker", "topic") and (queues or not topics):
        blocks.append(queue_table(queues))
    if topics:
        blocks.append(topic_table(topics))
    if processes:
        blocks.append(process_table(processes, seen.now))
    if seen.schedules and kind is None:
        blocks.append(schedule_table(seen))
    return [line for i, block in enumerate(blocks) for line in (["", *block] if i > 1 else block)]


Chosen = tuple[Sequence[QueueView], Sequence[ProcessView], Sequence[TopicView]]


def chosen(seen: Snapshot, kind: str | None, name: str | None) -> Chosen:
    """What was asked for; Failure (usage) when it is not there."""
    if kind == "queue":
        queues = [queue for queue in seen.queues if queue.name == name]
        if not queues:
            raise Failure(f"{seen.namespace} has no queue {name!r}; it has {_all(q.name for q in seen.queues)}", USAGE)
        return queues, [process for process in seen.processes if name in process.queues], ()
    if kind == "topic":
        topics = [topic for topic in seen.topics if topic.name == name]
        if not topics:
            known = _all(topic.name for topic in seen.topics)
            raise Failure(f"{seen.namespace} has no topic {name!r}; it has {known}", USAGE)
        of = f"{name}/"
        return (), [process for process in seen.processes if any(q.startswith(of) for q in process.queues)], topics
    if kind == "worker":
        found = [process for process in seen.processes if process.consumer.startswith(name or "")]
        if not found:
            known = _all(process.consumer for process in seen.processes)
            raise Failure(f"{seen.namespace} has no worker {name!r}; it has {known}", USAGE)
        return (), found, ()
    return seen.queues, seen.processes, seen.topics


def header(seen: Snapshot) -> str:
    """The server, and how many work."""
    server = seen.server
    engine = "redis" if server.engine == "redis" else server.engine
    memory = "" if server.memory is None else f"  memory {size(server.memory)}"
    memory += f" of {size(server.maxmemory)}" if server.maxmemory else ""
    policy = f"  {server.policy}" if server.policy else ""
    people = f"{plural(len(seen.of('worker')), 'worker')}, {plural(len(seen.of('beat')), 'beat')}"
    return f"{seen.namespace} on {engine} {server.version}{memory}{policy}    {people}    {clock(seen.now)}"


def queue_table(queues: Sequence[QueueView]) -> list[str]:
    """A line a queue, and their sum when there are several."""
    rows = []
    for queue in queues:
        note = "  ! no worker" if (queue.waiting or queue.due) and not queue.workers else ""
        if queue.overdue_s is not None and queue.overdue_s > 5:
            note += f"  ! overdue by {span(queue.overdue_s)}: nobody moves what is due"
        numbers = (queue.waiting, queue.running, queue.due, queue.dead)
        rows.append([queue.name, *map(count, numbers), span(queue.oldest_s), f"{queue.workers}{note}"])
    if len(queues) > 1:
        sums = (sum(getattr(queue, name) for queue in queues) for name in ("waiting", "running", "due", "dead"))
        rows.append(["(all)", *map(count, sums), span(max((q.oldest_s or 0 for q in queues), default=0) or None), ""])
    return table(["QUEUE", "WAITING", "RUNNING", "DUE", "DEAD", "OLDEST", "WORKERS"], rows, " rrrrr ")


def topic_table(topics: Sequence[TopicView]) -> list[str]:
    """A line a group; of a topic that nobody reads, one that says so."""
    rows = []
    for topic in topics:
        notes: dict[str | None, str] = {}
        for problem in problems(topic):
            notes[problem.group] = notes.get(problem.group, "") + f"  ! {problem.short}"
        for group in topic.groups:
            lag = f"{count(group.lag)}{'' if group.lag_exact else '+'}"
            numbers = (lag, *map(count, (group.pending, group.waiting + group.due, group.dead)))
            readers = f"{group.consumers}{notes.get(group.name, '')}"
            rows.append([topic.name, group.name, *numbers, span(group.oldest_s), readers])
        if None in notes:
            rows.append(
                [topic.name, "-", count(topic.entries), "-", "-", "-", span(topic.first_age_s), f"0{notes[None]}"]
            )
    return table(["TOPIC", "GROUP", "LAG", "PENDING", "RETRY", "DEAD", "OLDEST", "CONSUMERS"], rows, "  rrrrr ")


def process_table(processes: Sequence[ProcessView], now: datetime) -> list[str]:
    """A line a worker or beat."""
    rows = []
    for process in sorted(processes, key=lambda process: (process.kind != "worker", process.consumer)):
        slots = slot_counts(process.slots)
        running = "-" if process.running is None else count(process.running)
        serves = " ".join(dict.fromkeys(process.queues)) or (
            f"{process.schedules} schedules" if process.schedules is not None else "-"
        )
        rows.append([process.consumer, process.kind, running, slots or "-", ago(process.started_at, now), serves])
    return table(["WORKER", "KIND", "RUNNING", "SLOTS", "STARTED", "SERVES"], rows, "  r")


def schedule_table(seen: Snapshot) -> list[str]:
    """A line a schedule."""
    rows = []
    for schedule in seen.schedules:
        state = schedule.state + ("  ! no beat" if schedule.late_s is not None and schedule.late_s > 5 else "")
        times = (clock(schedule.next), clock(schedule.last), span(schedule.late_s))
        rows.append([schedule.name, schedule.when, *times, state])
    return table(["SCHEDULE", "WHEN", "NEXT", "LAST TICK", "LATE", "STATE"], rows)


def as_json(seen: Snapshot, kind: str | None = None, name: str | None = None) -> dict[str, object]:
    """The same as one object."""
    queues, processes, topics = chosen(seen, kind, name)
    return {
        "namespace": seen.namespace,
        "now": seen.now,
        "redis": seen.server,
        "queues": list(queues),
        "topics": list(topics),
        "workers": [process for process in processes if process.kind == "worker"],
        "beats": [process for process in processes if process.kind == "beat"],
        "schedules": list(seen.schedules) if kind is None else [],
    }


def _all(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
