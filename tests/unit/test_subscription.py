"""app.on: which events go to which function of a group, and what is told at once when that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamtask import Event, EventMeta, RawEvent, RetryPolicy, StreamTask, TaskOptions
from streamtask.envelope import EventMessage
from streamtask.errors import ConfigError, DuplicateHandler
from streamtask.subscription import entry_id

AT = datetime(2026, 1, 13, tzinfo=UTC)


class Made(Event, topic="shop:orders"):
    n: int


class Changed(Event, topic="shop:orders", type="changed"):
    n: int


class Paid(Event, topic="shop:payments"):
    n: int


class Aimless(Event):
    pass


@pytest.fixture
def app() -> StreamTask:
    return StreamTask("shop", "redis://127.0.0.1:1/0")


async def handle(event: Any) -> Any:
    return event


def handle_here(event: Any) -> Any:
    return event


def message(type: str, payload: bytes = b'{"n":1}') -> EventMessage:
    meta = EventMeta("e", type, "s", AT, {}, "5-5")
    return EventMessage("5-5", "h", payload, {}, meta, ())


# -- who gets what -----------------------------------------------------------------------------------------------------


def test_one_class_one_subscription(app: StreamTask) -> None:
    assert app.on(Made, group="g")(handle) is handle, "it stays a function"
    assert list(app.subscriptions) == ["shop:orders/g"]
    subscription = app.subscriptions["shop:orders/g"]
    assert (subscription.topic, subscription.group, subscription.start) == ("shop:orders", "g", "0")
    handler = subscription.handler("Made")
    assert handler is not None
    assert (handler.fn, handler.name, handler.kind) == (handle, "tests.unit.test_subscription.handle", "coroutine")
    assert subscription.handler("changed") is None
    assert "shop:orders" in app.topics
    assert app.tasks == {}, "it is no task that somebody may send"


def test_types_of_several_topics_make_a_subscription_each(app: StreamTask) -> None:
    app.on(Made | Changed | Paid, group="g")(handle_here)
    orders, payments = app.subscriptions["shop:orders/g"], app.subscriptions["shop:payments/g"]
    assert sorted(orders.handlers) == ["Made", "changed"]
    assert list(payments.handlers) == ["Paid"]
    assert [handler.kind for one in (orders, payments) for handler in one.all] == ["thread", "thread"]
    assert len(orders.all) == 1, "one function, whatever it takes"


def test_old_spellings_of_a_union_work(app: StreamTask) -> None:
    from typing import Union

    app.on(Union[Made, Changed], group="g")(handle)  # noqa: UP007 - that is what is tested
    assert sorted(app.subscriptions["shop:orders/g"].handlers) == ["Made", "changed"]


def test_a_raw_topic_takes_the_types_that_nobody_else_takes(app: StreamTask) -> None:
    app.on("shop:orders", group="g")(handle)
    app.on(Made, group="g")(handle_here)
    subscription = app.subscriptions["shop:orders/g"]
    assert subscription.handler("Made").fn is handle_here  # type: ignore[union-attr]
    assert subscription.handler("whatever").fn is handle  # type: ignore[union-attr]
    assert len(subscription.all) == 2


def test_each_group_has_its_own_handler(app: StreamTask) -> None:
    app.on(Made, group="g", start="new")(handle)
    app.on(Made, group="h")(handle_here)
    assert [one.start for one in app.subscriptions.values()] == ["$", "0"]


def test_one_function_may_be_given_several_types_one_by_one_and_twice(app: StreamTask) -> None:
    for event in (Made, Changed, Made):
        app.on(event, group="g")(handle)
    assert [handler.fn for handler in app.subscriptions["shop:orders/g"].all] == [handle, handle]


def test_the_event_is_made_of_its_class_else_it_is_raw(app: StreamTask) -> None:
    app.on(Made | Changed, group="g")(handle)
    app.on("shop:orders", group="raw")(handle_here)
    typed = app.subscriptions["shop:orders/g"].handler("changed")
    raw = app.subscriptions["shop:orders/raw"].handler("changed")
    assert typed is not None
    assert raw is not None
    (event,), kwargs = typed.signature.load(message("changed"))
    assert (event, kwargs) == (Changed(n=1), {})
    assert event.meta == message("changed").event
    (event,), _ = raw.signature.load(message("changed"))
    assert event == RawEvent(message("changed").event, b'{"n":1}')
    with pytest.raises(ValidationError, match="n\n  Field required"):
        typed.signature.load(message("changed", b""))
    with pytest.raises(ValidationError):
        typed.signature.load(message("changed", b"\xff"))


def test_options_are_the_handlers_then_the_apps_and_a_result_is_never_kept() -> None:
    app = StreamTask("shop", defaults=TaskOptions(max_retries=7, timeout=5, result=True))
    app.on(Made, group="g", max_retries=1, retry=RetryPolicy(base=9), name="mine")(handle)
    handler = app.subscriptions["shop:orders/g"].handlers["Made"]
    options = handler.task_options
    assert (options.max_retries, options.timeout, options.retry.base, options.result) == (1, 5.0, 9.0, False)
    assert handler.name == "mine"


@pytest.mark.parametrize("fn", [handle, handle_here])
async def test_a_filter_leaves_events_out(app: StreamTask, fn: Callable[[Any], Any]) -> None:
    app.on(Made, group="g", filter=lambda event: event.n > 1)(fn)
    handler = app.subscriptions["shop:orders/g"].handlers["Made"]
    found = [handler.fn(Made(n=n)) for n in (1, 2)]
    if handler.is_async:
        found = [await one for one in found]
    assert found == [None, Made(n=2)]
    assert (handler.kind, handler.name) == ("coroutine" if fn is handle else "thread", f"{__name__}.{fn.__name__}")
    app.on(Made, group="g", filter=lambda event: True)(fn)  # the same function: no contradiction


def test_a_batch_function_handles_events_and_is_no_task_then(app: StreamTask) -> None:
    @app.on(Made, group="g", once="event_id")
    @app.batch(size=5, wait=0.5, max_retries=2, name="index")
    async def index(events: list[Made]) -> None: ...

    handler = app.subscriptions["shop:orders/g"].handlers["Made"]
    assert handler.batching is not None
    assert (handler.batching.size, handler.batching.wait, handler.once) == (5, 0.5, True)
    assert handler.task_options.max_retries == 2
    assert app.tasks == {}


# -- what cannot be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [Aimless, Event, int, 5, None, Made | int, Made | None, RawEvent])
def test_what_is_neither_an_event_with_a_topic_nor_a_topic_is_refused(app: StreamTask, target: Any) -> None:
    with pytest.raises(TypeError, match=r"app\.on takes event classes with a topic, A \| B of them, or a topic; not"):
        app.on(target, group="g")


@pytest.mark.parametrize("topic", ["", "a b", "a{b", "x" * 257])
def test_a_raw_topic_must_be_one(app: StreamTask, topic: str) -> None:
    with pytest.raises(ValueError, match="is no topic"):
        app.on(topic, group="g")


@pytest.mark.parametrize("group", ["", "a b", "a:b", "a/b", "{g}", "x" * 65, 5, None])
def test_a_group_must_be_one(app: StreamTask, group: Any) -> None:
    with pytest.raises(ValueError, match="is no group name"):
        app.on(Made, group=group)


@pytest.mark.parametrize("group", ["released", "lost", "published"])
def test_a_group_cannot_have_the_name_of_another_key(app: StreamTask, group: str) -> None:
    with pytest.raises(ValueError, match="a key of streamtask has it; choose another"):
        app.on(Made, group=group)


@pytest.mark.parametrize("option", ["queue", "result", "result_ttl", "unique", "process", "expires", "max_memory", "x"])
def test_options_that_mean_nothing_for_an_event_are_refused(app: StreamTask, option: str) -> None:
    with pytest.raises(TypeError, match=f"an event handler has no option '{option}'; known: idempotent, log_args"):
        app.on(Made, group="g", **{option: 1})  # type: ignore[arg-type]


def test_bad_values_are_told_when_it_is_written(app: StreamTask) -> None:
    with pytest.raises(ValueError, match="max_retries: -1 is no whole number"):
        app.on(Made, group="g", max_retries=-1)
    with pytest.raises(ValueError, match=r"once='always': the only choice is once='event_id'"):
        app.on(Made, group="g", once="always")  # type: ignore[arg-type]
    assert app.subscriptions == {}


def test_a_filter_is_not_for_batches(app: StreamTask) -> None:
    with pytest.raises(TypeError, match="filter= is not for batches: leave out what you do not want in the function"):
        app.on(Made, group="g", filter=bool)(app.batch(name="b")(lambda events: None))


def test_a_function_without_a_name_needs_one(app: StreamTask) -> None:
    with pytest.raises(TypeError, match="has no name that a worker could import"):
        app.on(Made, group="g")(lambda event: None)
    app.on(Made, group="g", name="lambda")(lambda event: None)


@pytest.mark.parametrize("event", [Made, "shop:orders"])
def test_two_functions_for_the_same_events_of_a_group_contradict(app: StreamTask, event: Any) -> None:
    what = "Made" if event is Made else "all types"
    app.on(event, group="g")(handle)
    with pytest.raises(DuplicateHandler) as told:
        app.on(event, group="g")(handle_here)
    text = str(told.value)
    assert text.startswith(f"two handlers take {what} for the group 'g': ")
    assert text.count("test_subscription.py:") == 2
    assert text.endswith("each event goes to one handler of a group, so give one another group")
    assert app.subscriptions["shop:orders/g"].all[0].fn is handle


def test_a_group_begins_at_one_place(app: StreamTask) -> None:
    app.on(Made, group="g", start="new")(handle)
    with pytest.raises(ConfigError, match=r"the group 'g' on 'shop:orders' starts at \$ by one handler and at 0 by"):
        app.on(Changed, group="g")(handle_here)
    app.on(Changed, group="g", start="new")(handle_here)
    app.on(Paid, group="g")(handle)


# -- where a group begins ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "id"),
    [
        ("beginning", "0"),
        ("new", "$"),
        ("0", "0"),
        ("5-3", "5-3"),
        ("1768262400000", "1768262400000"),
        ("5-18446744073709551615", "5-18446744073709551615"),
        (datetime(2026, 1, 13, tzinfo=UTC), "1768262399999-18446744073709551615"),
        (datetime(2026, 1, 13, 9, tzinfo=timezone(timedelta(hours=9))), "1768262399999-18446744073709551615"),
        (datetime(1970, 1, 1, tzinfo=UTC), "0"),
        (datetime(1900, 1, 1, tzinfo=UTC), "0"),
    ],
)
def test_where_a_group_begins_is_an_entry_id(start: Any, id: str) -> None:
    assert entry_id(start) == id


@given(st.integers(1, 4_000_000_000_000), st.integers(0, 999))
def test_a_time_is_before_each_entry_of_its_millisecond_and_behind_all_others(at: int, micros: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at, microseconds=micros)
    ms, seq = entry_id(moment).split("-")
    assert int(ms) == at - 1
    assert int(seq) == 2**64 - 1


@pytest.mark.parametrize(
    "start", ["", "$", "end", "-1", "5-", "5-x", "٣-1", "9" * 20, "5-18446744073709551616", 5, None, AT.date(), "5-1-1"]
)
def test_what_is_no_place_is_refused(app: StreamTask, start: Any) -> None:
    with pytest.raises(ValueError, match="use 'beginning', 'new', a datetime with a time zone, or the entry id after"):
        app.on(Made, group="g", start=start)


def test_a_time_needs_a_zone(app: StreamTask) -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        app.on(Made, group="g", start=datetime(2026, 1, 13))  # noqa: DTZ001 - that is what is tested


def test_a_topic_is_no_stream_of_the_apps_own_queues(app: StreamTask) -> None:
    app.queue("mail")
    for declare in (
        lambda: app.topic("shop:mail"),
        lambda: app.on("shop:mail", group="g", name="f")(lambda event: None),
    ):
        with pytest.raises(ValueError, match="'shop:mail' is the stream of the app's queue 'mail'"):
            declare()
    app.topic("other:mail")
    with pytest.raises(ValueError, match="'orders' would have the same keys beside it"):
        app.topic("{orders}")
