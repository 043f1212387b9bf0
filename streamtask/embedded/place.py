"""Where a private server lives: its folder, from the URL, and its socket, from the folder."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from streamtask import runtime
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
    identity = folder.stat()
    return str(runtime.folder() / f"{identity.st_dev:x}-{identity.st_ino:x}.sock")
