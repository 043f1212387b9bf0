"""Result: wait for the end of a message, or ask how it stands. The test plays the worker."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from streamtask import Cancelled, Context, Result, TaskFailed
from streamtask.context import CURRENT
from streamtask.errors import Expired, ResultExpired, ResultsDisabled, SendError, UnknownQueue, WouldBlock
from streamtask.message import Message
from tests.redis.shop import ERROR, Order, Shop, record_of
from tests.servers import StartServer
from tests.support import aeventually, eventually


def get(result: Result[Any], timeout: float | None = 10) -> Any:
    return result.get(timeout)


def aget(result: Result[Any], timeout: float | None = 10) -> Any:
    async def wait() -> Any:
        try:
            return await result.aget(timeout)
        finally:
            await result._post.sender.aclose()

    return asyncio.run(wait())


@pytest.fixture(params=[get, aget], ids=["get", "aget"])
def wait(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Both ways to wait."""
    way: Callable[..., Any] = request.param
    return way


# -- how it ended --------


def test_a_value_comes_back_as_its_type(shop: Shop, wait: Callable[..., Any]) -> None:
    result = shop.pack.delay(5)
    shop.end(result, record_of("done", '{"number":5,"amount":"Infinity"}'))
    assert wait(result) == Order(5, float("inf"))


def test_a_value_without_its_task_at_hand_is_json(shop: Shop, wait: Callable[..., Any]) -> None:
    sent = shop.pack.delay(5)
    shop.end(sent, record_of("done", '{"number":5}'))
    assert wait(shop.app.result(sent.id, queue="q")) == {"number": 5}


def test_no_value_is_none(shop: Shop, wait: Callable[..., Any]) -> None:
    result = shop.report.delay("ada", "2026-11-21")  # type: ignore[arg-type]  # text is taken as well
    shop.end(result, record_of("done"))
    assert wait(result) is None


def test_a_text_that_looks_like_the_mark_of_the_value_is_no_mark(shop: Shop, wait: Callable[..., Any]) -> None:
    sent = shop.pack.delay(5)
    shop.end(sent, record_of("done", '"a,\\"value\\":b"', worker=',"value":'))
    assert wait(shop.app.result(sent.id, queue="q")) == 'a,"value":b'


@pytest.mark.parametrize(
    ("state", "facts", "error", "text"),
    [
        ("dead", {"reason": "retries", "error": ERROR}, TaskFailed, r"failed \(retries\): OSError: disk full"),
        ("cancelled", {"reason": "too late"}, Cancelled, "was cancelled: too late"),
        ("expired", {}, Expired, "was not started in time"),
    ],
)
def test_another_end_is_an_error(
    shop: Shop, wait: Callable[..., Any], state: str, facts: dict[str, Any], error: type[Exception], text: str
) -> None:
    result = shop.pack.delay(5)
    shop.end(result, record_of(state, **facts), op="X" if state == "dead" else "D")
    with pytest.raises(error, match=text) as told:
        wait(result)
    if isinstance(told.value, TaskFailed):
        assert (told.value.error_type, told.value.traceback) == ("OSError", "Traceback: disk full")


# -- waiting --------


def test_a_wait_has_its_limit(shop: Shop, wait: Callable[..., Any]) -> None:
    result = shop.pack.delay(5)
    start = time.monotonic()
    for limit in (0, 0.05):
        with pytest.raises(TimeoutError, match=rf"shop\.pack {result.id} has no result after {limit:g} s"):
            wait(result, limit)
    assert time.monotonic() - start < 3


def test_a_waiter_is_told_at_once(shop: Shop) -> None:
    result = shop.pack.delay(5)
    found: list[Any] = []
    waiter = threading.Thread(target=lambda: found.append((result.get(30), time.monotonic())))
    waiter.start()
    eventually(lambda: heard(shop, result))
    ended = time.monotonic()
    shop.end(result, record_of("done", '{"number":5}'))
    waiter.join(30)
    ((value, at),) = found
    assert value == Order(5)
    assert at - ended < 0.9, "by the notice, not by the next look"


async def test_many_waiters_in_one_loop_are_told_at_once(shop: Shop) -> None:
    results = await shop.pack.adelay_many(shop.pack.s(n) for n in range(20))
    waits = [asyncio.ensure_future(result.aget(30)) for result in results]
    for result in results:
        await aeventually(lambda result=result: heard(shop, result))
    for result in results:
        shop.end(result, record_of("done", '{"number":1}'))
    assert await asyncio.gather(*waits) == [Order(1)] * 20
    await shop.app.aclose()


