"""The proxy itself: what passes is unchanged, and each way to spoil is what its name says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from streamtask.broker.scripts import RENEW
from tests.chaos.proxy import KINDS, Proxy
from tests.chaos.resp import Frames, words
from tests.servers import Server
from tests.support import eventually

MakeProxy = Callable[..., Proxy]


@pytest.fixture
def proxy(tmp_path: Path, valkey81: Server) -> Iterator[MakeProxy]:
    """Makes proxies before one server."""
    made: list[Proxy] = []

    def make(rate: float, *kinds: str, seed: str = "1") -> Proxy:
        log = tmp_path / f"proxy-{len(made)}"
        made.append(Proxy(valkey81.address, log, seed=seed, rate=rate, kinds=kinds or tuple(KINDS)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def client(url: str) -> redis.Redis:
    """A client that repeats nothing."""
    return redis.Redis.from_url(url, protocol=2, retry=Retry(NoBackoff(), 0), driver_info=None, socket_timeout=10)


def test_frames_are_cut_wherever_the_bytes_break() -> None:
    values = [
        b"+OK\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"$6\r\na\r\n$1b\r\n",
        b"*2\r\n*3\r\n:1\r\n$0\r\n\r\n*0\r\n-ERR no\r\n",
    ]
    stream = b"".join(values)
    for size in range(1, len(stream) + 1):
        frames, got = Frames(), []
        for start in range(0, len(stream), size):
            got += frames.feed(stream[start : start + size])
        assert got == values, size
    assert words(b"*3\r\n$3\r\nSET\r\n$4\r\n\r\n\r\n\r\n$1\r\nx\r\n", 3) == [b"SET", b"\r\n\r\n", b"x"]


def test_without_faults_everything_passes_also_reads_that_wait(proxy: MakeProxy) -> None:
    through = proxy(0.0)
    with client(through.url) as one, client(through.url) as other:
        blob = bytes(range(256)) * 2000
        one.set("blob", blob)
        assert one.get("blob") == blob
        one.xgroup_create("s", "g", mkstream=True)
        got: list[object] = []
        reader = threading.Thread(target=lambda: got.append(one.xreadgroup("g", "me", {"s": ">"}, block=9000)))
        reader.start()
        eventually(lambda: other.info("clients")["blocked_clients"] == 1)
        assert [other.ping() for _ in range(100)] == [True] * 100
        other.xadd("s", {"a": "b"})
        reader.join()
        assert got[0][0][1][0][1] == {b"a": b"b"}
    passed = through.close()
    assert (passed["set"], passed["ping"], passed["xreadgroup"]) == (1, 100, 1)
    assert through.spoiled() == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_way_to_spoil(proxy: MakeProxy, valkey81: Server, kind: str) -> None:
    url = proxy(1.0, kind).url
    began = time.monotonic()
    with client(url) as spoiled, client(valkey81.url) as direct:
        cut = False
        try:
            spoiled.set("key", "x" * 100)
        except redis.ConnectionError:
            cut = True
        executed = direct.get("key") is not None
    took = time.monotonic() - began
    assert cut == (not kind.startswith("late"))
    assert executed == (not kind.endswith("request") or kind == "late_request")
    assert took > {"late_request": 0.02, "late_reply": 0.02, "silence": 0.5}.get(kind, 0)


def test_what_it_does_is_written_down_with_whom_and_drawn_by_the_seed(proxy: MakeProxy) -> None:
    logs = []
    for _ in range(2):
        through = proxy(0.1, "lost_reply", "lost_request", seed="again")
        link = redis.Redis.from_url(through.url, protocol=2, driver_info=None, client_name="host:42/beef")
        failures = 0
        for _ in range(300):
            try:
                link.ping()
            except redis.ConnectionError:
                failures += 1
        link.close()
        passed, spoiled = through.close(), through.spoiled()
        assert failures == len(spoiled) > 10
        assert passed.total() > 300
        assert {one.pid for one in spoiled if one.command == "ping"} == {42}
        logs.append([(one.kind, one.command, one.who) for one in spoiled])
    assert logs[0] == logs[1]


def test_a_turn_of_a_lease_thread_is_written_down_when_its_answer_has_come(proxy: MakeProxy) -> None:
    through = proxy(0.0)
    link = redis.Redis.from_url(through.url, protocol=2, driver_info=None, client_name="host:42/beef")
    link.script_load(RENEW.text)
    began = time.monotonic()
    link.evalsha(RENEW.sha, 1, "stream", "group", "me")  # its first command; more than one may follow
    between = time.monotonic()
    link.set("presence", "here")
    ended = time.monotonic()
    link.evalsha(RENEW.sha, 1, "stream", "group", "me")  # a turn that is not over
    link.close()
    (turn,) = [note for note in through.notes() if note.kind == "turn"]
    assert (turn.command, turn.pid) == ("set", 42)
    assert began <= turn.at <= between <= turn.until <= ended


def test_a_server_that_is_away_is_away_behind_it_too(proxy: MakeProxy, valkey81: Server) -> None:
    through = proxy(0.0)
    valkey81.stop()
    with pytest.raises(redis.ConnectionError), client(through.url) as link:
        link.ping()
    valkey81.start()
    with client(through.url) as link:
        assert link.ping()
    port = int(through.url.split(":")[-1].split("/")[0])
    through.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))
