"""Fixtures of the tests with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.private import Place
from tests.servers import Server


@pytest.fixture
def place(tmp_path: Path, valkey81: Server) -> Iterator[Place]:
    """A place whose server is the Valkey of the wheel."""
    place = Place(tmp_path / "a place" / "données", valkey81.path)
    yield place
    place.close()
