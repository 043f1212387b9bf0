"""The folder of this user for what lives no longer than its process: sockets of private servers, heartbeat files."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from streamtask.errors import ConfigError


def folder() -> Path:
    """The folder, made where it is missing. Its path is short, and nobody else may enter it, else ConfigError."""
    if sys.platform == "win32":
        home = Path(os.environ.get("TEMP", ".")) / "streamtask"
        home.mkdir(parents=True, exist_ok=True)
        return home
    home = Path(f"/tmp/streamtask-{os.getuid()}")  # noqa: S108 - TMPDIR may be long; owner and mode are checked below
    home.mkdir(mode=0o700, exist_ok=True)
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(f"{home} must be a folder of yours that nobody else may enter (chmod 700); remove it")
    return home
