"""A private server's place and its users as real processes, for the tests of `embedded://`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import redis

from streamtask.embedded.keeper import LOG
from tests.support import alive, eventually

# Says the URL, then uses the server until its standard input ends; each line it reads makes it ask again.
USER = """if True:
    import sys
    from streamtask.embedded import ensure
    print(ensure(sys.argv[1]), flush=True)
    for line in sys.stdin:
        print(ensure(sys.argv[1]), flush=True)
"""


class User:
    """A process that uses the private server of a folder."""

    def __init__(self, url: str, path: str, code: str = USER) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, url],
            env=os.environ | {"PATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read(self) -> str:
        """The next line it says; AssertionError with its traceback when it ended instead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, self.end()
        return line

    def ask_again(self) -> str:
        """Let it call ensure() once more."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.read()

    def end(self, sign: int = signal.SIGTERM) -> str:
        """End it; returns what it said on standard error."""
        self.process.send_signal(sign)
        return self.process.communicate()[1]


class Place:
    """A folder for a private server, the users that a test starts there, and what can be seen of keeper and server."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder, self.program = folder, program
        self.users: list[User] = []

    def user(self, **more: str) -> User:
        """Start one more user."""
        user = User(f"embedded://{self.folder}", **{"path": str(self.program.parent)} | more)
        self.users.append(user)
        return user

    def log(self) -> str:
        """What keeper and server wrote."""
        path = self.folder / LOG
        return path.read_text() if path.exists() else ""

    def keeper(self) -> int:
        """The process id of the newest keeper."""
        return int(re.findall(r"^(\d+):keeper", self.log(), re.MULTILINE)[-1])

    def close(self) -> None:
        """End everything at once."""
        for user in self.users:
            user.end(signal.SIGKILL)
        for pid in re.findall(r"^(\d+):keeper", self.log(), re.MULTILINE):
            if alive(int(pid)) and b"keeper.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGTERM)
                eventually(partial(gone, int(pid)))


def gone(pid: int) -> bool:
    """Whether this process has ended."""
    return not alive(pid)


def server_pid(url: str) -> int:
    """The process id of the server that answers at this URL."""
    with redis.Redis.from_url(url) as client:
        return int(client.info("server")["process_id"])


def put(url: str, value: str) -> None:
    """Write a value that shall survive."""
    with redis.Redis.from_url(url) as client:
        client.set("key", value)


def value(url: str) -> str | None:
    """The value that was put there, if any."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        found: str | None = client.get("key")
        return found
