"""Verdicts as script arguments: what SETTLE, DONE and RELEASE are given for a delivery. Pure; the completer sends
it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from streamtask.broker.broker import MOST_FIELDS
from streamtask.broker.keys import QueueKeys
from streamtask.broker.link import Arg
from streamtask.broker.lookup import VALUE_MARK
from streamtask.options import TaskOptions
from streamtask.outcome import DONE
from streamtask.policy import Again, Bury, Failure, Finish, Ignore, Release, Verdict
from streamtask.subscription import ONCE_TTL
from streamtask.worker.delivery import Delivery

#: Seconds for which the record of a failure is kept; a done result has the task's own `result_ttl`.
FAILURE_TTL = 24 * 3600.0
#: Milliseconds for which a retry holds its unique key from now on: the longest that a lock may live.
UNIQUE_TTL = 7 * 86_400_000
#: Number of the first key that items may name, see settle.lua and bury.lua.
FIRST_EXTRA, FIRST_EXTRA_BURY = 7, 5
#: What a message's meta may say without leaving anything in Redis that its end must tidy up.
_LEAVES_NOTHING = frozenset({"ttl", "headers", "parent", "root", "scheduled_for"})


@dataclass(slots=True)
class Batch:
    """What one flush sends for one queue."""

    done: list[Delivery] = field(default_factory=list)
    settle: list[tuple[Delivery, Verdict]] = field(default_factory=list)
    bury: list[tuple[Delivery, Bury]] = field(default_factory=list)
    release: list[tuple[Delivery, Release]] = field(default_factory=list)
    ignore: list[tuple[Delivery, Ignore]] = field(default_factory=list)


def is_plain(delivery: Delivery, verdict: Verdict) -> bool:
    """May the cheap DONE end it? Only what leaves nothing behind: no result, no unique key, never moved, no mark."""
    if verdict is not DONE and verdict != DONE:
        return False
    message = delivery.message
    if message is None or delivery.alone or _may_be_marked(delivery):
        return False
    if delivery.queue.subscription is not None:  # the topic keeps its entry; the group's own queue has moved it
        return delivery.queue.keys.kind == "topic" and delivery.once is None
    return not message.meta or message.meta.keys() <= _LEAVES_NOTHING


def settle_items(
    keys: QueueKeys, items: list[tuple[Delivery, Verdict]], worker: str, now: int
) -> tuple[list[str], list[Arg]]:
    """The extra keys and the arguments of one SETTLE; `now` is ms of Redis time."""
    extra: list[str] = []
    args: list[Arg] = []

    def key(name: str) -> int:
        extra.append(name)
        return FIRST_EXTRA + len(extra) - 1

    for delivery, verdict in items:
        name = _lock_of(delivery, keys, verdict)
        lock = key(name) if name else 0
        marked = "1" if _may_be_marked(delivery) else "0"
        token = (delivery.id, delivery.count, delivery.message_id, marked, lock, UNIQUE_TTL)
        if isinstance(verdict, Again):
            fields = verdict.message.fields()
            delay = int(verdict.delay * 1000)
            if keys.kind == "topic":  # never back into the topic, where all groups would see it
                delay = max(1, delay)
            args += ("R", *token, 0, "", 0, delay, len(fields), *fields)
            continue
        record, ttl = _record(delivery, verdict, worker, now)
        result = key(_result_of(delivery, keys, verdict)) if ttl else 0
        if isinstance(verdict, Bury):
            fields = dead_fields(delivery, verdict, now)
            args += ("X", *token, result, record, ttl, 0, len(fields), *fields)
        else:
            args += ("D", *token, result, record, ttl, 0, 0)
    return extra, args


def release_items(items: list[tuple[Delivery, Release]]) -> list[Arg]:
    """The arguments of one RELEASE."""
    args: list[Arg] = []
    for delivery, verdict in items:
        started, marked = "1" if verdict.started else "0", "1" if _may_be_marked(delivery) else "0"
        args += (delivery.id, delivery.count, started, delivery.message_id, marked)
    return args


def bury_items(
    keys: QueueKeys, items: list[tuple[Delivery, Bury]], worker: str, now: int
) -> tuple[list[str], list[Arg]]:
    """The extra keys and the arguments of one BURY, for dead letters whose bodies the server has."""
    extra: list[str] = []
    args: list[Arg] = []
    for delivery, verdict in items:
        lock = _lock_of(delivery, keys, verdict)
        record, ttl = _record(delivery, verdict, worker, now)
        result = keys.result(delivery.message_id) if ttl else ""
        token = (delivery.id, worker, delivery.count, delivery.message_id)
        more, flat = bury_item(token, lock, result, record, ttl, epitaph_of(delivery, verdict, now), len(extra))
        extra += more
        args += flat
    return extra, args


def bury_item(
    token: tuple[Arg, Arg, Arg, Arg],
    lock: str,
    result: str,
    record: bytes,
    ttl: int,
    epitaph: list[bytes | str],
    extra: int = 0,
) -> tuple[list[str], list[Arg]]:
    """The extra keys ("" for none) and the arguments of one item of BURY; `extra` keys are named already.

    `token` is entry id, owner, delivery count, message id.
    """
    more: list[str] = []

    def key(name: str) -> int:
        if not name:
            return 0
        more.append(name)
        return FIRST_EXTRA_BURY + extra + len(more) - 1

    return more, [*token, key(lock), key(result), record, ttl, len(epitaph), *epitaph]


def dead_fields(delivery: Delivery, verdict: Bury, now: int) -> list[bytes | str]:
    """A dead letter: the entry's own fields, byte for byte, and what became of it.

    Of an entry with too many fields they stand in `dead_fields`, one after the other as netstrings.
    """
    fields: list[bytes | str] = list(delivery.fields)
    if len(fields) > MOST_FIELDS:
        fields = ["dead_fields", b"".join(b"%d:%b," % (len(value), value) for value in delivery.fields)]
    return fields + epitaph_of(delivery, verdict, now)


def epitaph_of(delivery: Delivery, verdict: Bury, now: int) -> list[bytes | str]:
    """What a dead letter says of a delivery's end."""
    attempt = delivery.message.attempt + (1 if delivery.started_ms else 0) if delivery.message is not None else 0
    group = delivery.queue.keys.group
    return epitaph(group, delivery.id.decode(), delivery.message_id, verdict, delivery.count, attempt, now)


