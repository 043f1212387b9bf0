"""A hub for all tests that take the usual one, and ways to start others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.hub.kit import Hub, Process
from tests.servers import INSTALL, Server, available

REDIS = "redis-8.6"


@pytest.fixture(scope="session")
def hub_server() -> Iterator[Server]:
    """The Redis of the usual hub."""
    if REDIS not in available():
        missing(f"{REDIS} is not installed: {INSTALL}")
    with Server(REDIS) as server:
        yield server


@pytest.fixture(scope="session")
def usual_hub(hub_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub for events and for the tasks of tests.hub.shop; a worker of that runs, too."""
    folder = tmp_path_factory.mktemp("hub")
    root = str(Path(__file__).parents[2])
    env = {"PYTHONPATH": root, "REDIS_POOL_SIZE": "10"}
    worker = Process(folder / "worker.log", folder, "worker", "tests.hub.shop:app", "--url", hub_server.url, **env)
    with Hub(folder, hub_server.url, "--namespace", "shop", **env) as hub:
        worker.wait_for("worker.ready")
        yield hub
    worker.close()


@pytest.fixture
def hub(usual_hub: Hub) -> Hub:
    """It, with none of the streams that tests write."""
    for key in usual_hub.redis.scan_iter("*alt:*"):
        usual_hub.redis.delete(key)
    return usual_hub


@pytest.fixture
def hubs(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Hub]]:
    """Starts hubs: `hubs(url, *args, **environment)`."""
    made: list[Hub] = []

    def make(url: str, *args: str, **more: str) -> Hub:
        folder = tmp_path / f"hub-{len(made)}"
        folder.mkdir()
        made.append(Hub(folder, url, *args, **more))
        return made[-1]

    before = request.session.testsfailed
    yield make
    for hub in made:
        hub.__exit__()
        if request.session.testsfailed > before:
            print(hub.log.read_text(errors="replace"))
