"""Whose turn it is to read, and who is told when there is room."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtask.task import Kind
from streamtask.worker import room
from streamtask.worker.room import PATIENCE, Bells, Turn, Turns


class Slots:
    """Free slots, by kind."""

    def __init__(self, **free: int) -> None:
        self.free = free

    def demand(self, kinds: Iterable[Kind]) -> int:
        return max(0, min(self.free[kind] for kind in kinds))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A clock that the test sets: `clock[0] = 5.0`."""
    now = [100.0]
    monkeypatch.setattr(room.time, "monotonic", lambda: now[0])
    return now


def house(slots: Slots, *kinds: tuple[Kind, ...]) -> tuple[Turns, list[Turn], list[int], list[int]]:
    """Readers for these kinds; who was rung and whose reads were ended stand in the lists."""
    rung: list[int] = []
    ended: list[int] = []
    turns = Turns(slots, lambda: rung.append(1))
    members = [turns.join(one, lambda n=n: ended.append(n)) for n, one in enumerate(kinds)]  # type: ignore[misc]
    return turns, members, rung, ended


def take(slots: Slots, turn: Turn, count: int = 1) -> None:
    """It reads so many messages, which take their slots."""
    with turn.reading(found=True, all_streams=True):
        for kind in turn.kinds:
            slots.free[kind] -= count


A: tuple[Kind, ...] = ("coroutine",)
B: tuple[Kind, ...] = ("thread",)


async def test_a_bell_rings_for_each_who_waits() -> None:
    bells = Bells()
    one, two = bells.bell(), bells.bell()
    bells.set()
    await asyncio.gather(one.wait(), two.wait())
    one.clear()
    assert two.is_set(), "nobody takes another's away"
    bells.set()
    assert one.is_set()


def test_alone_it_may_ask_for_all_there_is() -> None:
    slots = Slots(coroutine=5)
    _, (one,), rung, ended = house(slots, A)
    one.waits()
    assert (one.shared, one.demand(A)) == (False, 5)
    take(slots, one, 5)
    assert (one.demand(A), one.hungry, rung, ended) == (0, False, [], [])


def test_with_room_for_all_nobody_minds() -> None:
    _, (one, two), _, _ = house(Slots(coroutine=5), A, A)
    assert (one.shared, two.shared) == (True, True)
    assert (one.demand(A), two.demand(A)) == (5, 5)


def test_who_waits_longest_comes_first(clock: list[float]) -> None:
    slots = Slots(coroutine=1)
    _, (one, two), _, _ = house(slots, A, A)
    take(slots, one)
    two.waits(), one.waits()
    clock[0] += 1
    slots.free["coroutine"] = 1
    assert one.demand(A) == 0, "it was served, and the other was not"
    assert two.demand(A) == 1
    take(slots, two)
    slots.free["coroutine"] = 1
    assert (one.demand(A), two.demand(A)) == (1, 0), "now it is the other way round"
    clock[0] += 1
    take(slots, one)
    slots.free["coroutine"] = 1
    assert (one.demand(A), two.demand(A)) == (1, 1), "nobody waits"


def test_what_others_wait_for_is_left_to_them_and_no_more() -> None:
    slots = Slots(coroutine=1)
    _, (one, two, three), _, _ = house(slots, A, A, A)
    take(slots, one)
    two.waits(), three.waits()
    slots.free["coroutine"] = 5
    assert one.demand(A) == 3


def test_who_waits_for_another_kind_of_slot_takes_nothing_away() -> None:
    slots = Slots(coroutine=1, thread=1)
    _, (one, two), _, _ = house(slots, A, B)
    take(slots, one)
    two.waits()
    slots.free["coroutine"] = 1
    assert one.demand(A) == 1


def test_when_the_last_slot_is_taken_reads_that_wait_are_ended() -> None:
    slots = Slots(coroutine=2, thread=1)
    _, (one, *_), _, ended = house(slots, A, A, B, (*A, *B))
    take(slots, one)
    assert ended == []
    take(slots, one)
    assert ended == [1, 3], "all but its own, and those whose kind has room"


def test_what_it_did_not_take_may_serve_the_others() -> None:
    slots = Slots(coroutine=1)
    _, (one, _), rung, _ = house(slots, A, A)
    one.waits()
    one.has_read(1, found=False)
    assert (one.hungry, rung) == (False, [1])
    one.has_read(1, found=False)
    assert rung == [1], "it kept nobody out"


def test_events_that_nobody_handles_cost_no_turn_for_a_moment(clock: list[float]) -> None:
    slots = Slots(coroutine=1)
    _, (one, _), rung, _ = house(slots, A, A)
    one.waits()
    one.has_read(1, found=True)
    assert (one.hungry, rung) == (True, [])
    clock[0] += PATIENCE / 2
    one.has_read(1, found=False, all_streams=False)
    assert one.hungry
    clock[0] += PATIENCE
    one.has_read(1, found=True)
    assert (one.hungry, rung) == (False, [1]), "its time is over"
    one.waits()
    one.has_read(1, found=True)
    assert one.hungry, "and the next time is a new one"


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 3))
def test_nobody_starves(tries: list[int], slots_there: int) -> None:
    """Readers that always find something, tried in any order: none is served twice while another one waits."""
    now = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room.time, "monotonic", lambda: now[0])
        slots = Slots(coroutine=slots_there)
        _, members, _, _ = house(slots, A, A, A, A)
        for member in members:
            member.waits()
        served: Counter[int] = Counter()
        since: dict[int, Counter[int]] = {n: Counter() for n in range(4)}
        for n in tries * 3:
            now[0] += 1
            slots.free["coroutine"] = slots_there
            if members[n].demand(A) > 0:
                take(slots, members[n])
                served[n] += 1
                for other in range(4):
                    if other != n:
                        since[other][n] += 1
                since[n].clear()
            members[n].waits()
            if slots_there == 1:
                assert all(count <= 1 for counts in since.values() for count in counts.values())
        slots.free["coroutine"] = slots_there
        assert any(member.demand(A) > 0 for member in members), "with room somebody may read"