async def test_a_result_can_be_awaited(shop: Shop) -> None:
    result = await shop.pack.adelay(5)
    shop.end(result, record_of("done", '{"number":5}'))
    assert await result == Order(5)
    await shop.app.aclose()


def heard(shop: Shop, result: Result[Any]) -> bool:
    """Does anybody listen for the result's end?"""
    return bool(shop.stage("PUBSUB", "NUMSUB", shop.stage.keys.result(result.id))[1])


def test_a_lost_notice_costs_one_look(shop: Shop, wait: Callable[..., Any]) -> None:
    """The record came without its notice, as after a failover."""
    result = shop.pack.delay(5)

    def end() -> None:
        eventually(lambda: heard(shop, result))
        shop.stage("SET", shop.stage.keys.result(result.id), record_of("done", '{"number":5}'), "PX", 60_000)

    other = threading.Thread(target=end)
    other.start()
    assert wait(result) == Order(5)
    other.join()


def test_where_listening_is_forbidden_looking_is_enough(own_server: StartServer, wait: Callable[..., Any]) -> None:
    server = own_server("redis-8.6")
    admin = Shop(server.url)
    admin.stage("ACL", "SETUSER", "deaf", "on", ">word", "~*", "resetchannels", "+@all", "-subscribe")
    shop = Shop(server.url.replace("unix://", "unix://deaf:word@"))
    result = shop.pack.delay(5)
    admin.end(admin.app.result(result.id, queue="q"), record_of("done", '{"number":5}'))
    assert wait(result) == Order(5)
    with pytest.raises(TimeoutError):
        wait(shop.pack.delay(6), 0.3)
    shop.close()
    admin.close()


def test_redis_away_is_a_send_error(own_server: StartServer, wait: Callable[..., Any]) -> None:
    server = own_server("redis-8.6")
    shop = Shop(server.url)
    result = shop.pack.delay(5)
    server.kill9()
    with pytest.raises(SendError, match="did not answer"):
        wait(result)
    with pytest.raises(SendError, match="did not answer"):
        result.status()
    shop.close()


# -- what cannot be waited for --------


def test_a_task_without_results_says_so_at_once(shop: Shop, wait: Callable[..., Any]) -> None:
    with pytest.raises(ResultsDisabled, match=r"shop\.silent stores no results; remove result=False"):
        wait(shop.silent.delay(), None)


def test_a_forgotten_result_says_so_at_once(shop: Shop, wait: Callable[..., Any]) -> None:
    result = shop.pack.delay(5)
    shop.end(result, record_of("done", "{}"))
    shop.stage("DEL", shop.stage.keys.result(result.id))  # its ttl is over
    with pytest.raises(ResultExpired, match="nothing is known of"):
        wait(result, None)
    with pytest.raises(ResultExpired):
        wait(shop.app.result("nobody", queue="q"), None)


async def test_a_blocking_get_in_a_loop_is_refused(shop: Shop) -> None:
    result = await shop.pack.adelay(5)
    with pytest.raises(WouldBlock, match=r"write `await result\.aget\(\)`"):
        result.get(1)
    await shop.app.aclose()


def test_a_blocking_get_in_a_task_must_be_meant(shop: Shop) -> None:
    result = shop.pack.delay(5)
    running = Context(
        Message("2f", "t"), queue="q", stream_id="1-1", deliveries=1, worker="w", sent_ms=0, started_ms=0,
        timeout=None, is_last_attempt=False,
    )  # fmt: skip
    token = CURRENT.set(lambda: running)
    try:
        with pytest.raises(WouldBlock, match="waits for a slot while it occupies one"):
            result.get(1)
        with pytest.raises(TimeoutError):
            result.get(0, allow_in_task=True)
        with pytest.raises(TimeoutError):
            aget(result, 0)
    finally:
        CURRENT.reset(token)


def test_an_id_alone_needs_its_queue_when_there_are_several(shop: Shop) -> None:
    with pytest.raises(UnknownQueue, match="say which"):
        shop.app.result("1f")
    with pytest.raises(UnknownQueue, match="did you mean 'q'"):
        shop.app.result("1f", queue="qq")


def test_an_error_reply_is_not_taken_for_nothing(shop: Shop, wait: Callable[..., Any]) -> None:
    result = shop.pack.delay(5)
    shop.stage("RPUSH", shop.stage.keys.result(result.id), "somebody's")
    shop.stage("EXPIRE", shop.stage.keys.result(result.id), 60)
    for ask in (result.status, lambda: wait(result)):
        with pytest.raises(SendError, match="does not tell how message"):
            ask()
