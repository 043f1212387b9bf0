"""How much is read ahead: by the rate of the last second, within limits, and nothing where it waited too long."""

from __future__ import annotations

from streamtask.worker.prefetch import PARTS, Prefetch


def busy(window: float = 0.1, completed: int = 1000) -> Prefetch:
    """Many short tasks were completed just now."""
    prefetch = Prefetch(window)
    for _ in range(completed):
        prefetch.completed("coroutine")
    return prefetch


def test_a_window_of_work_at_the_rate_of_the_last_second() -> None:
    prefetch = busy(completed=300)
    assert prefetch.size("coroutine", 100) == 30
    assert prefetch.size("thread", 100) == 0
    for _ in range(PARTS):
        prefetch.beat()
        assert prefetch.size("coroutine", 100) == 30
    prefetch.beat()
    assert prefetch.size("coroutine", 100) == 0, "that was more than a second ago"


def test_it_has_limits_by_the_number_of_slots() -> None:
    assert [busy(window=10).size("coroutine", slots) for slots in (1, 32, 33, 100, 256, 1000)] == [
        64, 64, 66, 200, 512, 512,
    ]  # fmt: skip


def test_what_waited_too_long_is_read_ahead_no_more_until_a_slot_of_its_kind_has_turned_over() -> None:
    prefetch = busy()
    prefetch.held_up("coroutine")
    assert prefetch.size("coroutine", 10) == 0
    prefetch.completed("thread")
    prefetch.beat()
    assert prefetch.size("coroutine", 10) == 0
    prefetch.completed("coroutine")
    assert prefetch.size("coroutine", 10) > 0
    prefetch.held_up("thread")
    assert prefetch.size("coroutine", 10) > 0


def test_what_ended_is_counted_from_the_beginning() -> None:
    prefetch = busy(completed=3)
    for _ in range(2 * PARTS):
        prefetch.beat()
    prefetch.completed("thread")
    assert prefetch.ended == 4
