"""publish(wait_for=...) while Redis is away: the conversation by hand, without a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis.exceptions import BusyLoadingError

from streamtask.broker import events
from streamtask.broker.events import until_handled
from streamtask.broker.link import NoScriptError, ResponseError
from streamtask.broker.sending import After
from streamtask.errors import SendError


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A clock that the test sets: `clock[0] = 5.0`."""
    now = [0.0]
    monkeypatch.setattr(events.time, "monotonic", lambda: now[0])
    return now


def test_an_outage_is_waited_out_and_ends_nothing() -> None:
    """The event is published: an error would make its publisher publish it again."""
    steps = until_handled("t", ["g", "h"], "5-5", 30)
    assert len(next(steps)) == 2
    again = steps.throw(SendError("no answer"))
    assert isinstance(again, After)
    again = steps.send([b"done", BusyLoadingError("LOADING Redis is loading the dataset in memory")])
    assert isinstance(again, After)
    assert len(again.commands) == 1, "the one that is over is asked about no more"
    with pytest.raises(StopIteration):
        steps.send([b"done"])


def test_one_that_lasts_is_told_when_the_time_is_over(clock: list[float]) -> None:
    steps = until_handled("t", ["g"], "5-5", 30)
    next(steps)
    clock[0] = 31.0
    with pytest.raises(TimeoutError, match=r"event 5-5 on t is not handled after 30 s by g \(no answer from Redis\)"):
        steps.throw(SendError("no answer from Redis"))


def test_a_refusal_that_does_not_pass_is_told_at_once() -> None:
    steps = until_handled("t", ["g"], "5-5", 30)
    next(steps)
    with pytest.raises(SendError, match="Redis does not tell whether g has handled 5-5: WRONGTYPE"):
        steps.send([ResponseError("WRONGTYPE")])


def test_a_server_that_forgot_the_script_is_given_it() -> None:
    steps = until_handled("t", ["g"], "5-5", 30)
    (call,) = next(steps)
    load, again = steps.send([NoScriptError("no")])  # type: ignore[misc]
    assert (load[:2], again) == (("SCRIPT", "LOAD"), call)
    with pytest.raises(StopIteration):
        steps.send([b"ok", b"done"])


def test_it_looks_less_and_less_often() -> None:
    steps = until_handled("t", ["g"], "5-5", 30)
    next(steps)
    pauses = [turn.pause for turn in (steps.send([b"held"]) for _ in range(20)) if isinstance(turn, After)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (events.LOOK, events.LONGEST_LOOK)
