"""Fixtures of the in-process tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ALL
from tests.worker.children_kit import with_children
from tests.worker.kit import Lab

MakeLab = Callable[..., Lab]


@pytest.fixture(params=ALL)
def server_name(request: pytest.FixtureRequest) -> str:
    """Delivery is proven on all servers, the oldest too."""
    name: str = request.param
    return name


@pytest.fixture
async def make_lab(url: str) -> AsyncIterator[MakeLab]:
    """Makes an app with other settings than the default ones, on each server in turn."""
    labs: list[Lab] = []

    def make(url: str = url, **settings: Any) -> Lab:
        labs.append(Lab(url, **settings))
        return labs[-1]

    yield make
    for lab in labs:
        await lab.close()


@pytest.fixture
async def lab(make_lab: MakeLab) -> Lab:
    """An app on each server in turn."""
    return make_lab()


@pytest.fixture
async def children_lab(make_lab: MakeLab, url: str) -> Lab:
    """A lab with the app whose tasks run in children."""
    return with_children(make_lab(), url)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Where tasks write down what they do."""
    return str(tmp_path)
