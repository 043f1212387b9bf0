"""What a worker or beat says when it starts: where it is, what it serves, and loudly what is wrong, with the fix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from streamtask import memory, size
from streamtask._version import __version__
from streamtask.address import Address, safe_url
from streamtask.app import StreamTask
from streamtask.broker.server import Server
from streamtask.cli.text import slot_counts
from streamtask.context import from_ms
from streamtask.duration import show
from streamtask.schedule import Schedule
from streamtask.task import Kind, Task
from streamtask.worker import Worker
from streamtask.worker.delivery import QueueState

#: What the table of tasks calls the kinds of slots.
KINDS: Mapping[Kind, str] = {"coroutine": "async", "thread": "thread", "child": "process"}
#: Tasks that the banner lists; those beyond are counted.
MOST_TASKS = 40


def head(kind: str, app: StreamTask, consumer: str, stop: str) -> str:
    """The first line."""
    return f"streamtask {__version__}  {kind} {app.name}@{consumer}    ({stop})"


def redis_lines(app: StreamTask, server: Server, url: str) -> list[str]:
    """The server, and the namespace in it."""
    engine = "" if server.engine == "redis" else f"{server.engine} "
    line = f"  redis     {engine}{server.version} {server.mode} {safe_url(url)}{_source(app.post.address)}"
    return [
        f"{line}  {', '.join(abilities(server))}   {', '.join(keeps(server))}".rstrip(),
        f"  namespace {app.namespace}",
    ]


def abilities(server: Server) -> list[str]:
    """What the server can do that not every one can."""
    able = [name for name, has in (("native claim", server.claim), ("ackdel", server.ackdel)) if has]
    return able or ["claim by script"]


def keeps(server: Server) -> list[str]:
    """How well it keeps what it is given."""
    found = [server.policy] if server.policy else []
    if server.aof is not None:
        found.append(f"aof {server.appendfsync or 'on'}" if server.aof else "no aof")
    return found


def worker_lines(worker: Worker, url: str, ticks: bool, processes: int = 0) -> list[str]:
    """The worker's banner, without warnings; `processes`: it is one of so many."""
    app, options = worker.app, worker.options
    slots = slot_counts(worker.slots)
    slots += f" in each of {processes} processes" if processes > 1 else ""
    times = f"lease {show(worker.lease)}, prefetch {options.prefetch * 1000:g} ms, grace {show(options.grace)}"
    queues = "  ".join(queue.name for queue in worker.queues if queue.subscription is None)
    lines = [
        head("worker", app, worker.consumer, "Ctrl-C to stop, twice to stop now"),
        *redis_lines(app, worker.server, url),
        f"  queues    {queues or 'none'}",
        *topic_lines(worker.queues),
        f"  slots     {slots}    {times}",
    ]
    if app.schedules:
        this = "yes" if ticks else "no (run `streamtask beat`)"
        lines.append(
            f"  schedules {len(app.schedules)} ({upcoming(app, worker.clock.now())})    this worker ticks: {this}"
        )
    return lines + task_lines(app)


def upcoming(app: StreamTask, now: int) -> str:
    """The schedule that ticks next, after `now` (ms)."""
    following = [(s.when.next_after(now), s.name) for s in app.schedules.values() if s.enabled]
    ticks = [(tick, name) for tick, name in following if tick is not None]
    if not ticks:
        return "none will tick"
    tick, name = min(ticks)
    return f"next: {name} at {_time(tick, now)}"


def task_lines(app: StreamTask) -> list[str]:
    """The table of tasks."""
    if not app.tasks:
        return []
    shown = sorted(app.tasks.values(), key=lambda task: task.name)[:MOST_TASKS]
    width = max(len(task.name) for task in shown)
    queue = max(len(task.queue) for task in shown)
    kind = max(6, *(len(KINDS[task.kind]) for task in shown))
    lines = []
    for i, task in enumerate(shown):
        label = f"  tasks     {len(app.tasks):<3} " if i == 0 else " " * 16
        line = f"{label}{task.name:<{width}}  {KINDS[task.kind]:<{kind}}  {task.queue:<{queue}}  {_about(app, task)}"
        lines.append(line.rstrip())
    if len(app.tasks) > MOST_TASKS:
        lines.append(f"{'':16}… and {len(app.tasks) - MOST_TASKS} more")
    return lines


