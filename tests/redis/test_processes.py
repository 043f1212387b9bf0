"""Senders in forks, threads and event loops: each has connections of its own, and nobody takes another's answer."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from streamtask import StreamTask
from streamtask.errors import WouldBlock
from tests.redis.shop import Shop
from tests.servers import StartServer
from tests.support import aeventually, eventually

# -- forks --------


def in_child(work: Callable[[], object]) -> None:
    """Fork, do the work in the child, and raise what it raised here."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:  # the child must not get back into pytest, whatever happens
        code = 1
        try:
            signal.alarm(60)
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - told to the parent
            os.write(write, traceback.format_exc()[-4000:].encode())
        finally:
            os._exit(code)
    os.close(write)
    _, status = os.waitpid(pid, 0)
    text = os.read(read, 4000).decode()
    os.close(read)
    assert os.waitstatus_to_exitcode(status) == 0, text


def connections(shop: Shop) -> set[bytes]:
    """The server's clients, without ours that looks."""
    lines = shop.stage("CLIENT", "LIST").splitlines()
    return {line.split()[0] for line in lines if b"cmd=client" not in line}


def test_a_forked_child_sends_over_its_own_connection_and_the_parent_goes_on(shop: Shop) -> None:
    """Gunicorn --preload, multiprocessing, uWSGI: the parent has sent before."""
    shop.pack.delay(0)
    before = connections(shop)

    def child() -> None:
        shop.pack.delay(1)
        shop.pack.delay_many([(2,), (3,)])

    in_child(child)
    shop.pack.delay(4)
    assert connections(shop) == before, "the parent's connection is the same, and open"
    assert [fields["args"] for fields in shop.fields()] == [f'{{"number":{n}}}' for n in range(5)]
    assert len({fields["id"] for fields in shop.fields()}) == 5, "ids are no counter that both would count"


def test_children_side_by_side_do_not_mix_their_answers(shop: Shop) -> None:
    shop.pack.delay(0)

    def child() -> None:
        for n in range(50):
            result = shop.pack.options(message_id=f"{os.getpid()}-{n}").delay(n)
            assert not result.duplicate
            assert result.status() == "waiting"

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(in_child, [child] * 4))
    assert len(shop.fields()) == 201


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # as an error it would keep alive what the child must not close
async def test_a_fork_out_of_a_running_loop_leaves_the_parents_connections_alone(shop: Shop) -> None:
    """The child shares the loop's selector: to close a connection there would end it for the parent."""
    await asyncio.gather(*(shop.pack.adelay(n) for n in range(5)))
    before = connections(shop)

    def child() -> None:
        gc.collect()
        asyncio.events._set_running_loop(None)
        asyncio.run(again())
        gc.collect()

    async def again() -> None:
        await shop.pack.adelay(5)
        await shop.app.aclose()

    in_child(child)
    await asyncio.gather(*(shop.pack.adelay(n) for n in range(6, 11)))
    assert connections(shop) == before
    assert len(shop.fields()) == 11
    await shop.app.aclose()


# -- loops and threads --------


def test_one_loop_after_the_other(shop: Shop) -> None:
    async def send(n: int) -> None:
        await asyncio.gather(*(shop.pack.adelay(n) for _ in range(3)))
        await shop.app.aclose()

    for n in range(3):
        asyncio.run(send(n))
    assert len(shop.fields()) == 9


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_loop_that_ended_without_a_word_leaves_nothing_for_ever(shop: Shop) -> None:
    """As with asyncio.run(task.adelay()) in a script: the next loop works, and finds no heap of old connections."""
    before = connections(shop)
    for n in range(20):
        asyncio.run(_once(shop, n))
    gc.collect()
    assert len(shop.fields()) == 20
    eventually(lambda: len(connections(shop) - before) <= 1)
    asyncio.run(shop.app.aclose())
    shop.app.post.sender._loops.clear()
    gc.collect()


