"""Batches: what a batch function may look like, and each item's share of what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Optional

import pytest
from pydantic import BaseModel, ValidationError

from streamtask import BatchError, Reject, Snooze, StreamTask
from streamtask.batch import BatchTask
from streamtask.broker.keys import queue_keys
from streamtask.broker.reader import Entry
from streamtask.policy import Misfit, Raised, Returned
from streamtask.worker.batches import Batches, blame, item_of, muster, promote, share, spread
from streamtask.worker.buffers import Buffers
from streamtask.worker.delivery import Delivery, QueueState, State


class Article(BaseModel):
    title: str


@pytest.fixture
def app() -> StreamTask:
    return StreamTask("shop", "redis://127.0.0.1:1/0")


async def store(items: list[Article]) -> None: ...


async def rate(items: list[int]) -> list[float] | None: ...


def count(items: list[str]) -> list[int]:
    return [len(item) for item in items]


# -- what it looks like ------------------------------------------------------------------------------------------------


def test_one_item_is_sent_and_a_list_is_run_here(app: StreamTask) -> None:
    task = app.batch(size=5, wait=timedelta(seconds=1))(count)
    assert isinstance(task, BatchTask)
    assert (task.batching.size, task.batching.wait, task.kind) == (5, 1.0, "thread")
    assert task(["a", "bc"]) == [1, 2]
    assert task._bind(("x",), {}) == {"item": "x"}
    with pytest.raises(ValidationError):
        task._bind(([],), {})
    assert app.tasks == {"tests.unit.test_batching.count": task}
    assert app.batch()(store).kind == "coroutine"


def test_items_have_the_type_of_the_list(app: StreamTask) -> None:
    task = app.batch()(store)
    assert task._bind((Article(title="t"),), {}) == {"item": Article(title="t")}
    with pytest.raises(ValidationError, match="title"):
        task._bind(({"titel": "t"},), {})


def unannotated(items): ...  # type: ignore[no-untyped-def]


def bare(items: list) -> None: ...  # type: ignore[type-arg]


def anything(items: Any) -> Any: ...


@pytest.mark.parametrize("fn", [unannotated, bare, anything])
def test_without_a_type_an_item_is_anything(app: StreamTask, fn: Callable[..., Any]) -> None:
    assert app.batch()(fn)._bind(({"a": [1]},), {}) == {"item": {"a": [1]}}


def optional_list(items: list[int]) -> Optional[list[float]]: ...  # noqa: UP045 - that is what is tested


@pytest.mark.parametrize("fn", [rate, count, optional_list])
def test_a_result_has_the_type_of_the_list_that_is_returned(app: StreamTask, fn: Callable[..., Any]) -> None:
    task = app.batch(name="t")(fn)
    assert task.signature.dump_result(2) in (b"2", b"2.0")
    with pytest.raises(Exception, match=r"number|int|float"):
        task.signature.dump_result("x")


def two(items: list[int], more: int) -> None: ...


def none() -> None: ...


def no_list(items: dict[str, int]) -> None: ...


@pytest.mark.parametrize(
    ("fn", "options", "error", "why"),
    [
        (two, {}, TypeError, r"takes one list, `async def two\(items: list\[\.\.\.\]\)`"),
        (none, {}, TypeError, "takes one list"),
        (no_list, {}, TypeError, r"takes a list, and 'items' is annotated as dict\[str, int\]"),
        (count, {"process": True}, TypeError, "process=True is not for batches; leave it out"),
        (count, {"size": 0}, ValueError, "a batch, size: 0 is no whole number from 1 up"),
        (count, {"size": 1.5}, ValueError, "a batch, size: 1.5 is no whole number"),
        (count, {"size": True}, ValueError, "a batch, size: True is no whole number"),
        (count, {"wait": -1}, ValueError, "a batch, wait: -1 is no duration"),
        (count, {"wait": "soon"}, ValueError, "a batch, wait: 'soon' is no duration"),
        (count, {"sise": 1}, TypeError, "a task has no option 'sise'"),
    ],
)
def test_what_cannot_be_is_told_when_it_is_written(
    app: StreamTask, fn: Callable[..., Any], options: dict[str, Any], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        app.batch(**options)(fn)
    assert app.tasks == {}


def test_batch_stands_under_the_function_and_not_under_a_task(app: StreamTask) -> None:
    with pytest.raises(TypeError, match="is already a task"):
        app.batch()(app.task(count))


# -- BatchError --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "errors", [{"1": ValueError()}, {-1: ValueError()}, {True: ValueError()}, {0: "text"}, {0: KeyboardInterrupt()}]
)
def test_an_error_names_places_and_exceptions(errors: Any) -> None:
    with pytest.raises(TypeError, match=r"BatchError takes \{place: exception\}, not"):
        BatchError(errors)


def test_its_text_says_which_and_stays_short() -> None:
    error = BatchError({12: ValueError("x" * 5000), 3: Reject("no")})
    assert str(error).startswith("3: Reject('no'); 12: ValueError('xxx")
    assert len(str(error)) < 200
    assert len(str(BatchError({n: ValueError() for n in range(1000)}))) < 300
    assert BatchError({}).errors == {}


# -- shares ------------------------------------------------------------------------------------------------------------


def test_a_list_has_one_result_for_each(app: StreamTask) -> None:
    task = app.batch(name="t")(rate)
    error = ValueError("x")
    assert share(task, [1, error, 2.5], 3) == [Returned(b"1.0"), Raised(error), Returned(b"2.5")]
    assert share(task, None, 2) == [Returned(b"null")] * 2
    assert share(task, [], 0) == []


@pytest.mark.parametrize(
    ("value", "got"), [([1], "a list of 1"), ([], "a list of 0"), ((1, 2), "a tuple"), (5, "a int"), ("ab", "a str")]
)
def test_anything_else_is_a_failure_of_each(app: StreamTask, value: Any, got: str) -> None:
    outcomes = share(app.batch(name="t")(rate), value, 2)
    assert len(outcomes) == 2
    for outcome in outcomes:
        assert isinstance(outcome, Misfit)
        assert (outcome.reason, outcome.failure.type) == ("result", "ResultError")
        assert outcome.failure.message.endswith(f"with one result for each of its 2 items; this is {got}")


def test_one_result_of_the_wrong_type_fails_alone(app: StreamTask) -> None:
    good, bad = share(app.batch(name="t")(rate), [1, "x"], 2)
    assert good == Returned(b"1.0")
    assert isinstance(bad, Misfit)


def test_without_results_nobody_looks_at_what_came(app: StreamTask) -> None:
    task = app.batch(name="t", result=False)(rate)
    assert share(task, "whatever", 2) == [Returned(), Returned()]


def test_an_error_of_some_fails_those_and_the_rest_are_done(app: StreamTask) -> None:
    task = app.batch(name="t", result=False)(rate)
    error, snooze = ValueError("x"), Snooze(5)
    assert blame(task, BatchError({1: error, 3: snooze}), 4) == [Returned(), Raised(error), Returned(), Raised(snooze)]
    assert blame(task, BatchError({}), 2) == [Returned(), Returned()]


def test_an_error_that_names_an_item_that_is_not_there_fails_them_all(app: StreamTask) -> None:
    """Who counts wrong has named the wrong ones, perhaps."""
    outcomes = blame(app.batch(name="t")(rate), BatchError({0: ValueError("a"), 2: ValueError("b")}), 2)
    assert [str(outcome.error) for outcome in outcomes if isinstance(outcome, Raised)] == [
        "BatchError names item 2, and the batch had 2: ValueError('b')"
    ] * 2


@pytest.mark.parametrize("error", [ValueError("x"), Reject("no"), SystemExit(1)])
def test_any_other_error_is_each_ones_own(app: StreamTask, error: BaseException) -> None:
    assert blame(app.batch(name="t")(rate), error, 3) == [Raised(error)] * 3


def test_outcomes_come_back_to_their_places() -> None:
    late = Misfit("decode", ValueError("x"))  # type: ignore[arg-type]
    found = spread([0, 2], [Returned(b"1"), Returned(b"3")], [None, late, None, None])
    assert found.outcomes == [Returned(b"1"), late, Returned(b"3"), None]


@pytest.mark.parametrize("call", [((5,), {}), ((), {"item": 5})])
def test_an_item_is_the_one_argument(call: Any) -> None:
    assert item_of(call) == 5


# -- gathering ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def deliveries(app: StreamTask) -> Callable[[int], list[Delivery]]:
    """Gives deliveries for a batch function with size 3 and a wait that no test outlives."""
    task = app.batch(size=3, wait=600, name="t")(count)
    queue = QueueState("q", queue_keys("ns", "q"), ("thread",))

    def make(number: int) -> list[Delivery]:
        found = [Delivery(queue, Entry(b"%d-0" % n, [], 1), 0.0, 0.0) for n in range(number)]
        for delivery in found:
            delivery.task = task
        return found

    return make


async def test_a_full_batch_is_ready_at_once_and_its_first_item_leads(
    deliveries: Callable[[int], list[Delivery]],
) -> None:
    ready: list[Delivery] = []
    batches = Batches(ready.append)
    items = deliveries(7)
    for item in items:
        batches.add(item)
    assert ready == [items[0], items[3]]
    assert [leader.batch for leader in ready] == [items[:3], items[3:6]]
    assert items[6].batch is None
    assert ready[0].received_at > 0, "it waits for a slot from now on"
    batches.drain()


async def test_the_rest_is_ready_when_its_time_is_over(app: StreamTask) -> None:
    ready = asyncio.Event()
    batches = Batches(lambda _: ready.set())
    task = app.batch(size=3, wait=0.001, name="t")(count)
    delivery = Delivery(QueueState("q", queue_keys("ns", "q"), ("thread",)), Entry(b"1-0", [], 1), 0.0, 0.0)
    delivery.task = task
    batches.add(delivery)
    await asyncio.wait_for(ready.wait(), 30)
    assert delivery.batch == [delivery]


async def test_what_is_lost_while_it_is_gathered_is_not_in_the_batch(
    deliveries: Callable[[int], list[Delivery]],
) -> None:
    ready: list[Delivery] = []
    batches = Batches(ready.append)
    items = deliveries(4)
    for item in items[:2]:
        batches.add(item)
    batches.remove(items[0])
    batches.remove(items[3])
    for item in items[2:]:
        batches.add(item)
    assert ready == [items[1]]
    assert items[1].batch == items[1:]


async def test_after_all_are_lost_the_next_one_waits_its_own_time(deliveries: Callable[[int], list[Delivery]]) -> None:
    batches = Batches(lambda _: None)
    first, second = deliveries(2)
    batches.add(first)
    (timer,) = batches._timers.values()
    batches.remove(first)
    batches.add(second)
    (other,) = batches._timers.values()
    assert timer is not other
    assert timer.cancelled(), "or it would end the second one's wait"
    batches.drain()
    assert other.cancelled()


def test_a_batch_starts_with_those_that_are_surely_ours(deliveries: Callable[[int], list[Delivery]]) -> None:
    items = deliveries(5)
    asked: list[Delivery] = []
    items[0].state = State.SETTLING  # given back, or lost
    items[1].unsure = True  # it waits for a renewal already
    items[0].batch = list(items)
    leader = muster(items[0], asked.append, lambda item: item is not items[2])
    assert leader is items[3]
    assert leader.batch == items[3:]
    assert asked == [items[2]]
    assert items[0].batch is None
    assert muster(leader, asked.append, lambda _: False) is None
    assert asked == items[2:]


def test_a_batch_goes_on_under_the_next_item(deliveries: Callable[[int], list[Delivery]]) -> None:
    items = deliveries(3)
    items[0].batch, items[0].received_at = list(items), 5.0
    buffers = Buffers(("thread",))
    buffers["thread"].append(items[0])
    buffers.remove(items[0])
    assert list(buffers["thread"]) == [items[1]]
    assert (items[1].batch, items[1].received_at, items[0].batch) == (items[1:], 5.0, None)
    assert promote(items[1]) is items[2]
    assert promote(items[2]) is None
    buffers.remove(items[1])
    assert not buffers["thread"]


def test_buffers_give_out_what_has_waited_too_long(deliveries: Callable[[int], list[Delivery]]) -> None:
    items = deliveries(4)
    buffers = Buffers(("thread", "coroutine"))
    for at, item in enumerate(items):
        item.received_at = float(at)
        buffers["thread" if at % 2 else "coroutine"].append(item)
    assert sorted(item.received_at for item in buffers.overdue(2.0)) == [0.0, 1.0]
    assert [[item.received_at for item in buffer] for buffer in buffers.values()] == [[3.0], [2.0]]
    buffers.drain()
    assert not any(buffers.values())


def test_without_results_only_exceptions_in_a_full_list_count(app: StreamTask) -> None:
    task = app.batch(name="t", result=False)(rate)
    assert share(task, ["anything", 5], 2) == share(task, [1], 2) == share(task, "text", 2) == [Returned()] * 2
    good, bad = share(task, [None, ValueError("bad")], 2)
    assert good == Returned()
    assert isinstance(bad, Raised)
