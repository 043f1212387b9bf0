"""The table of legal states of a message; docs/explanation/life-of-a-message.md is drawn from it.

It runs no code: the scripts do, and the model in tests/ compares each of their moves with it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Transition:
    """One legal move of a message: `script` is the Redis script or command that makes it, `by` who calls it."""

    source: str
    event: str
    target: str
    by: str
    script: str


FINAL = frozenset({"DONE", "DEAD", "CANCELLED", "EXPIRED"})
TRANSITIONS = tuple(
    Transition(*row)
    for row in (
        ("NONE", "delay", "WAITING", "producer", "XADD or ENQ"),
        ("NONE", "delay with countdown or eta", "DUE", "producer", "DEFER"),
        ("NONE", "tick accepted", "WAITING", "beat", "TICK"),
        ("NONE", "delay, key held by another", "NONE", "producer", "ENQ or DEFER"),
        ("DUE", "its time has come", "WAITING", "worker or beat", "MOVE"),
        ("WAITING", "read", "HELD", "worker", "XREADGROUP"),
        ("HELD", "renew, token ours", "HELD", "lease thread", "RENEW"),
        ("HELD", "idle for a lease, read by any worker", "HELD", "worker", "READ"),
        ("PARKED", "read", "HELD", "worker", "XREADGROUP CLAIM or READ"),
        ("HELD", "release", "PARKED", "worker", "RELEASE"),
        ("HELD", "its process died under --processes", "PARKED", "the parent", "RELEASE"),
        ("HELD", "start of a suspect", "HELD", "worker", "MARK"),
        ("HELD", "mark of an earlier start found", "DEAD", "worker", "SETTLE"),
        ("HELD", "done", "DONE", "worker", "DONE or SETTLE"),
        ("HELD", "an event that nobody in its group handles", "DONE", "worker", "IGNORE"),
        ("HELD", "dropped by the task", "CANCELLED", "worker", "SETTLE"),
        ("HELD", "expired", "EXPIRED", "worker", "SETTLE"),
        ("HELD", "retry, snooze or park", "DUE", "worker", "SETTLE"),
        ("HELD", "retry at once", "WAITING", "worker", "SETTLE"),
        ("HELD", "buried", "DEAD", "worker", "SETTLE or BURY"),
        ("HELD", "delivered far too often", "DEAD", "janitor", "BURY"),
        ("PARKED", "delivered far too often", "DEAD", "janitor", "BURY"),
        ("HELD", "any verdict with another token", "HELD", "an old owner", "none (Drop)"),
        ("DEAD", "replay", "WAITING", "operator", "REPLAY"),
        ("DEAD", "purge", "NONE", "operator", "XDEL"),
    )
)


def legal(source: str, target: str) -> bool:
    """May a message go from one state to the other?"""
    return any(row.source == source and row.target == target for row in TRANSITIONS)
