"""The fleet's fixtures, and a fleet behind a proxy that fails."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.proxy import Proxy
from tests.chaos.run import Chaos, Plan
from tests.e2e.conftest import fleets
from tests.e2e.fleet import Fleet
from tests.servers import StartServer

__all__ = ["fleets"]

MakeChaos = Callable[[str, Plan], Chaos]


@pytest.fixture
def make_chaos(tmp_path: Path, own_server: StartServer, fleets: Callable[..., Fleet]) -> Iterator[MakeChaos]:
    """Prepares a run on a server of its own that loses nothing. The seed is printed."""
    proxies: list[Proxy] = []

    def make(name: str, plan: Plan) -> Chaos:
        seed = os.environ.get("STREAMTASK_TEST_SEED") or str(random.SystemRandom().randrange(10**6))
        print(f"\n{name}: STREAMTASK_TEST_SEED={seed}", flush=True)
        server = own_server(name, appendonly="yes", appendfsync="always")
        proxies.append(Proxy(server.address, tmp_path / "proxy", seed=seed, rate=plan.rate))
        return Chaos(fleets(server, proxies[-1].url), proxies[-1], plan, seed)

    yield make
    for proxy in proxies:
        proxy.close()
