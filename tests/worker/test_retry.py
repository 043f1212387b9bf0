"""Attempts that fail: waits and counts, what user code may raise, timeouts, dead letters byte for byte."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from streamtask import Reject, Retry, RetryPolicy, Snooze, current
from streamtask.errors import Cancelled, TaskFailed
from tests.support import aeventually
from tests.worker.kit import Lab

QUICK = RetryPolicy(base=0.05, factor=2, jitter="none")


@pytest.mark.parametrize("threads", [False, True])
async def test_attempts_are_counted_and_the_last_error_is_buried(lab: Lab, threads: bool) -> None:
    seen: list[tuple[int, bool]] = []

    def body() -> None:
        seen.append((current().attempt, current().is_last_attempt))
        raise OSError(f"number {current().attempt}")

    async def coroutine() -> None:
        body()

    def thread() -> None:
        body()

    task = lab.task(thread if threads else coroutine, max_retries=3, retry=QUICK)
    async with lab.worker():
        result = await task.adelay()
        with pytest.raises(TaskFailed, match="number 4") as caught:
            await result.aget(10)
        await lab.empty()
    assert seen == [(1, False), (2, False), (3, False), (4, True)]
    assert (caught.value.error_type, caught.value.reason) == ("OSError", "retries")
    assert [event["retry_in_s"] for event in lab.events.named("task.retry")] == [0.05, 0.1, 0.2]
    (event,) = lab.events.named("task.dead")
    assert (event["reason"], event["attempt"], event["id"]) == ("retries", 4, result.id)
    info = await result.ainfo()
    assert (info.status, info.attempt, info.reason) == ("dead", 4, "retries")


async def test_a_retry_that_succeeds_leaves_nothing_behind(lab: Lab) -> None:
    async def flaky(until: int) -> int:
        if current().attempt < until:
            raise ValueError("not yet")
        return current().attempt

    task = lab.task(flaky, max_retries=5, retry=QUICK)
    async with lab.worker():
        results = await task.adelay_many((n,) for n in (1, 2, 3, 2, 1))
        assert [await result.aget(10) for result in results] == [1, 2, 3, 2, 1]
        await lab.empty()
    assert lab.dead() == []


async def test_a_dead_letter_holds_the_original_byte_for_byte_and_what_became_of_it(lab: Lab) -> None:
    async def fail(text: str) -> None:
        raise KeyError("gone")

    lab.task(fail, max_retries=0)
    fields = {
        b"task": b"fail", b"id": b"mine", b"args": b'{"text" :  "\xc3\xa4\\u0000"}', b"meta": b'{"x": [1, 2]}',
        b"of the sender": bytes(range(256)),
    }  # fmt: skip
    lab.group()
    entry = lab.client.xadd(lab.keys().stream, fields)
    async with lab.worker():
        await aeventually(lab.dead)
        await lab.empty()
    (dead,) = lab.dead()
    assert {name: value for name, value in dead.items() if not name.startswith(b"dead_")} == fields
    told = {name.decode(): value for name, value in dead.items() if name.startswith(b"dead_")}
    assert told.pop("dead_traceback").rstrip().endswith(b"KeyError: 'gone'")
    assert abs(int(told.pop("dead_at")) - int(entry.split(b"-")[0])) < 60_000
    assert told == {
        "dead_group": b"workers", "dead_stream_id": entry, "dead_id": b"mine", "dead_reason": b"retries",
        "dead_error": b"KeyError: 'gone'", "dead_deliveries": b"1", "dead_attempt": b"1",
    }  # fmt: skip


async def test_retry_takes_its_own_delay_and_counts(lab: Lab) -> None:
    seen: list[int] = []

    async def again() -> str:
        seen.append(current().attempt)
        if len(seen) == 1:
            raise Retry(0)
        if len(seen) == 2:
            raise Retry(0.05) from OSError("busy")
        if len(seen) == 3:
            raise Retry(at=datetime.now(UTC) + timedelta(seconds=0.05))
        if len(seen) == 4:
            raise Retry(0.01, counts=False)
        return "done"

    task = lab.task(again, max_retries=3)
    async with lab.worker():
        assert await (await task.adelay()).aget(10) == "done"
    assert seen == [1, 2, 3, 4, 4]
    delays = [event["retry_in_s"] for event in lab.events.named("task.retry")]
    assert delays[:2] == [0, 0.05]
    assert [event["error_type"] for event in lab.events.named("task.retry")][1] == "OSError"
    assert len(lab.events.named("task.snooze")) == 1


async def test_the_last_retry_is_buried_with_its_cause(lab: Lab) -> None:
    async def never() -> None:
        raise Retry(0) from OSError("the cause")

    task = lab.task(never, max_retries=1)
    async with lab.worker():
        with pytest.raises(TaskFailed, match="the cause") as caught:
            await (await task.adelay()).aget(10)
    assert caught.value.error_type == "OSError"


async def test_reject_buries_at_once_or_drops(lab: Lab) -> None:
    async def refuse(bury: bool) -> None:
        raise Reject("no such user", bury=bury)

    task = lab.task(refuse, max_retries=5)
    async with lab.worker():
        buried, dropped = await task.adelay(True), await task.adelay(False)
        with pytest.raises(TaskFailed, match="no such user") as caught:
            await buried.aget(10)
        with pytest.raises(Cancelled, match="no such user"):
            await dropped.aget(10)
        await lab.empty()
    assert caught.value.reason == "reject"
    assert [dead[b"dead_id"].decode() for dead in lab.dead()] == [buried.id]


async def test_snooze_is_neither_an_attempt_nor_an_error(lab: Lab) -> None:
    seen: list[int] = []

    async def later() -> int:
        seen.append(current().attempt)
        if len(seen) < 6:
            raise Snooze(0.01)
        return len(seen)

    task = lab.task(later, max_retries=0)
    async with lab.worker():
        assert await (await task.adelay()).aget(10) == 6
    assert seen == [1] * 6


async def test_a_policy_says_what_is_tried_again_and_when(lab: Lab) -> None:
    class Busy(Exception):
        def __init__(self, wait: float) -> None:
            super().__init__(wait)
            self.wait = wait

    def wait_of(error: BaseException) -> float | None:
        return error.wait if isinstance(error, Busy) else None

    async def raising(kind: str) -> str:
        if kind == "type":
            raise TypeError("a bug, not an outage")
        if kind == "busy" and current().attempt == 1:
            raise Busy(0.07)
        if kind == "listed" and current().attempt < 3:
            raise ValueError("listed")
        return "done"

    policy = RetryPolicy(delays=(0.02, 0.03), retry_after=wait_of)
    task = lab.task(raising, retry=policy, max_retries=5)
    async with lab.worker():
        bug, busy, listed = [await task.adelay(kind) for kind in ("type", "busy", "listed")]
        with pytest.raises(TaskFailed):
            await bug.aget(10)
        assert [await busy.aget(10), await listed.aget(10)] == ["done", "done"]
    waits = {event["id"]: [] for event in lab.events.named("task.retry")}
    for event in lab.events.named("task.retry"):
        waits[event["id"]].append(event["retry_in_s"])
    assert waits == {busy.id: [0.07], listed.id: [0.02, 0.03]}


@pytest.mark.parametrize("wait", [float("inf"), float("nan"), -1.0, "soon", ZeroDivisionError("broken")])
async def test_a_broken_policy_of_the_user_breaks_no_worker(lab: Lab, wait: object) -> None:
    def wait_of(error: BaseException) -> float | None:
        if isinstance(wait, Exception):
            raise wait
        return wait  # type: ignore[return-value]

    async def fail() -> None:
        raise OSError("down")

    async def fine() -> str:
        return "fine"

    policy = RetryPolicy(base=0.01, jitter="none", retry_after=wait_of)
    failing, good = lab.task(fail, retry=policy, max_retries=1), lab.task(fine)
    async with lab.worker():
        result = await failing.adelay()
        with pytest.raises(TaskFailed):
            await result.aget(10)
        assert await (await good.adelay()).aget(10) == "fine"
        await lab.empty()


class Unspeakable(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "error",
    [Unspeakable(), ValueError("half a character \ud800"), ValueError("x" * 5_000_000), ValueError("\x00\x01"),
     Reject("\ud800", bury=False), Reject(object(), bury=False), Retry(reason="\udfff")],  # type: ignore[arg-type]
    ids=["unspeakable", "surrogate", "huge", "control", "reject", "reject-object", "retry"],
)  # fmt: skip
async def test_no_text_of_an_error_breaks_the_worker(lab: Lab, error: Exception) -> None:
    async def fail() -> None:
        raise error

    async def fine() -> str:
        return "fine"

    failing, good = lab.task(fail, max_retries=1, retry=QUICK), lab.task(fine)
    async with lab.worker():
        result = await failing.adelay()
        with pytest.raises((TaskFailed, Cancelled)):
            await result.aget(10)
        assert await (await good.adelay()).aget(10) == "fine"
        await lab.empty()