def topic_lines(queues: Iterable[QueueState]) -> list[str]:
    """Each subscription: the topic, the group, and which function handles which type of event."""
    lines: list[str] = []
    for queue in queues:
        one = queue.subscription
        if one is None or queue.keys.kind != "topic":
            continue
        label = "  topics    " if not lines else " " * 12
        rest = [("all other types" if one.handlers else "all types", one.rest)] if one.rest is not None else []
        wired = [f"{kind} → {handler.name}" for kind, handler in (*sorted(one.handlers.items()), *rest)]
        lines.append(f"{label}{one.topic} as {one.group}: {', '.join(wired)}")
    return lines


def schedule_lines(schedules: Iterable[Schedule], now: int) -> list[str]:
    """The beat's table of schedules."""
    rows = sorted(schedules, key=lambda schedule: schedule.name)
    width = max((len(s.name) for s in rows), default=0)
    when = max((len(str(s.when)) for s in rows), default=0)
    lines = []
    for i, schedule in enumerate(rows):
        label = f"  schedules {len(rows):<3} " if i == 0 else " " * 16
        following = schedule.when.next_after(now) if schedule.enabled else None
        then = (
            "off" if not schedule.enabled else "no more ticks" if following is None else f"next {_time(following, now)}"
        )
        lines.append(f"{label}{schedule.name:<{width}}  {schedule.when!s:<{when}}  {then}")
    return lines or ["  schedules none"]


def warnings(app: StreamTask, server: Server) -> list[str]:
    """What is wrong with the app and the server, each with its fix."""
    found = []
    if server.aof is False:
        found.append("redis keeps nothing on disk (no aof): its restart loses every task. Set appendonly yes.")
    threads = [t.name for t in app.tasks.values() if t.task_options.timeout is not None and t.kind == "thread"]
    if threads:
        fix = "use process=True, make them `async def`, or let them look at current().cancelled"
        found.append(f"thread tasks with a timeout cannot be killed: {', '.join(sorted(threads))} ({fix})")
    limited = [t.name for t in app.tasks.values() if t.task_options.max_memory is not None and t.kind == "child"]
    if limited and not memory.KNOWS_OTHERS:
        found.append(f"max_memory is kept on Linux only, so there is no limit here: {', '.join(sorted(limited))}")
    return found


def worker_facts(worker: Worker, url: str, ticks: bool) -> dict[str, Any]:
    """The banner as fields of the event `worker.started`."""
    app, server, options = worker.app, worker.server, worker.options
    return {
        "version": __version__,
        "redis": {"engine": server.engine, "version": server.version, "mode": server.mode, "url": safe_url(url)},
        "redis_from": app.post.address.source,
        "namespace": app.namespace,
        "queues": [queue.name for queue in worker.queues if queue.subscription is None],
        "topics": [
            {"topic": one.topic, "group": one.group, "types": sorted(one.handlers), "others": one.rest is not None}
            for one in (queue.subscription for queue in worker.queues if queue.keys.kind == "topic")
            if one is not None
        ],
        "slots": worker.slots,
        "lease_s": worker.lease,
        "prefetch_s": options.prefetch,
        "grace_s": options.grace,
        "schedules": len(app.schedules),
        "ticks": ticks,
        "tasks": sorted(app.tasks),
    }


def _about(app: StreamTask, task: Task[..., Any]) -> str:
    options = task.task_options
    parts = [str(schedule.when) for schedule in app.schedules.values() if schedule.task == task.name]
    if not options.idempotent:
        parts.append("at most once")
    elif not parts or "max_retries" in options.given:
        parts.append("retries for ever" if options.max_retries is None else f"retries {options.max_retries}")
    if options.timeout is not None:
        parts.append(f"timeout {show(options.timeout)}")
    if options.max_memory is not None and task.kind == "child":
        parts.append(f"memory {size.show(options.max_memory)}")
    if options.unique is not None:
        by = options.unique.by
        parts.append("unique" if by is None else "unique by function" if callable(by) else f"unique {','.join(by)}")
    return "  ".join(parts)


def _source(address: Address) -> str:
    if address.source in ("REDIS_URL", "REDIS_HOST"):
        return f" (using {address.source})"
    return " (nothing names another)" if address.source == "default" else ""


def _time(tick: int, now: int) -> str:
    """The time of a tick in UTC; with its date when that is not today."""
    moment: datetime = from_ms(tick).astimezone(UTC)
    return f"{moment:%H:%M:%S} UTC" if moment.date() == from_ms(now).date() else f"{moment:%Y-%m-%d %H:%M:%S} UTC"
