"""What goes over a child's socket comes out as it went in."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import pytest

from streamtask import Reject, Retry, Snooze, TaskOptions
from streamtask.child.origin import Handover, Origin
from streamtask.child.wire import LENGTHS, Call, Head, answer_of, dump_answer, parse
from streamtask.message import Message
from streamtask.policy import Decided, Failure, Misfit, Outcome, Raised, Returned, decide
from tests.unit.policy_facts import NOW, Custom, some_facts

MESSAGE = Message("1f", "t", b'{"x": 1}', {"attempt": 1, "headers": {"a": "ü"}, "later": [1, None]})


def through(packed: bytes) -> tuple[Head, bytes]:
    """A frame, taken apart."""
    head, body = LENGTHS.unpack(packed[: LENGTHS.size])
    rest = packed[LENGTHS.size :]
    assert len(rest) == head + body
    return parse(rest[:head]), rest[head:]


@pytest.mark.parametrize(
    "outcome",
    [
        Returned(),
        Returned(b"null"),
        Returned(b'{"bytes": "' + b"x" * 100_000 + b'"}'),
        Misfit("arguments", Failure("ValidationError", "x: no")),
        Misfit("result", Failure("ResultError", "no", "a trace")),
    ],
)
def test_what_a_function_gave_back(outcome: Outcome) -> None:
    assert answer_of(*through(dump_answer(outcome, decide)), MESSAGE) == outcome


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        Custom("half a character: \ud800"),
        Retry(3, reason="busy"),
        Retry(counts=False),
        Retry(at=datetime.fromtimestamp(NOW / 1000 + 9, UTC)),
        Snooze(60),
        Reject("broken"),
        Reject("of no use", bury=False),
        SystemExit(3),
    ],
    ids=repr,
)
@pytest.mark.parametrize("retries", [0, 5])
def test_the_verdict_on_what_it_raised(error: BaseException, retries: int) -> None:
    judge = partial(decide, some_facts(MESSAGE, options=TaskOptions(max_retries=retries)))
    assert answer_of(*through(dump_answer(Raised(error), judge)), MESSAGE) == Decided(judge(Raised(error)))


def test_a_call_and_its_context() -> None:
    call = Call(MESSAGE, "mail", "5-0", 2, "web:1/aa", NOW - 5000, NOW, 60.0, is_last_attempt=True)
    assert Call.of(*through(call.dump())) == call
    context = call.context()
    assert (context.id, context.attempt, context.args, context.headers) == ("1f", 2, {"x": 1}, {"a": "ü"})
    assert (context.queue, context.fence, context.worker, context.is_last_attempt) == (
        "mail",
        "5-0:2",
        "web:1/aa",
        True,
    )
    assert context.deadline is not None
    assert (context.deadline - context.started_at).total_seconds() == 60


def test_the_hand_over_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    handover = Handover(Origin("shop:app", ("more",), "redis://:secret@h", "ns"), 7, 42, 20)
    monkeypatch.setenv("_STREAMTASK_CHILD", handover.dump())
    assert Handover.at_hand() == handover
    assert Handover.at_hand() is None
