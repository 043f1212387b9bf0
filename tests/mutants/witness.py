"""A plugin of pytest for runs in a planted tree: such a run proves nothing when it imports another tree's package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.kit import TREE

SAY = "import streamtask; print(streamtask.__file__)"


def pytest_configure(config: pytest.Config) -> None:
    """Look at this process and, as tests start workers, at a child that stands elsewhere. UsageError is exit code 4."""
    import streamtask

    expected = str(Path(os.environ[TREE]) / "streamtask" / "__init__.py")
    child = subprocess.run([sys.executable, "-c", SAY], cwd="/", capture_output=True, text=True, check=True)
    for who, found in (("pytest", streamtask.__file__), ("a child", child.stdout.strip())):
        if found != expected:
            raise pytest.UsageError(f"{who} imports {found}, not {expected}")
