"""Sends whose answer is lost: nothing doubles and nothing is lost; what stays in doubt is told. A real proxy cuts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from streamtask import Result, SendError
from streamtask.broker.link import Cut
from streamtask.broker.scripts import ALL
from streamtask.errors import MaybeSent
from tests.proxy import Proxy
from tests.redis.kit import Stage
from tests.redis.shop import WAYS, Send, Shop, asyncio_, blocking
from tests.redis.test_processes import in_child
from tests.servers import Server, StartServer
from tests.support import eventually

idempotent = pytest.mark.parametrize("server_name", ["redis-8.6"])
plain = pytest.mark.parametrize("server_name", ["valkey-8.1", "redis-7.0"])


@pytest.fixture
def shop(far_shop: Shop) -> Shop:
    """Its server is behind the proxy."""
    return far_shop


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def send(request: pytest.FixtureRequest) -> Send:
    way: Send = request.param
    return way


def numbers(shop: Shop) -> list[int]:
    """What the stream holds, in order."""
    return [int(fields["args"].partition('"number":')[2].partition(",")[0].rstrip("}")) for fields in shop.fields()]


# -- one message --------


@pytest.mark.parametrize("lose", ["drop_reply", "drop_command"])
def test_the_first_send_to_a_stream_is_repeated_on_every_server(
    shop: Shop, proxy: Proxy, send: Send, lose: str
) -> None:
    """Nothing is known of the server yet."""
    getattr(proxy, lose)()
    result = send(shop.pack, 5)
    assert numbers(shop) == [5]
    assert (result.duplicate, result.status()) == (False, "waiting")


@idempotent
@pytest.mark.parametrize("lose", ["drop_reply", "drop_command"])
def test_an_idempotent_send_is_repeated_until_it_is_answered(shop: Shop, proxy: Proxy, send: Send, lose: str) -> None:
    send(shop.pack, 1)
    getattr(proxy, lose)(times=3)
    result = send(shop.pack, 2)
    assert numbers(shop) == [1, 2]
    assert result.info().entry_id == shop.stage.ids()[1]
    assert not result.duplicate


@plain
@pytest.mark.parametrize("lose", ["drop_reply", "drop_command"])
def test_elsewhere_it_is_told_at_once_and_never_repeated(shop: Shop, proxy: Proxy, send: Send, lose: str) -> None:
    send(shop.pack, 1)
    getattr(proxy, lose)()
    with pytest.raises(MaybeSent, match=r"Redis may have taken shop\.pack [0-9a-f]{32}: look for it") as told:
        send(shop.pack, 2)
    there = [fields["id"] for fields in shop.fields()][1:]
    assert there == (list(told.value.ids) if lose == "drop_reply" else [])
    assert told.value.errors[0].ids == told.value.ids  # type: ignore[attr-defined]
    assert shop.app.result(told.value.ids[0], queue="q").status() == ("waiting" if there else "unknown")
    send(shop.pack, 3)
    assert numbers(shop)[-1] == 3


def finish(shop: Shop) -> None:
    """A worker ends the message before its sender asks again: only what remembers its id is left."""
    keys = shop.stage.keys
    assert shop.stage.ids() or shop.stage.due(), "the server has run the command"
    shop.stage("DEL", keys.stream, keys.due, keys.body, *shop.stage("KEYS", "*:unique:shop.report:*"))


@pytest.mark.parametrize("which", ["countdown", "unique", "message_id"])
@pytest.mark.parametrize("ended", [False, True])
def test_scripts_are_repeated_on_every_server_also_when_the_message_has_ended(
    shop: Shop, proxy: Proxy, send: Send, which: str, ended: bool
) -> None:
    task, args = {
        "countdown": (shop.pack.options(countdown=30), (5,)),
        "unique": (shop.report, ("ada", "2026-11-21")),
        "message_id": (shop.pack.options(message_id="order-5"), (5,)),
    }[which]
    for script in ALL:
        shop.stage("SCRIPT", "LOAD", script.text)  # so that the first reply is the message's own
    proxy.drop_reply(1, then=(lambda: finish(shop)) if ended else (lambda: None))
    result: Result[Any] = send(task, *args)
    assert len(shop.stage.ids()) + len(shop.stage.due()) == (0 if ended else 1)
    # Whether this send or an earlier one brought a chosen id cannot be told any more.
    assert result.duplicate == (which == "message_id")


# -- many --------


@idempotent
@pytest.mark.parametrize("nth", [1, 500, 1000, 1003])
def test_a_thousand_whose_answers_stop_in_the_middle_are_there_once_and_in_order(
    shop: Shop, proxy: Proxy, nth: int
) -> None:
    shop.pack.delay(-1)
    proxy.drop_reply(nth)
    results = shop.pack.delay_many((n,) for n in range(1500))
    assert numbers(shop) == list(range(-1, 1500))
    assert [result.id for result in results] == [fields["id"] for fields in shop.fields()][1:]


@pytest.mark.parametrize("nth", [1, 700])
def test_the_first_thousand_of_a_process_are_there_once_on_every_server(shop: Shop, proxy: Proxy, nth: int) -> None:
    proxy.drop_reply(nth)
    shop.pack.delay_many((n,) for n in range(1000))
    assert sorted(numbers(shop)) == list(range(1000))


@plain
def test_elsewhere_those_in_doubt_are_named_and_the_rest_is_not_sent(shop: Shop, proxy: Proxy) -> None:
    shop.pack.delay(-1)
    proxy.drop_reply(1000 + 301)
    with pytest.raises(
        MaybeSent, match=r"Redis may have taken 700 messages of shop\.pack \(\.ids\): look for them"
    ) as told:
        shop.pack.delay_many((n,) for n in range(2500))
    errors = told.value.errors
    assert sorted(errors) == list(range(1300, 2500))
    assert {i for i, error in errors.items() if isinstance(error, MaybeSent)} == set(range(1300, 2000))
    assert all(type(errors[i]) is SendError for i in range(2000, 2500))
    sent = numbers(shop)
    assert sent == list(range(-1, len(sent) - 1))
    assert 1300 < len(sent) <= 2001, "how many of those in doubt it had run is what nobody knew"
    assert {fields["id"] for fields in shop.fields()[1301:]} <= set(told.value.ids)


@idempotent
def test_three_thousand_in_doubt_at_once_do_not_double(shop: Shop, proxy: Proxy) -> None:
    """More than Redis remembers of one producer id, so each send in flight has its own."""
    shop.pack.delay(-1)
    stage = Stage(shop.stage.url)
    proxy.drop_reply(2, times=3, then=lambda: eventually(lambda: stage("XLEN", stage.keys.stream) == 3001))
    sends = [[(1000 * k + n,) for n in range(1000)] for k in range(3)]
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(shop.pack.delay_many, sends))
    assert sorted(numbers(shop)) == list(range(-1, 3000))
    assert stream_facts(shop)["iids-duplicates"] >= 2000, "they were in doubt indeed"
    stage.link.close()


@idempotent
@pytest.mark.parametrize("lost", [1, 300, 1000])
def test_a_thousand_into_a_stream_that_was_just_deleted_are_there_once(shop: Shop, proxy: Proxy, lost: int) -> None:
    """Nothing is set up there, so Redis remembers a hundred ids of one producer."""
    stage = Stage(shop.stage.url)
    shop.pack.delay(-1)
    stage("DEL", stage.keys.stream)
    proxy.drop_reply(lost, then=lambda: eventually(lambda: stage("XLEN", stage.keys.stream) == 1000))
    shop.pack.delay_many((n,) for n in range(1000))
    assert numbers(shop) == list(range(1000))
    assert stream_facts(shop)["iids-duplicates"] >= 1001 - lost, "they were in doubt indeed"
    stage.link.close()


@idempotent
def test_whoever_sends_first_into_a_deleted_stream_makes_redis_forget_nothing(shop: Shop, proxy: Proxy) -> None:
    """Another process, new to that stream, tells Redis how much to keep while ours is in doubt."""
    other = Shop(shop.stage.url)
    shop.pack.delay(-1)
    shop.stage("DEL", shop.stage.keys.stream)
    proxy.drop_reply(then=lambda: other.pack.delay(2))
    shop.pack.delay(1)
    assert numbers(shop) == [1, 2]
    other.close()


@idempotent
def test_what_comes_late_out_of_a_connection_that_was_given_up_is_still_known(shop: Shop) -> None:
    """However much was sent meanwhile."""
    shop.pack.delay(0)
    sending = shop.app.post.sender._sending
    steps = sending.send(shop.pack._all([(1,)]))
    late = next(steps)
    lost = SendError("no answer")
    lost.__cause__ = Cut(RedisConnectionError("reset by peer"), [])
    again: Any = steps.throw(lost)
    with pytest.raises(StopIteration):
        steps.send(shop.stage.link.batch(again.commands))
    for n in range(2, 152):
        shop.pack.delay(n)
    shop.stage.link.batch(late)  # type: ignore[arg-type]
    assert numbers(shop) == list(range(152))


# -- producer ids --------


def stream_facts(shop: Shop) -> dict[str, Any]:
    flat = shop.stage("XINFO", "STREAM", shop.stage.keys.stream)
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


@idempotent
def test_the_stream_is_set_up_once_with_the_first_send_and_costs_no_round_trip(shop: Shop, proxy: Proxy) -> None:
    shop.pack.delay(1)
    assert proxy.commands == ["EVAL", "HELLO", "XCFGSET", "SADD", "SADD"]
    shop.pack.delay(2)
    shop.pack.delay_many([(3,), (4,)])
    assert proxy.commands[5:] == ["XADD"] * 3
    facts = stream_facts(shop)
    assert (facts["idmp-duration"], facts["idmp-maxsize"]) == (100, 100)
    assert (facts["pids-tracked"], facts["iids-tracked"]) == (1, 3)
    other = Shop(proxy.url)
    other.pack.delay(5)
    other.close()
    assert stream_facts(shop)["iids-tracked"] == 3, "another process makes Redis forget nothing"


@plain
def test_a_server_without_idmp_is_asked_once(shop: Shop, proxy: Proxy) -> None:
    for n in range(3):
        shop.pack.delay(n)
    assert proxy.commands == ["EVAL", "HELLO", "XCFGSET", "SADD", "SADD", "XADD", "XADD"]
    assert numbers(shop) == [0, 1, 2]


@idempotent
def test_forked_children_have_producer_ids_of_their_own(shop: Shop) -> None:
    for n in range(2):
        shop.pack.delay(n)
    for _ in range(2):
        in_child(lambda: shop.pack.delay(2))
    shop.pack.delay(3)
    assert stream_facts(shop)["pids-tracked"] == 3
    assert len(shop.fields()) == 5


@idempotent
def test_a_child_forked_during_a_send_takes_no_id_from_it(shop: Shop) -> None:
    """The parent's sends are in its memory, too; when they end there, their producer ids stay the parent's."""
    shop.pack.delay(0)
    under_way = shop.app.post.sender._sending.send(shop.pack._all([(1,)]))
    commands = next(under_way)

    def child() -> None:
        under_way.close()
        shop.pack.delay(2)

    in_child(child)
    with pytest.raises(StopIteration):
        under_way.send(shop.stage.link.batch(commands))  # type: ignore[arg-type]
    shop.pack.delay(3)
    assert stream_facts(shop)["pids-tracked"] == 2
    assert numbers(shop) == [0, 2, 1, 3]


@idempotent
def test_threads_share_a_few_ids(shop: Shop) -> None:
    shop.pack.delay(0)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(shop.pack.delay, range(1, 400)))
    assert stream_facts(shop)["pids-tracked"] <= 8
    assert sorted(numbers(shop)) == list(range(400))


# -- a server that changes, and rights that are missing --------


@pytest.mark.parametrize("rights", ["+xadd", "+xadd +sadd +hello"])
def test_who_may_only_add_still_sends(server: Server, shop: Shop, rights: str) -> None:
    server.ask(f"ACL SETUSER small reset on >p ~* {rights}")
    small = Shop(server.url.replace("unix://", "unix://small:p@"))
    for n in range(3):
        small.pack.delay(n)
    small.close()
    server.ask("ACL DELUSER small")
    server.ask("ACL LOG RESET")
    assert numbers(shop) == [0, 1, 2]


@plain
def test_an_older_server_at_the_same_address_is_noticed(shop: Shop) -> None:
    shop.app.post.sender._sending._idmp[shop.stage.keys.stream] = True
    for n in range(3):
        shop.pack.delay(n)
    assert numbers(shop) == [0, 1, 2]
    assert shop.app.post.sender._sending._idmp == {shop.stage.keys.stream: False}


# -- a server that is away for a moment --------


@pytest.mark.parametrize("send", [blocking, asyncio_])
def test_a_server_that_starts_again_within_the_timeout_is_waited_for(
    own_server: StartServer, server_name: str, send: Send
) -> None:
    """Refused connections and LOADING are no doubt: nothing was sent, or it was refused."""
    server = own_server(server_name, key_load_delay=2000)  # in microseconds a key
    shop = Shop(server.url, send_timeout=60)
    for n in range(2):
        send(shop.pack, n)
    for n in range(200):
        server.ask(f"SET key-{n} x")
    server.ask("SAVE")
    server.kill9()
    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(send, shop.pack, 2)
        server.start()
        sending.result()
    shop.stage.link.close()
    assert numbers(shop) == [0, 1, 2]
    shop.close()


def test_who_has_just_waited_in_vain_waits_no_more_until_it_is_answered(own_server: StartServer) -> None:
    """Else the requests of a web server would pile up. Waiting for an hour ends this test."""
    server = own_server("valkey-8.1")
    shop = Shop(server.url, send_timeout="200ms")
    shop.pack.delay(0)
    server.kill9()
    with pytest.raises(SendError):
        shop.pack.delay(1)
    sending = shop.app.post.sender._sending
    sending._window = 3600
    with pytest.raises(SendError, match="did not answer") as told:
        shop.pack.delay(2)
    assert not isinstance(told.value, MaybeSent)
    server.start()
    shop.pack.delay(3)
    assert sending._reached
    shop.close()


@idempotent
def test_what_stays_in_doubt_for_the_whole_timeout_is_told(proxy: Proxy, url: str) -> None:
    shop = Shop(proxy.url, send_timeout="300ms")
    shop.pack.delay(0)
    for task, todo in ((shop.pack, "look for it"), (shop.pack.options(message_id="order-5"), "send again with the")):
        proxy.drop_reply(times=1000)
        with pytest.raises(MaybeSent, match=todo) as told:
            task.delay(1)
        proxy.drop_reply(10**9)
        assert len(told.value.ids) == 1
    shop.pack.options(message_id="order-5").delay(1)
    assert [fields["args"] for fields in shop.fields()] == ['{"number":0}', '{"number":1}', '{"number":1}']
    shop.close()
