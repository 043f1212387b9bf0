"""The private Redis of `embedded://` and `streamtask dev`: a real server, shared by the processes of one project.

`ensure(url)` starts it when it does not run and makes this process one of its users. It ends with its last user,
however that one ends: `keeper.py` beside this file runs it and says how. Its data stays in its folder.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from streamtask.embedded import keeper
from streamtask.embedded.keeper import KEEPER_LOCK, LOG, USERS_LOCK, Lock, replaced
from streamtask.embedded.place import folder_of, socket_of
from streamtask.embedded.program import find_server
from streamtask.errors import ConfigError

__all__ = ["ensure", "folder_of"]

START_TIMEOUT = 60.0
"""Seconds for a server to answer; loading a large append-only file takes its time."""

# One held lock a folder, until this process ends. A forked child inherits it, and the kernel frees it when both are
# gone: parent and child count as one user, which is right as long as nobody unlocks it by hand.
_held: dict[Path, Lock] = {}
_guard = threading.Lock()


def _fresh_guard() -> None:
    """Give a forked child an open guard: the thread that may have held the old one was not forked."""
    global _guard  # noqa: PLW0603 - a lock cannot be reset in place
    _guard = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_guard)


def ensure(url: str) -> str:
    """Return the Redis URL (`unix://...`) of the private server that `url` (`embedded://...`) names, running.

    This process is one of its users from here on. Call it again when the server is gone: it is started anew. Blocks
    for some ten milliseconds when the server has to be started, at most START_TIMEOUT. Raises ConfigError when there is
    no server program, the folder cannot be used, or the server does not start.
    """
    if sys.platform == "win32":
        raise ConfigError(f"{url}: the private server needs Linux or macOS; give the URL of a Redis server")
    folder = folder_of(url)
    deadline = time.monotonic() + START_TIMEOUT
    try:
        with _guard:
            _make(folder)
            _become_user(folder, deadline)
            address = socket_of(folder)
            _await_server(folder, address, deadline)
    except OSError as error:
        raise ConfigError(f"{url}: cannot use {folder} for the private server: {error}") from error
    return f"unix://{address}"


def _make(folder: Path) -> None:
    """Make the folder of the server's data, and keep that data out of git."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n")


def _become_user(folder: Path, deadline: float) -> None:
    """Hold the users' lock; a keeper that stops its server for want of users is waited out."""
    held = _held.get(folder)
    if held is not None and not replaced(held, folder / USERS_LOCK):
        return
    while True:
        lock = Lock(folder / USERS_LOCK)
        while not lock.share():
            if time.monotonic() > deadline:
                raise ConfigError(f"the private server in {folder} is stopping and does not end; see {folder / LOG}")
            time.sleep(0.02)
        # Held, but of a file that was deleted between open and lock: nobody else would see it.
        if not replaced(lock, folder / USERS_LOCK):
            break
        lock.close()
    _held[folder] = lock


def _await_server(folder: Path, address: str, deadline: float) -> None:
    """Wait until the folder has a keeper and its server answers; start a keeper when it has none."""
    launched = False
    while True:
        if _keeper_lives(folder):
            if _answers(address):
                return
        elif launched:
            raise ConfigError(f"the private server in {folder} does not start; its log ends with\n{_tail(folder)}")
        else:
            _launch_keeper(folder, address)
            launched = True
        if time.monotonic() > deadline:
            raise ConfigError(f"the private server at {address} does not answer; its log ends with\n{_tail(folder)}")
        time.sleep(0.005)


def _keeper_lives(folder: Path) -> bool:
    """Whether a keeper holds its lock. Without one, a server that answers is about to end."""
    lock = Lock(folder / KEEPER_LOCK)
    try:
        if not lock.share():
            return True
        # Not left to close(): a child that another thread forks just now would inherit the lock and hold on to it.
        lock.release()
        return False
    finally:
        lock.close()


def _launch_keeper(folder: Path, address: str) -> None:
    """Start a keeper; when this returns, one holds its lock, or the log says why not."""
    # As a plain file in isolated mode: it neither loads this package nor depends on the project's path and environment.
    command = [sys.executable, "-I", "-S", keeper.__file__, str(folder), address, str(find_server())]
    with (folder / LOG).open("ab") as log:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, check=False)


def _answers(address: str) -> bool:
    """Whether the server says PONG; while it loads its data it says LOADING."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(1)
        try:
            link.connect(address)
            link.sendall(b"PING\r\n")
            return link.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _tail(folder: Path, lines: int = 15) -> str:
    """The last lines of the log of keeper and server."""
    path = folder / LOG
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])
