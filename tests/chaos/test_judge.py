"""The judge itself: what it must not let pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from tests.chaos.evidence import Fault
from tests.chaos.judge import Judge, Judgement
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


def turns(*missing: int, pid: int = A) -> list[Fault]:
    """The lease thread's turns, one a second but for the `missing`, as the proxy saw them."""
    return [Fault("turn", at, at + 0.01, pid, "set") for at in range(-5, 12) if at not in missing]


def renew(kind: str, at: float, pid: int = A) -> Fault:
    return Fault(kind, at, at, pid, "renew")


@pytest.mark.parametrize(
    ("faults", "missing"),
    [
        ([Fault("kill -9", 2.5, 2.6, A)], range(3, 12)),
        ([Fault("kill -9", 5.0, 5.1, A)], range(5, 12)),  # its end was not written yet
        ([Fault("SIGSTOP", 2.5, 7.0, A)], range(3, 7)),
        ([Fault("SIGSTOP", 2.51, 7.0, A), Fault("stalled", 2.5, 7.0, A)], range(3, 7)),
        ([Fault("stalled", 4.0, 7.0, A)], range(4, 7)),
        ([Fault("stalled", 4.0 + n / 2, 4.3 + n / 2, A) for n in range(4)], range(4, 6)),  # again and again
        ([Fault("stalled", 4.0, 7.0)], range(4, 7)),  # the proxy
        ([renew("lost_request", 4.0), renew("half_reply", 5.0)], range(4, 6)),
        ([Fault("redis kill -9", 2.5, 6.0), renew("lost_request", 6.5)], range(3, 8)),
        ([Fault("late_reply", 0.1, 1.99, A, "xreadgroup")], ()),  # so it lay unrenewed
        ([Fault("stalled", 0.1, 1.99)], ()),
    ],
)
def test_a_repeat_that_the_faults_explain(faults: list[Fault], missing: Iterable[int]) -> None:
    found = judged([ONE], TWICE, *faults, *turns(*missing))
    assert found.wrong == []
    last = faults[-1] if faults[0].kind.startswith("redis") else faults[0]
    assert list(found.causes) == [f"{last.kind} {last.command}".strip()]


@pytest.mark.parametrize(
    ("faults", "missing"),
    [
        ([Fault("kill -9", 2.5, 2.6, B)], ()),  # another worker
        ([Fault("kill -9", 1.0, 1.1, A)], range(3, 12)),  # before it started
        ([Fault("kill -9", 9.5, 9.6, A)], range(3, 12)),  # after it had started again
        ([Fault("kill -9", 7.5, 7.6, A)], range(8, 12)),  # others had to wait for a lease after that
        ([Fault("SIGSTOP", 2.5, 2.7, A)], ()),
        ([Fault("SIGSTOP", 2.5, 7.0, A)], ()),  # its lease thread got through all the same
        ([Fault("SIGSTOP", 2.5, 7.0, B)], range(3, 7)),  # it was not A that stood
        ([Fault("SIGSTOP", 2.1, 2.9, A)], range(4, 7)),  # it was renewed after that
        ([Fault("SIGSTOP", -3.5, 0.9, A)], range(-3, 1)),  # it started after that
        ([Fault("SIGSTOP", 7.5, 10.9, A)], range(8, 11)),  # the second one started too early for that
        ([Fault("SIGSTOP", 4.0, 8.0, B)], ()),
        ([Fault("stalled", 4.0, 4.4, A)], range(4, 7)),  # for the most part it could have renewed
        ([Fault("stalled", 4.0, 5.2, A)], range(4, 5)),  # not for long enough
        ([Fault("stalled", 4.0, 4.9, A), Fault("stalled", 4.0, 4.9)], range(4, 7)),  # the same time twice
        ([Fault("SCRIPT FLUSH", 3.0, 3.0)], range(3, 7)),  # it does not renew, and nothing says why
        ([Fault("maxmemory", 3.0, 7.0)], range(3, 7)),
        ([Fault("redis kill -9", 2.5, 8.0)], range(3, 9)),  # the others have to wait for it
        ([Fault("redis kill -9", 2.5, 8.0)], range(3, 10)),
        ([Fault("redis kill -9", 2.5, 6.0), Fault("stalled", 6.1, 6.5, A)], range(3, 7)),  # it was in time all the same
        ([renew("lost_request", 3.0)], (3,)),  # the next turn is in time
        ([renew("lost_request", at, B) for at in (4.0, 5.0)], (4, 5)),
        ([Fault("lost_request", at, at, A, "done") for at in (4.0, 5.0)], (4, 5)),
        ([Fault("lost_reply", 3.0, 3.0, A, "done")], ()),
        ([Fault("lost_reply", 3.0, 3.0, A, "xreadgroup")], ()),  # costs no start
        ([Fault("silence", 0.1, 1.99, A, "xreadgroup")], ()),
        ([Fault("late_reply", 0.2, 1.8, A, "xreadgroup")], ()),  # not by that much
        ([Fault("late_reply", 0.1, 1.99, B, "xreadgroup")], ()),
        ([Fault("stalled", at / 4 - 1, at / 4 - 0.82) for at in range(12)], ()),  # no answer was late by all that
    ],
)
def test_a_repeat_that_nothing_explains(faults: list[Fault], missing: Iterable[int]) -> None:
    found = judged([ONE], TWICE, *faults, *turns(*missing))
    assert len(found.wrong) == 1
    assert "no fault" in found.wrong[0]


#: A second start one second after the first; and the first of two starts that comes after the second.
SOON = [*ONCE, run("start", 3.0, pid=B, deliveries=2), run("end", 3.5, pid=B, deliveries=2)]
LATE = [run("start", 8.0, pid=B, deliveries=2), run("end", 8.5, pid=B, deliveries=2), run("start", 9.0)]
DIES = Fault("kill -9", 2.1, 2.2, A)


@pytest.mark.parametrize(
    ("runs", "late", "faults", "good"),
    [
        (SOON, 0.0, [DIES], False),
        (SOON, 0.0, [DIES, Fault("SIGSTOP", 1.5, 1.99, A)], False),  # awake, it looked at the clock first
        (SOON, 0.5, [DIES, Fault("SIGSTOP", 1.5, 1.99, A)], True),  # it had looked before
        (SOON, 0.5, [DIES], False),  # that it stood still was not noted
        (SOON, 0.0, [DIES, Fault("late_reply", 1.4, 2.0, A, "read")], True),
        (LATE, 5.0, [Fault("SIGSTOP", 4.0, 8.9, A), *turns(4, 5, 6, 7, 8)], True),
        (LATE, 0.1, [Fault("SIGSTOP", 4.0, 8.9, A), *turns(4, 5, 6, 7, 8)], False),
        (LATE, 5.0, [Fault("SIGSTOP", 4.0, 8.9, B), *turns(4, 5, 6, 7, 8)], False),
    ],
)
def test_a_start_must_have_half_a_lease_left(runs: list[Run], late: float, faults: list[Fault], good: bool) -> None:
    found = judged([ONE], [replace(run, late=late) for run in runs], *faults)
    assert any("cannot have been confirmed" in text for text in found.wrong) != good
    assert found.wrong == [] or not good


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