async def _once(shop: Shop, n: int) -> None:
    await shop.pack.adelay(n)


def test_loops_in_threads_side_by_side(shop: Shop) -> None:
    async def send(n: int) -> None:
        await asyncio.gather(*(shop.pack.adelay(n) for _ in range(10)))
        await shop.app.aclose()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: asyncio.run(send(n)), range(4)))
    assert len(shop.fields()) == 40


def test_threads_share_the_clients(shop: Shop) -> None:
    before = connections(shop)
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(shop.pack.delay, range(200)))
    assert {result.id for result in results} == {fields["id"] for fields in shop.fields()}
    assert len(connections(shop) - before) <= 8


async def test_a_thousand_at_once_need_no_thousand_connections(shop: Shop) -> None:
    before = connections(shop)
    results = await asyncio.gather(*(shop.pack.adelay(n) for n in range(1000)))
    assert len({result.id for result in results}) == 1000
    assert len(connections(shop) - before) <= 50
    await shop.app.aclose()


async def test_a_cancelled_send_leaves_its_answer_to_nobody(own_server: StartServer) -> None:
    """The connection has an answer under way: the next call must not take it for its own."""
    server = own_server("redis-8.6")
    shop = Shop(server.url, send_timeout=20)
    await shop.pack.adelay(0)
    for _ in range(20):
        server.sigstop()
        sends = [asyncio.ensure_future(shop.pack.options(message_id="x").adelay(1)) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for send in sends:
            send.cancel()
        await asyncio.wait(sends)
        assert all(send.cancelled() for send in sends)
        server.sigcont()
        result = await shop.pack.adelay(2)
        assert (await result.ainfo()).entry_id == result._entry_id
    await shop.app.aclose()
    shop.close()


async def test_an_async_send_lets_the_loop_go_on(own_server: StartServer) -> None:
    server = own_server("redis-8.6")
    shop = Shop(server.url, send_timeout=20)
    await shop.pack.adelay(0)
    server.sigstop()
    send = asyncio.ensure_future(shop.pack.adelay(1))
    turns = 0

    async def turn() -> bool:
        nonlocal turns
        turns += 1
        return turns > 5

    await aeventually(turn)
    assert not send.done()
    server.sigcont()
    await send
    await shop.app.aclose()
    shop.close()


# -- a blocking send in a running loop --------


async def test_a_blocking_send_in_a_loop_works_and_warns_once_a_call_site(shop: Shop) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for n in range(3):
            shop.pack.delay(n)  # one call site
        shop.pack.delay(3)  # another
        shop.pack.delay_many([(4,)])
        shop.app.send("shop.pack", {"number": 5})
    assert str(told[0].message) == "delay() blocks this event loop until Redis answers; write `await ....adelay(...)`"
    assert [warning.filename for warning in told] == [__file__] * 4
    assert len({warning.lineno for warning in told}) == 4
    assert [str(warning.message).partition("(")[0] for warning in told] == ["delay", "delay", "delay_many", "send"]
    assert len(shop.fields()) == 6


async def test_an_app_may_forbid_or_allow_it(url: str) -> None:
    strict, lax = (StreamTask("ns", url, on_blocking_send=mode) for mode in ("raise", "allow"))  # type: ignore[arg-type]
    with pytest.raises(WouldBlock, match=r"delay\(\) would stop this event loop; write `await \.\.\.\.adelay"):
        strict.task(name="t")(_plain).delay()
    with pytest.raises(WouldBlock):
        strict.send("t")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lax.task(name="t")(_plain).delay()
    lax.close()


def _plain() -> None: ...


async def test_in_a_thread_of_the_loop_it_is_right_and_says_nothing(shop: Shop) -> None:
    """FastAPI's `def` endpoints run there."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await asyncio.to_thread(shop.pack.delay, 1)
    assert len(shop.fields()) == 1


def test_without_a_loop_it_says_nothing(shop: Shop) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shop.pack.delay(1)
    assert threading.active_count() >= 1
