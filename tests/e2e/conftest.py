"""Fixtures of the tests with real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.fleet import Fleet
from tests.e2e.private import Place
from tests.servers import Server


@pytest.fixture(params=["redis-8.6", pytest.param("valkey-8.1", marks=pytest.mark.long)])
def server_name(request: pytest.FixtureRequest) -> str:
    """Each server's name in turn, the second in `make test-long`: processes take seconds. What proves delivery when
    they are killed takes both at once, see `both_servers`.
    """
    name: str = request.param
    return name


@pytest.fixture
def place(tmp_path: Path, valkey81: Server) -> Iterator[Place]:
    """A place whose server is the Valkey of the wheel."""
    place = Place(tmp_path / "a place" / "données", valkey81.path)
    yield place
    place.close()


@pytest.fixture
def fleets(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Fleet]]:
    """Makes fleets of processes; their logs are shown when the test fails."""
    made: list[Fleet] = []

    def make(server: Server, url: str | None = None) -> Fleet:
        folder = tmp_path / f"fleet-{len(made)}"
        folder.mkdir()
        made.append(Fleet(folder, server, url))
        return made[-1]

    before = request.session.testsfailed
    yield make
    for fleet in made:
        fleet.close()
        if request.session.testsfailed > before:
            print(fleet.logs())


@pytest.fixture
def fleet(fleets: Callable[[Server], Fleet], server: Server) -> Fleet:
    """A fleet on each server in turn."""
    return fleets(server)
