"""Fixtures of the command line's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.cli.kit import Shell


@pytest.fixture
def shell(tmp_path: Path, url: str) -> Iterator[Shell]:
    """A folder with an app, on each server in turn."""
    shell = Shell(tmp_path, url)
    yield shell
    shell.close()


@pytest.fixture
def client(url: str) -> Iterator[redis.Redis]:
    """A plain client of the server."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        yield client
