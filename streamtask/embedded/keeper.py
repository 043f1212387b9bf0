"""The keeper: a detached process that runs the private server of one folder as long as somebody uses it.

Three lock files in the folder say who is there; the kernel frees a lock with its holder, also after kill -9:

    users.lock    shared by every process that uses the server; the keeper has it alone once the last user is gone
    keeper.lock   held by the keeper: a folder has at most one
    server.lock   held by keeper and server (which inherits it): two servers never write the same files

Run as a plain file, `python keeper.py FOLDER SOCKET SERVER`, so it imports the standard library only. It returns at
once, with the keeper in the background. It works in its folder by relative paths, so the folder may be moved meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

try:
    import fcntl
except ImportError:  # Windows, where ensure() says that there is no private server
    fcntl = None  # type: ignore[assignment]

USERS_LOCK, KEEPER_LOCK, SERVER_LOCK = "users.lock", "keeper.lock", "server.lock"
LOG = "server.log"

LINGER = 2.0
"""Seconds that a server stays after its last user, so that quick commands in a row share one."""
TURN = 0.25
"""Seconds between two looks at users and server."""
STOP_TIMEOUT = 30.0
"""Seconds for a server to write what it has and end."""
MAX_STARTS = 5
"""Starts a minute; a server that ends more often is given up."""

_PR_SET_PDEATHSIG = 1


class Lock:
    """A lock file (flock), held until `close()` or the end of the process and of the children that inherit it."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def share(self) -> bool:
        """Hold it together with others; False when somebody holds it alone."""
        return self._try(fcntl.LOCK_SH)

    def own(self) -> bool:
        """Hold it alone; False when anybody else holds it."""
        return self._try(fcntl.LOCK_EX)

    def release(self) -> None:
        """Hold it no more."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Hold it no more and forget the file."""
        os.close(self.fd)

    def _try(self, how: int) -> bool:
        try:
            fcntl.flock(self.fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def replaced(lock: Lock, path: Path) -> bool:
    """Whether the lock's file is no longer the one at `path`: somebody deleted the folder."""
    try:
        return not os.path.samestat(os.fstat(lock.fd), path.stat())
    except FileNotFoundError:
        return True


class Keeper:
    """Runs the server, starts it again when it crashed, and ends it when its last user is gone."""

    def __init__(self, address: str, program: str, server_lock: Lock) -> None:
        self.address, self.program, self.server_lock = address, program, server_lock
        self.users = Lock(Path(USERS_LOCK))
        self.last_used = time.monotonic()
        self.starts: list[float] = []
        self.server = self.start()

    def run(self) -> None:
        """Watch users and server until one of them is gone for good."""
        try:
            while not self.unused():
                if self.server.poll() is not None:
                    say(f"the server ended by itself with exit code {self.server.returncode}")
                    if len(self.starts) >= MAX_STARTS:
                        say(f"it was started {MAX_STARTS} times in a minute; giving up")
                        return
                    self.server = self.start()
                time.sleep(TURN)
            say("nobody uses the server any more")
        finally:
            self.stop()

    def unused(self) -> bool:
        """Whether nobody has used the server for LINGER; the users' lock is kept then, so that newcomers wait."""
        if replaced(self.users, Path(USERS_LOCK)):
            return True  # the data is gone, and whoever comes now makes a new folder and a new server
        now = time.monotonic()
        self.starts = [start for start in self.starts if start > now - 60]
        if not self.users.own():
            self.last_used = now
            return False
        if now - self.last_used >= LINGER:
            return True
        self.users.release()
        return False

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server; it answers a little later, when it has loaded its data."""
        self.starts.append(time.monotonic())
        options = {
            "port": "0",
            "unixsocket": self.address,
            "unixsocketperm": "700",
            "logfile": LOG,
            "loglevel": "notice",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        say(f"starting {self.program} at {self.address}")
        return subprocess.Popen(
            [self.program, *(word for name, value in options.items() for word in (f"--{name}", value))],
            stdin=subprocess.DEVNULL,
            pass_fds=[self.server_lock.fd],
            preexec_fn=end_with_parent(),  # noqa: PLW1509 - this process has one thread
        )

    def stop(self) -> None:
        """End the server gracefully, and by force when it does not end."""
        self.server.terminate()
        try:
            self.server.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            say(f"the server did not end within {STOP_TIMEOUT:.0f} s; killing it")
            self.server.kill()
            self.server.wait()


def end_with_parent(number: int = signal.SIGTERM, parent: int | None = None) -> Callable[[], None] | None:
    """What a child calls before exec, so that it is sent this signal when this process was killed (Linux); or later,
    when it knows its `parent`.
    """
    if not sys.platform.startswith("linux"):
        return None
    parent = parent or os.getpid()
    prctl = ctypes.CDLL(None).prctl  # loaded here: after a fork, loading could wait for ever

    def call() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # killed before the call above
            os._exit(1)

    return call


def take_over(address: str) -> Lock | None:
    """Wait for the lock of the server; None when another keeper has come first.

    A server whose keeper was killed may still hold it: on Linux it is ending, elsewhere it has to be asked.
    """
    lock, keeper = Lock(Path(SERVER_LOCK)), Lock(Path(KEEPER_LOCK))
    deadline, asked = time.monotonic() + STOP_TIMEOUT, False
    while not lock.own():
        if not keeper.share():
            return None
        keeper.release()
        if not asked:
            asked = shut_down(address)
        if time.monotonic() > deadline:
            raise TimeoutError(f"a server without a keeper holds {SERVER_LOCK} and does not end")
        time.sleep(0.02)
    # Users look whether it is held by holding it for a moment.
    while not keeper.own():
        time.sleep(0.001)
    return lock


def shut_down(address: str) -> bool:
    """Ask the server at this socket to end; whether it could be asked."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(1)
        try:
            link.connect(address)
            link.sendall(b"SHUTDOWN\r\n")
        except OSError:
            return False
    return True


def say(text: str) -> None:
    """Write a line to the log, which the server writes to as well."""
    sys.stderr.write(f"{os.getpid()}:keeper {time.strftime('%d %b %Y %H:%M:%S')} {text}\n")
    sys.stderr.flush()


def end(_signal: int, _frame: FrameType | None) -> None:
    """Unwind, so that the server is stopped first."""
    sys.exit(0)


def main(folder: str, address: str, program: str) -> int:
    """Take the locks, go to the background, keep the server."""
    os.chdir(folder)
    try:
        lock = take_over(address)
    except TimeoutError as error:
        say(str(error))
        return 1
    if lock is None or os.fork() > 0:
        return 0  # a keeper runs, and belongs to nobody: no user ever has to wait for it as its child
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Path(address).unlink(missing_ok=True)
    Keeper(address, program, lock).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
