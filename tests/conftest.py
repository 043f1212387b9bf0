"""Real servers for every test that asks: `url`, `server`, `redis86`, `valkey81`, `own_server`.

A server starts once a session, at its first use, and is emptied before each test. Where it is not installed its tests
are skipped; with CI=true or STREAMTASK_TEST_REQUIRE_SERVERS=1 they fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import INSTALL, NAMES, Server, available

# No test depends on speed; on a busy machine an example of microseconds may take a second.
settings.register_profile("streamtask", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("streamtask")


def _need(name: str) -> None:
    if name not in available():
        missing(f"{name} is not installed: {INSTALL}")


def missing(text: str) -> None:
    """Skip the test for want of what is not installed, or fail it where all of that is required."""
    if os.environ.get("CI") == "true" or os.environ.get("STREAMTASK_TEST_REQUIRE_SERVERS") == "1":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], Server]]:
    """Gives the session's server by name: running and empty."""
    running: dict[str, Server] = {}

    def get(name: str) -> Server:
        _need(name)
        server = running.get(name) or running.setdefault(name, Server(name))
        server.start()  # a test that crashed it must not take the others along
        server.flush()
        return server

    yield get
    for server in running.values():
        server.close()


@pytest.fixture(params=NAMES)
def server_name(request: pytest.FixtureRequest) -> str:
    """Each server's name in turn; for one only: `@pytest.mark.parametrize("server_name", ["valkey-8.1"])`.

    The folders whose tests prove delivery (tests/redis, tests/worker) take all three.
    """
    name: str = request.param
    return name


@pytest.fixture
def server(servers: Callable[[str], Server], server_name: str) -> Server:
    """Each server in turn: the test runs on each. Shared, so do not stop or reconfigure it: see `own_server`."""
    return servers(server_name)


@pytest.fixture
def url(server: Server) -> str:
    """The URL of each server in turn; its databases are empty."""
    return server.url


@pytest.fixture
def redis86(servers: Callable[[str], Server]) -> Server:
    """The shared Redis 8.6, empty."""
    return servers("redis-8.6")


@pytest.fixture
def valkey81(servers: Callable[[str], Server]) -> Server:
    """The shared Valkey 8.1, empty."""
    return servers("valkey-8.1")


@pytest.fixture
def own_server() -> Iterator[Callable[..., Server]]:
    """Starts a server for this test alone, to be killed, frozen, restarted or reconfigured.

    `own_server("redis-8.6", tcp=False, appendonly="yes", maxmemory="20mb")`: see `tests.servers.Server`.
    """
    started: list[Server] = []

    def start(name: str = "redis-8.6", *, tcp: bool = False, **options: str | int) -> Server:
        _need(name)
        server = Server(name, tcp=tcp, **options)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.close()
