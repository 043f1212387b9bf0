"""Where a group that is lost begins anew, and what a worker knows of its queues."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtask import Event, StreamTask
from streamtask.broker.keys import queue_keys, topic_keys
from streamtask.broker.reader import Entry
from streamtask.worker.delivery import Delivery, QueueState, just_before, parts
from streamtask.worker.queues import SHY, SHYEST, strayed, stride, subscription_queues, task_queues

ids = st.tuples(st.integers(1, 2**63), st.integers(0, 2**64 - 1)) | st.tuples(st.just(0), st.integers(1, 2**64 - 1))


def text(id: tuple[int, int]) -> str:
    return f"{id[0]}-{id[1]}"


def topic(start: str = "0", *held: str) -> QueueState:
    state = QueueState("t/g", topic_keys("t", "g"), ("coroutine",), start=start)
    for id in held:
        state.held[id.encode()] = Delivery(state, Entry(id.encode(), [], 1), 0.0, 0.0)
    return state


@given(ids)
def test_the_id_before_is_the_largest_that_is_smaller(id: tuple[int, int]) -> None:
    ms, seq = parts(just_before(text(id)))
    assert (ms, seq) < id
    assert (ms, seq + 1) == id or ((ms + 1, 0) == id and seq == 2**64 - 1)


def test_ids_are_compared_as_numbers() -> None:
    assert parts("9-10") > parts("9-9")
    assert parts("10-0") > parts("9-99")
    assert parts("5") == (5, 0)


@given(st.lists(ids, min_size=1))
def test_the_newest_that_was_seen_is_kept(seen: list[tuple[int, int]]) -> None:
    state = topic()
    for id in seen:
        state.saw(text(id))
    assert parts(state.last_seen) == max(seen)


def test_a_topic_that_was_never_seen_begins_where_it_was_told() -> None:
    assert topic("$").begin == "$"
    assert topic("0").begin == "0"
    assert topic("7-5").begin == "7-5"


def test_one_that_was_seen_goes_on_behind_it_or_before_what_is_not_done() -> None:
    state = topic("$", "9-10", "9-9", "10-0")
    state.saw("12-0")
    assert state.begin == "9-8"
    state.held.clear()
    assert state.begin == "12-0"


@settings(max_examples=50)
@given(st.sets(ids, min_size=1, max_size=8), st.data())
def test_nothing_that_is_held_or_unread_is_behind_where_it_begins(
    seen: set[tuple[int, int]], data: st.DataObject
) -> None:
    held = data.draw(st.sets(st.sampled_from(sorted(seen))))
    state = topic("0", *map(text, held))
    for id in seen:
        state.saw(text(id))
    begin = parts(state.begin)
    assert all(id > begin for id in held)
    assert begin <= max(seen), "and what comes is new"
    assert all(id <= begin for id in seen if not held or id < min(held)), "what is done does not come again"


def test_a_queue_begins_at_its_first_entry_since_what_was_done_is_gone() -> None:
    state = QueueState("q", queue_keys("ns", "q"), ("coroutine",))
    state.saw("9-0")
    assert state.begin == "0"


class Made(Event, topic="t"):
    pass


class Sent(Event, topic="u"):
    pass


def test_a_subscription_is_read_from_its_topic_and_from_its_own_queue() -> None:
    app = StreamTask("shop")

    @app.on(Made, group="g", start="new", name="a")
    def made(event: Made) -> None: ...

    @app.on("t", group="g", start="new", name="b")
    @app.batch(size=50, name="b")
    async def rest(events: list[object]) -> None: ...

    first, own = subscription_queues(app.subscriptions.values(), "w")
    assert (first.name, first.keys.stream, first.keys.kind, first.start, first.stride) == ("t/g", "t", "topic", "$", 50)
    assert (own.name, own.keys.stream, own.keys.kind, own.start, own.stride) == ("t/g", "{t}:g", "task", "0", 50)
    assert first.keys.group == own.keys.group == "g", "one read serves both"
    assert first.kinds == own.kinds == ("coroutine", "thread")
    assert first.subscription is own.subscription


def test_a_queue_of_tasks_asks_for_as_many_as_its_largest_batch() -> None:
    app = StreamTask("shop")

    @app.batch(size=20, name="many", queue="q")
    async def many(items: list[int]) -> None: ...

    @app.task(name="one", queue="q")
    def one() -> None: ...

    app.queue("other")
    first, other = task_queues(app, ["q", "other"], "w")
    assert (first.kinds, first.stride, first.start) == (("coroutine", "thread"), 20, "0")
    assert (other.kinds, other.stride) == (("coroutine",), 1)
    assert stride([]) == 1


def test_who_gave_strays_back_leaves_them_to_siblings_for_longer_and_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("streamtask.worker.queues.time.monotonic", lambda: now[0])
    state = topic()
    waits = []
    for _ in range(10):
        strayed(state)
        waits.append(state.shy_until - now[0])
        now[0] = state.shy_until
    assert waits[0] == pytest.approx(SHY)
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(SHYEST)
    now[0] += 2 * SHYEST
    strayed(state)
    assert state.shy_until - now[0] == pytest.approx(SHY), "after a while without any it begins anew"
