"""Events, batches and answers as users type them; read as `api.py` is."""
# mypy: disable-error-code="unused-awaitable"

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from streamtask import BatchError, Event, EventMeta, RawEvent, Result, RetryPolicy, StreamTask
from streamtask.batch import BatchTask
from streamtask.topic import TopicLimits

app = StreamTask("shop", "redis://localhost:6379/0")


class Made(Event, topic="shop:orders", type="OrderMade", source="till"):
    number: int


class Paid(Event, topic="shop:payments"):
    amount: float


# -- events and topics --------

assert_type(Made(number=1).number, int)
assert_type(Made(number=1).meta, EventMeta)
assert_type(Made(number=1).meta.created_at, datetime)
assert_type(Made(number=1).meta.metadata["a"], str)
assert_type(Made(number=1).meta.stream_id, str | None)
assert_type(app.topic("shop:orders", max_length=10, hard_max_length=50, overflow="drop"), TopicLimits)

# -- publishing --------

assert_type(app.publish(Made(number=1)), str)
assert_type(
    app.publish(Paid(amount=1), key="k", metadata={"a": "b"}, wait_for=["g"], timeout=timedelta(seconds=5)), str
)
assert_type(app.publish_many([Made(number=1), Paid(amount=2)]), list[str])
assert_type(app.publish_many((Made(number=n) for n in range(3)), metadata={"a": "b"}), list[str])


async def publishing() -> None:
    assert_type(await app.apublish(Made(number=1), wait_for=("g",), timeout=5), str)
    assert_type(await app.apublish_many([Made(number=1)]), list[str])


# -- handlers stay the functions that they are --------


@app.on(Made, group="g", start="new", once="event_id", max_retries=5, retry=RetryPolicy(base=1), timeout=60)
async def handle(event: Made) -> None: ...


@app.on(Made | Paid, group="h", start=datetime.now(UTC), filter=lambda event: event)
def handle_both(event: Made | Paid) -> int:
    return 1


@app.on("shop:orders", group="raw", start="5-0")
async def handle_raw(event: RawEvent) -> None:
    assert_type(event.payload, bytes)
    assert_type(event.json(), Any)
    assert_type(event.meta, EventMeta)
    assert_type(await app.areply(event, Paid(amount=1)), str | None)


coroutine: Coroutine[Any, Any, None] = handle(Made(number=1))
assert_type(handle_both(Paid(amount=1)), int)
assert_type(app.reply(Made(number=1), Paid(amount=1)), str | None)
stays: Callable[[Made], Coroutine[Any, Any, None]] = handle

# -- batches --------


@app.batch(size=10, wait=2.0)
async def store(items: list[int]) -> None:
    raise BatchError({3: ValueError("bad")})


@app.batch(size=10, wait=timedelta(seconds=2), max_retries=1)
async def rate(items: list[str]) -> list[float]:
    return [1.0 for _ in items]


@app.batch()
def rate_here(items: list[str]) -> list[float] | None:
    return None


@app.on(Made, group="batch")
@app.batch(size=10)
async def index(events: list[Made]) -> None: ...


assert_type(store, BatchTask[int, None])
assert_type(rate, BatchTask[str, float])
assert_type(rate_here, BatchTask[str, float])
assert_type(index, BatchTask[Made, None])
assert_type(store.delay(1), Result[None])
assert_type(rate.delay("a").get(timeout=5), float)
assert_type(rate.delay_many([("a",), rate.s("b")]), list[Result[float]])


async def sending() -> None:
    assert_type(await rate.adelay("a"), Result[float])


# -- what must be refused --------

app.publish("x")  # type: ignore[arg-type]
app.publish(Made)  # type: ignore[arg-type]
app.publish(Made(number=1), keey="k")  # type: ignore[call-arg]
app.publish(Made(number=1), metadata={"a": 1})  # type: ignore[dict-item]
app.publish_many([Paid])  # type: ignore[list-item]
app.publish_many([Made(number=1)], key="k")  # type: ignore[call-arg]
app.topic("shop:orders", overflow="block")  # type: ignore[arg-type]
app.on(Made)  # type: ignore[call-arg]
app.on(Made, group="g", queue="q")  # type: ignore[call-arg]
app.on(Made, group="g", once="always")  # type: ignore[arg-type]
app.on(Made, group="g", start=5)  # type: ignore[arg-type]
app.reply(Made(number=1), "x")  # type: ignore[arg-type]
store.delay("x")  # type: ignore[arg-type]
store(1)  # type: ignore[arg-type]
app.batch(size="many")  # type: ignore[arg-type]
BatchError({"a": ValueError()})  # type: ignore[dict-item]
Made(number=1).meta.id = "x"  # type: ignore[misc]
EventMeta("e", "t", "s", datetime.now(UTC)).type = "x"  # type: ignore[misc]
wrong: int = rate.delay("a").get()  # type: ignore[assignment]
