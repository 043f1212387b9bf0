"""Fixtures of the in-process tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.worker.kit import Lab


@pytest.fixture
async def lab(url: str) -> AsyncIterator[Lab]:
    """An app on each server in turn."""
    lab = Lab(url)
    yield lab
    lab.close()
    await lab.app.aclose()
