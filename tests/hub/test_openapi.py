"""The OpenAPI document and the hub say the same: schemathesis makes up requests by one, and sends them to the other.

It fails for an answer that the document has not, for bad data that is taken and good data that is not, and for a 5xx.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub.kit import Hub

PROGRAM = Path(sys.executable).with_name("schemathesis")


def run(hub: Hub, folder: Path, seed: int, *options: str) -> int:
    """How many requests there were; what is wrong is in the AssertionError. The same seed sends the same ones."""
    at = hub.log.stat().st_size
    done = subprocess.run(
        [
            *(PROGRAM, "run", f"{hub.address}/v1/openapi.json", "--no-color"),
            *("--generation-database", "none", "--seed", str(seed), *options),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert found is not None, done.stdout
    assert found[1] == found[2]
    assert hub.http.get("/health").status_code == 200
    assert b"Traceback" not in hub.log.read_bytes()[at:]
    return int(found[1])


def test_requests_that_are_made_up(hub: Hub, tmp_path: Path) -> None:
    assert run(hub, tmp_path, 1, "--phases", "coverage", "--mode", "negative") > 100


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [2, 3])
def test_thousands_of_requests_that_are_made_up(hub: Hub, tmp_path: Path, seed: int) -> None:
    assert run(hub, tmp_path, seed, "--phases", "coverage,fuzzing", "--max-examples", "600") > 1000
