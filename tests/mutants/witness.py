"""A plugin of pytest for runs in a planted tree: such a run proves nothing when it imports another tree's package."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.mutants.kit import TREE


def pytest_configure(config: pytest.Config) -> None:
    """UsageError is exit code 4, so it cannot be taken for a test that failed."""
    import streamtask

    if Path(streamtask.__file__) != Path(os.environ[TREE]) / "streamtask" / "__init__.py":
        raise pytest.UsageError(f"pytest imports {streamtask.__file__}, which is not of {os.environ[TREE]}")
