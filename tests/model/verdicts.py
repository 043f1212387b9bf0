"""Outcomes by name, and the verdicts of the real `streamtask.policy.decide`, cut to what a script needs."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from streamtask.message import Message
from streamtask.options import RetryPolicy, TaskOptions
from streamtask.policy import (
    Again,
    Bury,
    Drop,
    Facts,
    Failure,
    Finish,
    Late,
    Lost,
    Misfit,
    Outcome,
    OverMemory,
    Poison,
    Raised,
    Release,
    Returned,
    Stopped,
    TimedOut,
    decide,
)
from streamtask.steering import Reject, Retry, Snooze

#: Seconds of the model's only wait before a retry.
RETRY_WAIT = 0.3


class Verdict(NamedTuple):
    """D final, R again, X dead letter, L release, - drop. `state`: of a final one, or the reason of a dead letter."""

    op: str
    state: str = ""
    delay: int = 0
    attempt: int = 0
    started: bool = False


def outcome_of(name: str, deliveries: int) -> Outcome:
    """What happened to an attempt, by the model's name for it."""
    boom = Failure("Boom", "boom")
    outcomes: dict[str, Outcome] = {
        "returned": Returned(b"1"),
        "raised": Raised(RuntimeError("boom")),
        "retry at once": Raised(Retry(delay=0)),
        "snoozed": Raised(Snooze(delay=RETRY_WAIT)),
        "rejected": Raised(Reject("no")),
        "dropped": Raised(Reject("no", bury=False)),
        "timed out": TimedOut(1.0),
        "over memory": OverMemory(2, 1),
        "late": Late(),
        "poison": Poison(deliveries),
        "stopped": Stopped(started=True),
        "never started": Stopped(started=False),
        "lost": Lost(),
        "garbage": Misfit("decode", boom),
        "unknown": Misfit("unknown_task", boom),
    }
    return outcomes[name]


@lru_cache(maxsize=4096)
def verdict(name: str, deliveries: int, attempt: int, read: bool, cap: int, retries: int, idempotent: bool) -> Verdict:
    """The real decision. `read`: the message was decoded."""
    options = TaskOptions(
        max_deliveries=cap,
        max_retries=retries,
        idempotent=idempotent,
        retry=RetryPolicy(base=RETRY_WAIT, factor=1, jitter="none"),
    )
    message = Message("m", "t", meta={"attempt": attempt}) if read else None
    found = decide(Facts(message, options, 0, 0, 0.5, "w"), outcome_of(name, deliveries))
    match found:
        case Finish(state):
            return Verdict("D", state)
        case Bury(reason):
            return Verdict("X", reason)
        case Again(message, delay):
            return Verdict("R", "", int(delay * 1000), message.attempt)
        case Release(started):
            return Verdict("L", started=started)
        case Drop():
            return Verdict("-")
