"""What cannot be sent: each error says what was wrong and what to write instead, and nothing reaches Redis."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from pydantic import ValidationError

from streamtask import SendError, StreamTask
from streamtask.errors import ConfigError, MessageTooLarge, NoRedis, UnknownQueue
from streamtask.settings import Settings
from tests.redis.kit import Stage, fill
from tests.redis.shop import WAYS, Send, Shop
from tests.servers import StartServer

NAMES = ["STREAMTASK_URL", "REDIS_URL", "REDIS_HOST", "REDIS_PORT"]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def send(request: pytest.FixtureRequest) -> Send:
    way: Send = request.param
    return way


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A URL of this machine where nobody listens, and nobody will while the test runs."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{held.getsockname()[1]}/0"


# -- the caller's mistakes --------


def test_a_wrong_argument_is_named(shop: Shop, send: Send) -> None:
    for args, kwargs, text in (((), {}, "number"), (("x",), {}, "number"), ((1,), {"colour": 2}, "colour")):
        with pytest.raises(ValidationError, match=rf"(?s)pack\(\).*{text}"):
            send(shop.pack, *args, **kwargs)
    assert shop.stage.ids() == []


def test_an_unknown_queue_is_named_with_its_nearest(shop: Shop, send: Send) -> None:
    shop.app.queue("letters")
    with pytest.raises(UnknownQueue, match=r"no task uses the queue 'leters'; did you mean 'letters'\?"):
        send(shop.pack.options(queue="leters"), 1)
    with pytest.raises(UnknownQueue, match=r"declare it: app\.queue\('zzz'\) \(known: default, letters, q\)"):
        send(shop.pack.options(queue="zzz"), 1)


def test_a_naive_eta_is_refused_with_the_fix(shop: Shop) -> None:
    with pytest.raises(ValueError, match=r"has no time zone; write datetime\.now\(UTC\)"):
        shop.pack.options(eta=datetime(2026, 11, 21, 12))  # noqa: DTZ001 - that is the mistake


def test_an_unknown_option_is_named(shop: Shop) -> None:
    with pytest.raises(TypeError, match="a call has no option 'countdwn'; did you mean 'countdown'"):
        shop.pack.options(countdwn=5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="a call has no option 'retries'"):
        shop.app.send("x", retries=5)  # type: ignore[call-arg]


def test_a_message_has_a_largest_size(url: str, send: Send) -> None:
    shop = Shop(url, max_message_bytes=2000)
    send(shop.pack, 1, note="x" * 1500)
    for task, note in ((shop.pack, "x" * 2000), (shop.pack.options(headers={"big": "x" * 2000}), "")):
        with pytest.raises(MessageTooLarge, match=r"shop\.pack: the message takes 2,\d\d\d bytes, 2,000 are allowed"):
            send(task, 1, note=note)
    assert len(shop.stage.ids()) == 1
    shop.close()


def test_one_message_that_is_too_large_sends_none(url: str) -> None:
    shop = Shop(url, max_message_bytes=2000)
    with pytest.raises(MessageTooLarge):
        shop.pack.delay_many([(1,), (2, "x" * 2000)])
    assert shop.stage.ids() == []
    shop.close()


# -- the address --------


@pytest.mark.parametrize(
    "url",
    ["http://x", "localhost:6379", "redis://h:notaport/0", "redis://h:6379/zero", "redis://[::1", "redis://h?db=x"],
)
def test_a_bad_address_is_told_when_it_is_first_needed(url: str, send: Send) -> None:
    app = StreamTask("ns", url)
    task = app.task(name="t")(_plain)
    with pytest.raises(ConfigError, match=r"no Redis URL") as told:
        send(task)
    assert "write redis://host:6379/0" in str(told.value)


def _plain() -> None: ...


def test_no_address_and_no_server_names_the_ways_out(nowhere: str, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("streamtask.address.DEFAULT_URL", nowhere)
    with pytest.raises(NoRedis, match="no address was given") as told:
        send(StreamTask("ns").task(name="t")(_plain))
    for way_out in ("STREAMTASK_URL=redis://", "StreamTask(name, url)", "streamtask dev"):
        assert way_out in str(told.value)
    assert isinstance(told.value, ConnectionError)


def test_a_refused_connection_names_the_address_without_its_password(nowhere: str, send: Send) -> None:
    url = nowhere.replace("redis://", "redis://me:secret@")
    with pytest.raises(SendError, match=r"Redis at redis://me:\*\*\*@127\.0\.0\.1:\d+/0 \(from the argument\)") as told:
        send(StreamTask("ns", url).task(name="t")(_plain))
    assert "secret" not in str(told.value)
    assert "connect" in str(told.value).lower()
    assert not isinstance(told.value, NoRedis)
    assert told.value.__cause__ is not None


def test_a_wrong_password_says_so(own_server: StartServer, send: Send) -> None:
    server = own_server("redis-8.6")
    server.ask("CONFIG SET requirepass secret")
    for url in (server.url, server.url.replace("unix://", "unix://:wrong@")):
        with pytest.raises(SendError, match=r"(?i)auth|password"):
            send(StreamTask("ns", url).task(name="t")(_plain))


# -- a server in trouble --------


@pytest.mark.parametrize("when", ["before the first send", "after one"])
def test_a_server_that_stops_answering_is_told_within_the_timeout(
    own_server: StartServer, send: Send, when: str
) -> None:
    server = own_server("redis-8.6")
    shop = Shop(server.url, send_timeout="300ms")
    if when == "after one":
        shop.pack.delay(0)
    server.sigstop()
    start = time.monotonic()
    with pytest.raises(SendError, match="did not answer"):
        send(shop.pack, 1)
    assert 0.25 < time.monotonic() - start < 3
    server.sigcont()
    send(shop.pack, 2)
    shop.close()


def test_a_full_server_is_told_with_its_own_words(own_server: StartServer, send: Send) -> None:
    shop = Shop(own_server("redis-8.6").url)
    shop.stage.group()
    fill(shop.stage)
    for task in (shop.pack, shop.pack.options(countdown=5), shop.pack.options(message_id="x")):
        with pytest.raises(SendError, match=r"Redis refused shop\.pack: .*maxmemory") as told:
            send(task, 1)
        assert list(told.value.errors) == [0]
    assert shop.stage.ids() == []
    shop.close()


def test_of_many_the_refused_ones_are_named_by_their_index(shop: Shop) -> None:
    stage = Stage(shop.stage.url)
    stage("HSET", stage.keys.unique("shop.once", shop.once.task_options.unique.key({"user": "bob"})), "a", "b")  # type: ignore[union-attr]
    stage("EXPIRE", stage.keys.unique("shop.once", shop.once.task_options.unique.key({"user": "bob"})), 60)  # type: ignore[union-attr]
    with pytest.raises(SendError, match=r"Redis refused 1 of 3 messages: .*wrong kind") as told:
        shop.once.delay_many([("ada",), ("bob",), ("cyd",)])
    assert list(told.value.errors) == [1]
    assert len(stage.ids()) == 2, "the others were accepted"
    stage.link.close()


def test_a_restart_between_two_sends_is_not_noticed(own_server: StartServer) -> None:
    server = own_server("redis-8.6", appendonly="yes")
    shop = Shop(server.url)
    shop.pack.delay(1)
    server.restart()
    shop.pack.delay(2)
    shop.stage.link.close()
    assert len(shop.stage.ids()) == 2
    shop.close()


def test_a_server_that_comes_back_is_found_again(own_server: StartServer, send: Send) -> None:
    server = own_server("redis-8.6", appendonly="yes")
    shop = Shop(server.url, send_timeout="300ms")
    send(shop.pack, 1)
    server.kill9()
    with pytest.raises(SendError):
        send(shop.pack, 2)
    server.start()
    send(shop.pack, 3)
    shop.stage.link.close()
    assert len(shop.stage.ids()) >= 1
    shop.close()


def test_settings_bound_the_wait(url: str) -> None:
    app = StreamTask("ns", url, settings=Settings(send_timeout=0.2))
    assert app.post.sender._timeout == 0.2
