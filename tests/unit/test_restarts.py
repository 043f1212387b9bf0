"""When a process that died is started again, what its end means for all, and what is told of where it stood."""

from __future__ import annotations

import pytest

from streamtask.supervisor.restarts import PAUSES, STEADY, Restarts, ends_all, how_it_ended, worst
from streamtask.supervisor.stacks import telling


def test_the_first_replacement_comes_at_once_and_a_crash_loop_does_not_spin() -> None:
    restarts = Restarts()
    pauses = [restarts.pause(0.0) for _ in range(20)]
    assert pauses[:6] == list(PAUSES)
    assert set(pauses[6:]) == {PAUSES[-1]}
    starts = [sum(pauses[: n + 1]) for n in range(20)]  # seconds after the first death, if each dies at once
    assert sum(start <= 60 for start in starts) <= 8
    assert sum(60 < start <= 120 for start in starts) <= 4


def test_who_served_for_a_while_begins_anew() -> None:
    restarts = Restarts()
    assert [restarts.pause(0.0) for _ in range(3)] == list(PAUSES[:3])
    assert restarts.pause(STEADY - 1) == PAUSES[3]
    assert restarts.pause(STEADY) == 0.0
    assert restarts.pause(0.0) == PAUSES[1]


@pytest.mark.parametrize(
    ("code", "while_starting", "later"),
    [
        (0, False, False),
        (1, True, False),
        (2, True, True),
        (3, True, False),
        (4, True, True),
        (5, False, False),
        (-11, False, False),
        (9, False, False),
    ],
)
def test_what_another_start_cannot_mend_ends_all(code: int, while_starting: bool, later: bool) -> None:
    assert ends_all(code, any_was_ready=False) is while_starting
    assert ends_all(code, any_was_ready=True) is later


@pytest.mark.parametrize(
    ("codes", "whole"),
    [
        ([], 0),
        ([0, 0], 0),
        ([0, 5], 5),
        ([0, -9], 5),
        ([5, 70], 70),
        ([70, 130, 4], 130),
        ([4, 5, 0], 4),
        ([1, 5], 1),
        ([99], 5),
    ],
)
def test_the_worst_code_is_the_code_of_all(codes: list[int], whole: int) -> None:
    assert worst(codes) == whole


def test_ends_have_names() -> None:
    assert [how_it_ended(code) for code in (4, -9, -11, -64, -250)] == [
        "exit code 4",
        "SIGKILL",
        "SIGSEGV",
        "SIGRTMAX",
        "signal 250",
    ]


def test_of_a_stack_what_matters_is_told() -> None:
    dump = """Timeout (0:00:29)!
Thread 0x00007fad8deff6c0 (most recent call first):
  File "/lib/threading.py", line 331 in wait
  File "/lib/threading.py", line 1002 in _bootstrap

Thread 0x00007fad8ef016c0 (most recent call first):
  <no Python frame>

Thread 0x00007fad8ef016c1 (most recent call first):
  File "/lib/concurrent/futures/thread.py", line 81 in _worker

Thread 0x00007fad92437b80 (most recent call first):
  File "/app/tasks.py", line 9 in hog
  File "/app/streamtask/worker/executor.py", line 188 in _coroutine
  File "/lib/asyncio/runners.py", line 118 in run
  File "/app/streamtask/__main__.py", line 8 in <module>
"""
    assert telling(dump.splitlines()) == (
        "Thread 0x00007fad8ef016c0 (most recent call first):\n"
        "  <no Python frame>\n\n"
        "Thread 0x00007fad92437b80 (most recent call first):\n"
        '  File "/app/tasks.py", line 9 in hog\n'
        '  File "/app/streamtask/worker/executor.py", line 188 in _coroutine'
    )
    assert telling([]) == telling(["Timeout (0:00:29)!"]) == ""
