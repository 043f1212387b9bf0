"""What becomes of a delivery: outcomes, verdicts, and the pure decision between them.

`decide()` knows no Redis, no clock and no chance: time and the random draw come in with the facts.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from streamtask.duration import seconds
from streamtask.envelope import AnyMessage
from streamtask.options import RetryPolicy, TaskOptions
from streamtask.size import show
from streamtask.steering import Reject, Retry, Snooze

#: Seconds that a message waits before it is offered again to a worker that may know it.
PARK = 30.0
#: Seconds after which a message that no worker could take becomes a dead letter, unless a setting says otherwise.
UNKNOWN_GRACE = 600.0
#: Longest error text and traceback that are kept, in characters; and how many failed attempts a message remembers.
ERROR_TEXT, TRACEBACK_TEXT, ERRORS_KEPT = 1_000, 8_192, 3

_OURS = tuple(str(Path(__file__).parent / package) for package in ("worker", "child"))

DeadReason = Literal["retries", "poison", "reject", "decode", "unknown_task", "arguments", "result", "interrupted"]


# -- outcomes: what happened to one attempt ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as text, cut to size; never the exception object itself."""

    type: str
    message: str
    traceback: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """The error's name, text and traceback, without what JSON cannot carry (half characters, as in some paths)."""
        text = "".join(traceback.format_exception(type(error), error, _theirs(error.__traceback__)))
        if len(text) > TRACEBACK_TEXT:  # the end names the error, so the beginning goes
            text = "…" + text[-TRACEBACK_TEXT:]
        return cls(type(error).__qualname__, _storable(_safe_str(error)[:ERROR_TEXT]), _storable(text))


def _theirs(frames: TracebackType | None) -> TracebackType | None:
    """The traceback from the user's first frame on; all of it when the error is one of ours."""
    frame = frames
    while frame is not None and frame.tb_frame.f_code.co_filename.startswith(_OURS):
        frame = frame.tb_next
    return frame or frames


