"""The judge itself: what it must not let pass."""

from __future__ import annotations

import pytest

from tests.chaos.judge import Fault, Judge, Judgement
from tests.chaos.producer import Sent
from tests.e2e.fleet import Run

A, B = 100, 200  # two processes
LEASE = 3.0


def run(what: str, at: float, pid: int = A, n: int = 0, deliveries: int = 1, attempt: int = 1, id: str = "x") -> Run:
    return Run(what, str(n), id, pid, deliveries, attempt, at)


def judged(sent: list[Sent], runs: list[Run], *faults: Fault, dead: dict[int, list[str]] | None = None) -> Judgement:
    return Judge(sent, runs, dead or {}, faults, LEASE).judge()


ONE = Sent(0, "quick", id="x", began=1.0, ended=1.1)
ONCE = [run("start", 2.0), run("end", 3.0)]
TWICE = [*ONCE, run("start", 9.0, pid=B, deliveries=2), run("end", 10.0, pid=B, deliveries=2)]


def test_once_is_good_and_is_counted() -> None:
    found = judged([ONE], ONCE)
    assert (found.wrong, found.done, found.repeats) == ([], 1, [])


@pytest.mark.parametrize(
    "fault",
    [
        Fault("kill -9", 2.5, 2.6, A),
        Fault("kill -9", 5.0, 5.1, A),  # its end was not written yet
        Fault("SIGSTOP", 2.5, 7.0, A),
        Fault("lost_request", 3.0, 3.0, A, "renew"),
        Fault("stalled", 4.0, 7.0, A),
        Fault("SIGSTOP", 5.0, 8.95, B),  # in the moment of the second start
        Fault("late_reply", 0.5, 1.9, A, "xreadgroup"),  # so it lay unrenewed
    ],
)
def test_a_repeat_that_a_fault_explains(fault: Fault) -> None:
    found = judged([ONE], TWICE, fault)
    assert found.wrong == []
    assert list(found.causes) == [str(fault)]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("kill -9", 2.5, 2.6, B),  # another worker
        Fault("kill -9", 1.0, 1.1, A),  # before it started
        Fault("kill -9", 9.5, 9.6, A),  # after it had started again
        Fault("SIGSTOP", 2.5, 2.7, A),  # not for long enough
        Fault("SIGSTOP", 4.0, 8.0, B),  # long awake again
        Fault("lost_reply", 3.0, 3.0, A, "renew"),  # it was renewed
        Fault("lost_reply", 3.0, 3.0, A, "xreadgroup"),  # costs no start
        Fault("lost_reply", 3.0, 3.0, A, "done"),
        Fault("redis kill -9", 2.5, 8.0),
        Fault("SCRIPT FLUSH", 3.0, 3.0),
        Fault("maxmemory", 3.0, 4.0),
    ],
)
def test_a_repeat_that_nothing_explains(fault: Fault) -> None:
    found = judged([ONE], TWICE, fault)
    assert len(found.wrong) == 1
    assert "no fault" in found.wrong[0]


KILLED = Fault("kill -9", 2.5, 2.6, A)


@pytest.mark.parametrize(
    ("sent", "runs", "dead", "what"),
    [
        ([ONE], [], {}, "should be done"),
        ([ONE], [run("start", 2.0)], {}, "should be done"),
        ([ONE], ONCE, {0: ["poison"]}, "should be done"),
        ([ONE], [run("start", 2.0, id="y"), run("end", 3.0, id="y")], {}, "was sent once"),
        ([ONE], [*ONCE, run("start", 4.0, id="y"), run("end", 5.0, id="y")], {}, "was sent once"),
        ([ONE], [run("start", 2.0), run("start", 2.5, deliveries=2), run("end", 3.0)], {}, "twice at once"),
        ([ONE], [*ONCE, run("start", 4.0, pid=B), run("end", 5.0, pid=B)], {}, "one token"),
        ([ONE], [*ONCE, run("start", 4.0, attempt=2), run("end", 5.0, attempt=2)], {}, "attempts"),
        ([Sent(0, "quick", id="x", began=1.0, ended=1.1, countdown=5.0)], ONCE, {}, "early"),
        ([Sent(0, "flaky", id="x", fails=3)], [], {}, "one dead letter"),
        ([Sent(0, "flaky", id="x", fails=3)], ONCE, {0: ["retries"]}, "one dead letter"),
        ([Sent(0, "single", id="x", duplicate=True)], ONCE, {}, "no message of its own"),
        ([Sent(0, "quick", doubtful=True)], [run("start", 2.0)], {}, "should be done"),
        ([], ONCE, {}, "never sent"),
    ],
)
def test_what_is_wrong_is_said(sent: list[Sent], runs: list[Run], dead: dict[int, list[str]], what: str) -> None:
    assert any(what in text for text in judged(sent, runs, KILLED, dead=dead).wrong)


def test_a_send_in_doubt_may_be_there_or_not() -> None:
    doubtful = Sent(0, "quick", doubtful=True, began=1.0)
    assert judged([doubtful], []).wrong == []
    found = judged([doubtful], ONCE)
    assert (found.wrong, found.doubtful, found.doubtful_done) == ([], 1, 1)


def test_a_key_is_given_away_only_when_its_holder_has_ended() -> None:
    first = Sent(0, "single", key=1, id="x", began=1.0, ended=1.1)
    second = Sent(1, "single", key=1, id="y", began=4.0, ended=4.1)
    after = [run("start", 5.0, n=1, id="y"), run("end", 6.0, n=1, id="y")]
    assert judged([first, second], [*ONCE, *after]).wrong == []
    late = [run("start", 4.5, pid=B, deliveries=2), run("end", 4.6, pid=B, deliveries=2)]
    assert any("under the key" in text for text in judged([first, second], [*ONCE, *late, *after], KILLED).wrong)
