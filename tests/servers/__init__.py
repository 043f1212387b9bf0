"""Real servers for the tests: two Redis and a Valkey that can be killed, stopped, frozen and started again.

`python tests/servers/install.py` installs them. Nothing here knows pytest, so benchmarks and a REPL may use it too:

    with Server("redis-8.6", appendonly="yes") as server:
        redis.Redis.from_url(server.url)
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from streamtask.embedded.keeper import end_with_parent

from .install import SERVERS

#: The servers of every test that asks for `server`: the native way and the fallback.
NAMES = ("redis-8.6", "valkey-8.1")
#: The servers of the tests of delivery, with the oldest Redis that we support.
ALL = (*NAMES, "redis-7.0")
INSTALL = "python tests/servers/install.py"


def available() -> dict[str, Path]:
    """The installed servers: name to executable."""
    return {name: server.binary for name, server in SERVERS.items() if os.access(server.binary, os.X_OK)}


class Server:
    """One server process and its data folder, which stays over kill and restart until `close()`.

    It listens on a Unix socket of its own, or with `tcp=True` on a free port of 127.0.0.1. `options` are lines of its
    configuration, as in `Server("redis-8.6", appendonly="yes", appendfsync="always", maxmemory="20mb")`; an underscore
    stands for a hyphen. By default nothing is written to disk. The process dies with the thread that started it
    (Linux), so that a killed pytest leaves no server behind: start it from the main thread.
    """

    def __init__(self, name: str, *, tcp: bool = False, **options: str | int) -> None:
        self.name = name
        self.path = available()[name]
        # A Unix socket's path has at most 107 bytes, and TMPDIR may be long.
        self.folder = Path(tempfile.mkdtemp(prefix="stest-", dir="/tmp"))
        self.log = self.folder / "log"
        self.options: dict[str, str] = {"save": "", "dir": str(self.folder), "loglevel": "notice"}
        self.address: str | tuple[str, int]
        if tcp:
            self.address = ("127.0.0.1", _free_port())
            self.url = f"redis://127.0.0.1:{self.address[1]}/0"
            self.options |= {"bind": "127.0.0.1", "port": str(self.address[1])}
        else:
            self.address = str(self.folder / "sock")
            self.url = f"unix://{self.address}"
            self.options |= {"port": "0", "unixsocket": self.address}
        self.options |= {key.replace("_", "-"): str(value) for key, value in options.items()}
        self.process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"Server({self.name!r}, {self.url!r})"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def version(self) -> str:
        """What the running server calls itself, such as "8.6.3" (a Valkey also tells the Redis it resembles)."""
        lines = dict(line.split(":", 1) for line in self.ask("INFO server").splitlines() if ":" in line)
        return lines.get("valkey_version") or lines["redis_version"]

    @property
    def running(self) -> bool:
        """Whether the process lives (it may be frozen)."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self.process is not None, f"{self!r} was not started"
        return self.process.pid

    def start(self, timeout: float = 20) -> Self:
        """Start the process, unless it runs, and wait until it answers (AOF and RDB are loaded then)."""
        if self.running:
            return self
        command = [str(self.path), *(word for key, value in self.options.items() for word in (f"--{key}", value))]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # a preexec_fn that only calls prctl cannot wait for another thread's lock
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509
            )
        deadline = time.monotonic() + timeout
        while not self.ping():
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                why = "no answer in time" if code is None else f"exit code {code}"
                self.kill9()
                raise RuntimeError(f"{self!r} did not start ({why}); its log:\n{self.tail()}")
            time.sleep(0.005)
        return self

    def stop(self, timeout: float = 20) -> None:
        """End it as an administrator would (SIGTERM): it saves what its options say, then exits."""
        if self.process is not None and self.running:
            self.sigcont()
            self.process.terminate()
            self.process.wait(timeout)

    def kill9(self) -> None:
        """End it as a crash would (SIGKILL)."""
        if self.process is not None and self.running:
            self.process.kill()
            self.process.wait()

    def restart(self) -> None:
        """Stop it gracefully and start it on the same address with the same data."""
        self.stop()
        self.start()

    def sigstop(self) -> None:
        """Freeze it: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def sigcont(self) -> None:
        """Let a frozen server go on."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it and delete its folder."""
        self.kill9()
        shutil.rmtree(self.folder, ignore_errors=True)

    def flush(self) -> None:
        """Empty all its databases."""
        answer = self.ask("FLUSHALL")
        assert answer == "OK", f"{self!r}: FLUSHALL: {answer}"

    def ping(self) -> bool:
        """Whether it answers; False also while it loads its data."""
        try:
            return self.ask("PING", timeout=1) == "PONG"
        except OSError:
            return False

    def ask(self, line: str, timeout: float = 10) -> str:
        """Send one command line over a connection of its own; returns a status or text answer, without its envelope."""
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        with socket.socket(family) as link:
            link.settimeout(timeout)
            link.connect(self.address)
            link.sendall(line.encode() + b"\r\n")
            answer = link.makefile("rb")
            head = answer.readline()
            if head[:1] == b"$":
                return answer.read(int(head[1:])).decode()
            if head[:1] not in b"+-:" or not head:
                raise OSError(f"{self!r}: unexpected answer to {line}: {head!r}")
            return head[1:].strip().decode()

    def tail(self, lines: int = 30) -> str:
        """The last lines of its log, which holds every start of this server."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


StartServer = Callable[..., Server]
"""The type of the fixture `own_server`."""


def _free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