def _safe_str(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - a user's __str__ may fail; the worker must not
        return f"<{type(broken).__name__} in {type(error).__name__}.__str__>"


def _storable(text: str) -> str:
    return text.encode(errors="replace").decode()


@dataclass(frozen=True, slots=True)
class Returned:
    """The function returned; `result` is its value as JSON, None when no result is kept."""

    result: bytes | None = None


@dataclass(frozen=True, slots=True)
class Raised:
    """The function raised."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The attempt ran longer than its `timeout` (seconds)."""

    timeout: float


@dataclass(frozen=True, slots=True)
class OverMemory:
    """The child process that ran it held `used` bytes, with what it had started; its `max_memory` allows `allowed`."""

    used: int
    allowed: int


@dataclass(frozen=True, slots=True)
class Misfit:
    """This worker cannot run it: `decode`, `unknown_task`, `arguments` or `result`."""

    reason: DeadReason
    failure: Failure


@dataclass(frozen=True, slots=True)
class Late:
    """Not started within its `expires`."""


@dataclass(frozen=True, slots=True)
class Poison:
    """An earlier start of this delivery's message was marked and never ended: its worker died."""

    deliveries: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """The worker is stopping and gives the message back; `started`: the function had begun."""

    started: bool


@dataclass(frozen=True, slots=True)
class Died:
    """The child process that ran it ended by itself (`how`: a signal or an exit code), in its delivery number
    `deliveries`. A child runs one task at a time, so there is no doubt whose death it was.
    """

    how: str
    deliveries: int


@dataclass(frozen=True, slots=True)
class Decided:
    """A child process has decided, since it alone has the exception itself."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Stray:
    """An event of a type for which this worker has no handler; others of its group may have one."""

    type: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The lease went to another worker; whatever this one knows is no longer its to say."""


Outcome = (
    Returned | Raised | TimedOut | OverMemory | Misfit | Late | Poison | Stopped | Died | Decided | Stray | Lost
)  # fmt: skip


# -- verdicts: what is written to Redis --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finish:
    """Final and not dead: `done` (with the result's JSON), `cancelled` or `expired`."""

    state: Literal["done", "cancelled", "expired"]
    result: bytes | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bury:
    """Final: a dead letter."""

    reason: DeadReason
    failure: Failure


@dataclass(frozen=True, slots=True)
class Again:
    """The message goes back to wait `delay` seconds; `kind` names why."""

    message: AnyMessage
    delay: float
    kind: Literal["retry", "snooze", "park"]
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """Back into the stream for any worker, at once; `started` keeps its delivery count."""

    started: bool


@dataclass(frozen=True, slots=True)
class Ignore:
    """An event that no worker of the group has a handler for is acknowledged; asked in the same step. If one has, it is
    given back to that one, or buried when that one has been gone for `grace` seconds.
    """

    type: str
    grace: float


@dataclass(frozen=True, slots=True)
class Drop:
    """Write nothing: it is not ours any more."""


Verdict = Finish | Bury | Again | Release | Ignore | Drop


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision rests on. `now` and `sent_at` are milliseconds of Redis time, `random` is drawn from [0, 1)."""

    message: AnyMessage | None
    options: TaskOptions
    sent_at: int
    now: int
    random: float
    worker: str
    unknown_grace: float = UNKNOWN_GRACE


def decide(facts: Facts, outcome: Outcome) -> Verdict:
    """The verdict on one delivery. Pure: the same facts and outcome give the same verdict."""
    match outcome:
        case Returned(result):
            return Finish("done", result)
        case Raised(error):
            return _raised(facts, error)
        case TimedOut() | OverMemory():
            return _failed(facts, _overrun(outcome))
        case Misfit(reason, failure):
            return _misfit(facts, reason, failure)
        case Late():
            return Finish("expired", note="not started in time")
        case Poison(deliveries):
            alone = " alone among suspects" if facts.options.max_deliveries > 1 else ""
            text = f"its worker died while it ran{alone} (delivery {deliveries} of {facts.options.max_deliveries})"
            return Bury("poison", Failure("WorkerDied", text))
        case Stopped() | Died():
            return _interrupted(facts, outcome)
        case Decided(verdict):
            return verdict
        case Stray() | Lost():
            return _not_ours(facts, outcome)


def _not_ours(facts: Facts, outcome: Stray | Lost) -> Verdict:
    return Ignore(outcome.type, facts.unknown_grace) if isinstance(outcome, Stray) else Drop()


def _overrun(outcome: TimedOut | OverMemory) -> Failure:
    if isinstance(outcome, TimedOut):
        return Failure("TimeoutError", f"took longer than its timeout of {outcome.timeout:g} s")
    text = f"it used {show(outcome.used)}, {show(outcome.allowed)} are allowed (max_memory)"
    return Failure("MemoryLimitExceeded", text)


def _interrupted(facts: Facts, outcome: Stopped | Died) -> Verdict:
    """Given back, as far as another start is allowed; a death counts like that of a whole worker."""
    options = facts.options
    if isinstance(outcome, Stopped):
        if not outcome.started or options.idempotent:
            return Release(outcome.started)
        text = "the worker stopped while it ran, and idempotent=False forbids a second start"
        return Bury("interrupted", Failure("Interrupted", text))
    if outcome.deliveries < options.max_deliveries and options.idempotent:
        return Release(started=True)
    of = f"delivery {outcome.deliveries} of {options.max_deliveries}"
    return Bury("poison", Failure("ChildDied", f"its child process died ({outcome.how}) while it ran ({of})"))


def _raised(facts: Facts, error: BaseException) -> Verdict:
    message = _message(facts)
    if isinstance(error, Snooze) or (isinstance(error, Retry) and not error.counts):
        delay = _delay(facts, error)
        if delay is None:  # Retry(counts=False) without a time: the policy's first wait
            delay = facts.options.retry.delay(1, facts.random)
        return Again(_kept(facts, message), delay, "snooze")
    if isinstance(error, Reject):
        failure = Failure.of(error)
        return Bury("reject", failure) if error.bury else Finish("cancelled", note=error.reason)
    if isinstance(error, Retry):
        return _failed(facts, Failure.of(error.__cause__ or error), _delay(facts, error))
    policy = facts.options.retry
    failure = Failure.of(error)
    if isinstance(error, Exception) and not policy.retries(error):  # SystemExit and the like are failures as any other
        return Bury("retries", failure)
    return _failed(facts, failure, _retry_after(policy, error))


def _retry_after(policy: RetryPolicy, error: BaseException) -> float | None:
    """The wait that the policy's own function reads out of the error; None when it has none to give."""
    try:
        wait = policy.retry_after(error) if policy.retry_after else None
        return None if wait is None else seconds(wait)
    except Exception:  # noqa: BLE001 - a user's function may fail or give nonsense; the failed task still needs a verdict
        return None


def _delay(facts: Facts, error: Retry | Snooze) -> float | None:
    if error.at is not None:
        return max(0.0, error.at.timestamp() - facts.now / 1000)
    return error.delay


def _failed(facts: Facts, failure: Failure, wait: float | None = None) -> Verdict:
    """One more failed attempt: again while retries are left, else a dead letter with the last error."""
    message, options = _message(facts), facts.options
    failed = message.attempt + 1
    if options.max_retries is not None and failed > options.max_retries:
        return Bury("retries", failure)
    delay = options.retry.delay(failed, facts.random) if wait is None else max(0.0, wait)
    entry = {"at": facts.now, "worker": facts.worker, "type": failure.type, "message": failure.message}
    errors = [*message.meta.get("errors", ()), entry][-ERRORS_KEPT:]
    again = _kept(facts, message, attempt=failed, errors=errors)
    return Again(again, delay, "retry", failure)


def gone(type: str, age: float) -> Bury:
    """The verdict on an event whose handlers have all been gone for longer than the grace; `age` in seconds."""
    since = "none has said so for as long as Redis knows" if age > 10**9 else f"the last one was there {age:.0f} s ago"
    text = f"no worker of the group has a handler for {type} any more; {since}"
    return Bury("unknown_task", Failure("UnknownEventType", text))


def _misfit(facts: Facts, reason: DeadReason, failure: Failure) -> Verdict:
    """A rolling deploy is the usual cause, so a misfit is parked before it is buried."""
    message = facts.message
    if message is None or reason not in ("unknown_task", "arguments"):
        return Bury(reason, failure)
    first_seen = min(message.meta.get("first_seen", facts.now), facts.now)  # a clock may have been ahead
    left = first_seen / 1000 + facts.unknown_grace - facts.now / 1000
    if left <= 0:
        return Bury(reason, failure)
    return Again(_kept(facts, message, first_seen=first_seen), min(PARK, left), "park", failure)


def _kept(facts: Facts, message: AnyMessage, **changes: Any) -> AnyMessage:
    """The message for its next entry; the entry id's time would be lost, so it moves into the meta.

    `first_seen` stays only while it is parked: a worker that ran it knew it, and the next grace starts anew.
    """
    kept = {key: value for key, value in message.meta.items() if key != "first_seen"}
    return message._replace(meta={**kept, "sent_at": facts.sent_at, **changes})


def _message(facts: Facts) -> AnyMessage:
    assert facts.message is not None, "only a message that was read can run"
    return facts.message