def epitaph(
    group: str, stream_id: str, message_id: str, verdict: Bury, deliveries: int, attempt: int, now: int
) -> list[bytes | str]:
    """The `dead_*` fields that follow the message's own in a dead letter; `now` is ms of Redis time."""
    failure = verdict.failure
    dead = {
        "group": group,
        "stream_id": stream_id,
        "id": message_id,
        "reason": verdict.reason,
        "error": f"{failure.type}: {failure.message}",
        "traceback": failure.traceback,
        "deliveries": str(deliveries),
        "attempt": str(attempt),
        "at": str(now),
    }
    fields: list[bytes | str] = []
    for name, value in dead.items():
        fields += (f"dead_{name}", value.encode(errors="replace"))
    return fields


def lesser(delivery: Delivery, verdict: Verdict, error: str) -> Verdict | None:
    """What can be written in place of a verdict that Redis refused for good; None when nothing is left.

    A result is left out, then the record of its end; then the message becomes a dead letter, then one whose body the
    server copies.
    """
    if isinstance(verdict, Finish) and verdict.result is not None:
        return Finish(verdict.state, None, "the result could not be stored")
    if isinstance(verdict, Finish) and verdict.note:
        return Finish(verdict.state)
    if isinstance(verdict, Release | Ignore) or delivery.by_copy:
        return None
    if isinstance(verdict, Bury):
        delivery.by_copy = True
        return verdict
    return Bury("result", Failure("Unwritable", error))


def weight(delivery: Delivery, verdict: Verdict) -> int:
    """About how many bytes must be sent to write a verdict."""
    if isinstance(verdict, Finish):
        return 1000 + len(verdict.result or b"")
    body = 0 if delivery.by_copy or isinstance(verdict, Release | Ignore) else sum(map(len, delivery.fields))
    return 1000 + body


def _may_be_marked(delivery: Delivery) -> bool:
    task = delivery.task
    return task is not None and delivery.count >= task.task_options.max_deliveries


def _lock_of(delivery: Delivery, keys: QueueKeys, verdict: Verdict) -> str:
    """The lock that its end opens, or its retry keeps: of a unique key, or of an event that is handled once."""
    if delivery.queue.subscription is not None:
        done = isinstance(verdict, Finish) and verdict.state == "done"  # then it stays shut, see `_record`
        return "" if done else delivery.once or ""
    unique = delivery.unique if delivery.message is None or delivery.message.meta else None
    return keys.unique(delivery.task_name or "", unique) if unique else ""


def _result_of(delivery: Delivery, keys: QueueKeys, verdict: Verdict) -> str:
    """Where its end is told."""
    if isinstance(verdict, Finish) and delivery.once is not None:
        return delivery.once
    return keys.result(delivery.message_id)


def _record(delivery: Delivery, verdict: Verdict, worker: str, now: int) -> tuple[bytes, int]:
    """The result record and its ttl in ms; 0 when the sender cannot wait for one."""
    options = delivery.task.task_options if delivery.task is not None else TaskOptions()
    if delivery.queue.subscription is not None:
        if isinstance(verdict, Finish):
            once = delivery.once is not None and verdict.state == "done"
            return (b"done", int(ONCE_TTL * 1000)) if once else (b"", 0)
    elif not options.result:
        return b"", 0
    message = delivery.message
    record: dict[str, Any] = {
        "state": "dead",
        "task": delivery.task_name,
        "attempt": message.attempt + 1 if message is not None else 0,
        "deliveries": delivery.count,
        "worker": worker,
        "sent_at": delivery.sent_ms,
        "started_at": delivery.started_ms,
        "finished_at": now,
    }
    if isinstance(verdict, Bury):
        return dead_record(record, verdict)
    if isinstance(verdict, Finish):
        record["state"] = verdict.state
        if verdict.note:
            record["reason"] = verdict.note
        if verdict.state == "done":
            ttl = max(1, int(options.result_ttl * 1000))
            if verdict.result is not None:  # last, so that a reader can cut the value's JSON out
                return to_json(record)[:-1] + VALUE_MARK + verdict.result + b"}", ttl
            return to_json(record, inf_nan_mode="strings"), ttl
    return to_json(record, inf_nan_mode="strings"), int(FAILURE_TTL * 1000)


def dead_record(facts: dict[str, Any], verdict: Bury) -> tuple[bytes, int]:
    """The result record of a dead letter and its ttl in ms; `facts` say what was delivered, where and when."""
    failure: Failure = verdict.failure
    error = {"type": failure.type, "message": failure.message, "traceback": failure.traceback}
    record = {**facts, "state": "dead", "reason": verdict.reason, "error": error}
    return to_json(record, inf_nan_mode="strings"), int(FAILURE_TTL * 1000)
