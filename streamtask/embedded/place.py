"""Where a private server lives: its folder, from the URL, and its socket, from the folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import unquote

from streamtask.errors import ConfigError

SCHEME = "embedded://"
DEFAULT = ".streamtask"
ROOT_MARKS = ("pyproject.toml", "setup.py", ".git")


def project_root() -> Path:
    """The nearest folder above the current one that looks like a project; without one, the current folder."""
    here = Path.cwd()
    return next((up for up in (here, *here.parents) if any((up / mark).exists() for mark in ROOT_MARKS)), here)


def folder_of(url: str) -> Path:
    """The folder of a server's data, absolute and without links; it need not exist.

    `embedded://` is `.streamtask` in the project's root, `embedded://some/dir` a folder below that root, wherever the
    process was started, so that all processes of a project meet; `embedded:///some/dir` is absolute.
    """
    scheme, separator, path = url.partition("://")
    if scheme + separator != SCHEME or path == "/" or "?" in path or "#" in path:
        raise ConfigError(f"{url!r} is no URL of a private server; write embedded:// or embedded:///some/folder")
    return (project_root() / (unquote(path) or DEFAULT)).resolve()


def socket_of(folder: Path) -> str:
    """The path of the server's Unix socket: short (the system allows about 100 bytes), in a folder that is ours alone.

    It is named by the identity of the data folder, as the locks are: a folder that is moved keeps its server, and one
    that is deleted and made again under the same path has another.
    """
    home = Path(f"/tmp/streamtask-{os.getuid()}")  # noqa: S108 - TMPDIR may be long; owner and mode are checked below
    home.mkdir(mode=0o700, exist_ok=True)
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(f"{home} must be a folder of yours that nobody else may enter (chmod 700); remove it")
    identity = folder.stat()
    return str(home / f"{identity.st_dev:x}-{identity.st_ino:x}.sock")
