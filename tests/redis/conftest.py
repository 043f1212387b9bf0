"""A queue on each real server; after each test, every key must have a TTL or stand on the permanent list."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from streamtask.broker.link import SyncLink
from tests.proxy import Proxy
from tests.redis.kit import Stage, fill
from tests.redis.shop import Shop
from tests.redis.topics import Topic
from tests.servers import ALL, Server, StartServer

#: What may stay for ever: design of the keys (docs/reference/keys.md).
PERMANENT = [
    r"[^{}:]+:[^{}:]+",  # a queue's stream, <ns>:queues, <ns>:schedules, streamtask:namespaces
    r"\{[^{}]+\}:(due|body|dead|conf|ticks|where|suspects)",
    r"\{shop:events\}:(lost|g|h)",  # what groups lost of a topic, and their own queues
    r"\{shop:events\}:(g|h):(due|body|dead|conf|topic-conf|where|suspects|types)",
]


@pytest.fixture(params=ALL)
def server_name(request: pytest.FixtureRequest) -> str:
    """Delivery is proven on all servers, the oldest too."""
    name: str = request.param
    return name


@pytest.fixture
def stage(url: str) -> Iterator[Stage]:
    """The queue, on each server in turn."""
    stage = Stage(url)
    yield stage
    stage.link.close()


@pytest.fixture
def topic(url: str) -> Iterator[Topic]:
    """A topic as its group `g` sees it, on each server in turn."""
    topic = Topic(url)
    yield topic
    topic.link.close()


@pytest.fixture
def shop(url: str) -> Iterator[Shop]:
    """An app on each server in turn."""
    shop = Shop(url)
    yield shop
    shop.close()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A way to the server that loses what it is told to lose."""
    with Proxy(server.address) as proxy:
        yield proxy


@pytest.fixture
def far_shop(proxy: Proxy, url: str) -> Iterator[Shop]:
    """An app that reaches its server through the proxy; the stage looks past it."""
    shop = Shop(proxy.url, send_timeout=20)
    shop.stage.link.close()
    shop.stage = Stage(url)
    yield shop
    shop.close()


@pytest.fixture(autouse=True)
def _leaves_only_what_it_may(request: pytest.FixtureRequest) -> Iterator[None]:
    """No script or sender leaves a key for ever that nobody will delete."""
    server: Server | None = request.getfixturevalue("server") if "server" in request.fixturenames else None
    yield
    if server is None:
        return
    link = SyncLink(server.url)
    keys = [key.decode() for key in link.call("KEYS", "*") if link.call("PTTL", key) == -1]
    link.close()
    assert [key for key in keys if not any(re.fullmatch(kind, key) for kind in PERMANENT)] == []


@pytest.fixture
def full(own_server: StartServer, server_name: str) -> Iterator[Callable[[Callable[[Stage], None]], Stage]]:
    """Gives, on a server of its own, a stage that a function prepared and whose memory is full then."""
    stage = Stage(own_server(server_name).url)

    def make(prepare: Callable[[Stage], None]) -> Stage:
        prepare(stage)
        fill(stage)
        return stage

    yield make
    stage.link.close()
