"""The API as users type it, for mypy --strict and pyright: what a call gives is asserted, what is refused is marked.

Never run. `tests/project` checks it with both; a mark that is not needed is an error, so each refusal below is proved.
"""
# mypy: disable-error-code="unused-awaitable"
# A Result can be awaited, and most callers of delay() do not want to.

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, date, datetime, timedelta
from typing import Any, assert_type

from streamtask import Call, Context, Cron, Every, Result, RetryPolicy, StreamTask, Task, TaskOptions, Unique, current

app = StreamTask("diary", "redis://localhost:6379/0", defaults=TaskOptions(max_retries=5, timeout=timedelta(minutes=1)))


@app.task
def add(a: int, b: int = 2) -> float:
    return a / b


@app.task(
    queue="summaries", max_retries=None, timeout=60, unique=Unique(by=("user_id", "day")), retry=RetryPolicy(base=1)
)
async def summary(user_id: str, day: date) -> str:
    return f"{user_id} {day}"


@app.task
async def sweep(deep: bool = False) -> None: ...


# -- calling is running, here and now --------

assert_type(add(1, b=3), float)
coroutine = assert_type(summary("ada", date(2026, 11, 21)), Coroutine[Any, Any, str])


async def awaited() -> None:
    assert_type(await summary("ada", date(2026, 11, 21)), str)


# -- sending keeps the parameters and the return type --------

assert_type(add.delay(1), Result[float])
assert_type(add.delay(1).get(timeout=5), float)
assert_type(summary.delay("ada", day=date(2026, 11, 21)), Result[str])
assert_type(add.options(countdown=3, queue="x", headers={"a": "b"}).delay(1), Result[float])
assert_type(add.options(eta=datetime.now(UTC)).options(expires=timedelta(hours=1)).delay(1).get(), float)
assert_type(add.s(1, b=2), Call[float])
assert_type(add.delay_many(add.s(n) for n in range(3)), list[Result[float]])
assert_type(add.delay_many([(1, 2), {"a": 1}, add.s(1)]), list[Result[float]])


async def sending() -> None:
    assert_type(await add.adelay(1), Result[float])
    assert_type(await summary.adelay("ada", date(2026, 11, 21)), Result[str])
    assert_type(await (await summary.adelay("ada", date(2026, 11, 21))), str)
    assert_type(await (await add.adelay(1)).aget(timeout=timedelta(seconds=1).total_seconds()), float)
    assert_type(await add.adelay_many([add.s(1)]), list[Result[float]])
    assert_type(await app.asend("elsewhere.f", {"x": 1}, countdown=5), Result[Any])


assert_type(app.send("elsewhere.f", {"x": 1}), Result[Any])
assert_type(app.result("1f", queue="x"), Result[Any])

any_task: Task[..., Any] = add
returns_float: Task[..., float] = add
plain: Callable[[int, int], float] = add


# -- schedules --------


@app.schedule(Every(minutes=5))
@app.task
async def queue_summaries() -> None: ...


@app.schedule(
    Cron("0 4 * * *", timezone="Asia/Tokyo"), name="monthly", missed="all", overlap="skip", max_age=timedelta(1)
)
@app.task(queue="summaries")
def report(month: int = 1) -> int:
    return month


assert_type(report.delay(), Result[int])


@app.schedule(Every(hours=1), args={"user_id": "ada", "day": "2026-11-21"})
@app.task(name="scheduled_summary")
async def scheduled_summary(user_id: str, day: date) -> None: ...


assert_type(scheduled_summary.delay("ada", date(2026, 11, 21)), Result[None])

# -- the running task --------

assert_type(current(), Context)
assert_type(current(None), Context | None)
assert_type(current().attempt, int)
assert_type(current().scheduled_for, datetime | None)

# -- what must be refused --------

add.delay("1")  # type: ignore[arg-type]
add.delay()  # type: ignore[call-arg]
add.delay(1, c=2)  # type: ignore[call-arg]
add.s(1, "2")  # type: ignore[arg-type]
add("1")  # type: ignore[arg-type]
add.options(countdwn=3)  # type: ignore[call-arg]
add.options(countdown="soon")  # type: ignore[arg-type]
add.delay_many([summary.s("ada", date(2026, 11, 21))])  # type: ignore[list-item]
add.delay_many([5])  # type: ignore[list-item]
wrong: int = add.delay(1).get()  # type: ignore[assignment]
text: Result[str] = add.delay(1)  # type: ignore[assignment]
StreamTask("diary", settings={"send_timeout": 1})  # type: ignore[arg-type]
StreamTask("diary", on_blocking_send="ignore")  # type: ignore[arg-type]
TaskOptions(max_retry=1)  # type: ignore[call-arg]
app.task(max_retry=1)  # type: ignore[call-overload]
app.task(queue=5)  # type: ignore[call-overload]
app.send("x", retries=1)  # type: ignore[call-arg]
app.schedule(Every(minutes=5), missed="never")  # type: ignore[call-overload]
app.schedule("*/5 * * * *")  # type: ignore[call-overload]
current().id = "x"  # type: ignore[misc]


async def forgotten() -> None:
    add.adelay(1)  # type: ignore[unused-coroutine]
    text: Result[str] = await add.adelay(1)  # type: ignore[assignment]
    print(text)


@app.schedule(Every(minutes=5))  # type: ignore[type-var]
@app.task(name="needs_an_argument")
async def needs_an_argument(user_id: str) -> None: ...
