"""A network that fails: it stands between clients and a server, passes commands and replies, and spoils some of them.

A process of its own on 127.0.0.1. It draws by its seed which commands it spoils and how, and writes each of them down.
Replies are passed when they come, so a read that waits in Redis holds up nothing.

It is a witness, too: it writes down when it stood still itself, and each turn of a worker's lease thread that got
through, from its first command until the answer to its last one, for a lease is lost in between two of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamtask.broker.scripts import ALL
from streamtask.embedded.keeper import end_with_parent
from tests.chaos.resp import Frames, words

#: What can be done to a command, and how often one is chosen beside the others.
KINDS = {
    "lost_request": 2,  # cut before the server has it
    "half_request": 2,  # cut in the middle of the command
    "lost_reply": 4,  # cut when the server has executed it
    "half_reply": 2,  # cut in the middle of the reply
    "late_request": 3,  # it comes some time later
    "late_reply": 3,
    "silence": 1,  # the server executes it, and for some time the connection says nothing; then it is cut
}
#: Seconds by which something is late, and for which a connection is silent.
LATE, SILENCE = (0.02, 0.5), (0.5, 3.0)
#: Bytes of one read.
PIECE = 65_536
#: Seconds between two looks at the clock, and how late one must be to be written down.
LOOK, STALLED = 0.05, 0.01
#: What a lease thread's turn consists of, and the command that ends it.
TURN, TURNED = {"renew", "set"}, "set"

_NAMES = {script.sha.encode(): script.name for script in ALL}


@dataclass(frozen=True)
class Note:
    """One line of the log: a command that was spoiled, a turn, or that the proxy stood still. `at` and `until` are
    monotonic; `who` is the name of the client's connection.
    """

    kind: str
    command: str
    who: str
    at: float
    until: float

    @property
    def pid(self) -> int | None:
        """The process of the consumer whose connection it was; None for a sender's."""
        found = re.search(r":(\d+)/", self.who)
        return int(found[1]) if found else None


class Proxy:
    """The proxy's process, seen from the test."""

    def __init__(
        self, target: str | tuple[str, int], log: Path, *, seed: str, rate: float, kinds: Sequence[str] = tuple(KINDS)
    ) -> None:
        self.log, self._passed = log, Counter[str]()
        address = target if isinstance(target, str) else f"{target[0]}:{target[1]}"
        command = [sys.executable, "-m", "tests.chaos.proxy", address, str(log), seed, str(rate), *kinds]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - as in tests.servers
        )
        assert self.process.stdout is not None
        port = self.process.stdout.readline().strip()
        assert port, "the proxy did not start"
        self.url = f"redis://127.0.0.1:{int(port)}/0"

    def notes(self) -> list[Note]:
        """All that it wrote down so far."""
        lines = self.log.read_bytes().splitlines(keepends=True) if self.log.exists() else []
        return [Note(**json.loads(line)) for line in lines if line.endswith(b"\n")]

    def spoiled(self) -> list[Note]:
        """What it did to commands so far."""
        return [note for note in self.notes() if note.kind in KINDS]

    def close(self) -> Counter[str]:
        """End it; how many commands it passed, by name."""
        if self.process.poll() is None:
            self.process.terminate()
            self._passed.update(json.loads(self.process.communicate()[0]))
        return self._passed


class Spoiler:
    """Decides by a seed what becomes of each command, and writes down what it spoils."""

    def __init__(self, log: Path, seed: str, rate: float, kinds: Sequence[str]) -> None:
        self._dice, self._rate, self._kinds = random.Random(seed), rate, list(kinds)
        self._weights = [KINDS[kind] for kind in kinds]
        self._log = log.open("ab", buffering=0)
        self.passed: Counter[str] = Counter()

    def choose(self, name: str) -> str | None:
        """How to spoil the next command, or None."""
        self.passed[name] += 1
        if self._dice.random() >= self._rate:
            return None
        return self._dice.choices(self._kinds, self._weights)[0]

    def seconds(self, limits: tuple[float, float]) -> float:
        """A time to be late or silent for."""
        return self._dice.uniform(*limits)

    def write(self, kind: str, command: str, who: str, seconds: float = 0.0) -> None:
        """Write down what is being done from now on."""
        now = time.monotonic()
        self.witness(kind, command, who, now, now + seconds)

    def witness(self, kind: str, command: str, who: str, at: float, until: float) -> None:
        """Write down what was between two moments."""
        line = {"kind": kind, "command": command, "who": who, "at": at, "until": until}
        self._log.write(json.dumps(line).encode() + b"\n")


class Cut(Exception):
    """This connection ends now."""


class Connection:
    """One client's connection and its twin to the server."""

    def __init__(self, spoiler: Spoiler, client: Any, server: Any) -> None:
        self._spoiler = spoiler
        (self._from_client, self._to_client), (self._from_server, self._to_server) = client, server
        self._who = "sender"
        self._turn_at: float | None = None
        self._under_way: deque[tuple[str, str | None]] = deque()  # commands whose replies are still to come

    async def run(self) -> None:
        """Pass until one side ends or the connection is cut."""
        ways = [asyncio.ensure_future(self._requests()), asyncio.ensure_future(self._replies())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for writer in (self._to_client, self._to_server):
                writer.close()

    async def _requests(self) -> None:
        frames = Frames()
        while data := await self._from_client.read(PIECE):
            for command in frames.feed(data):
                await self._request(command)
            await self._to_server.drain()

    async def _request(self, command: bytes) -> None:
        name = self._name(command)
        if name in TURN and self._turn_at is None:
            self._turn_at = time.monotonic()
        kind = self._spoiler.choose(name)
        if kind in ("lost_request", "half_request"):
            self._spoiler.write(kind, name, self._who)
            if kind == "half_request":
                self._to_server.write(command[: len(command) // 2])
                await self._to_server.drain()
            raise Cut
        if kind == "late_request":
            await self._late(kind, name, LATE)
        self._under_way.append((name, kind))
        self._to_server.write(command)

    async def _replies(self) -> None:
        frames = Frames()
        while data := await self._from_server.read(PIECE):
            for reply in frames.feed(data):
                await self._reply(reply)
            await self._to_client.drain()

    async def _reply(self, reply: bytes) -> None:
        name, kind = self._under_way.popleft() if self._under_way else ("message", None)  # of a subscription
        if name == TURNED and self._turn_at is not None:
            self._spoiler.witness("turn", name, self._who, self._turn_at, time.monotonic())
            self._turn_at = None
        if kind in ("lost_reply", "half_reply"):
            self._spoiler.write(kind, name, self._who)
            if kind == "half_reply":
                self._to_client.write(reply[: len(reply) // 2])
                await self._to_client.drain()
            raise Cut
        if kind == "silence":
            await self._late(kind, name, SILENCE)
            raise Cut
        if kind == "late_reply":
            await self._late(kind, name, LATE)
        self._to_client.write(reply)

    async def _late(self, kind: str, name: str, limits: tuple[float, float]) -> None:
        seconds = self._spoiler.seconds(limits)
        self._spoiler.write(kind, name, self._who, seconds)
        await asyncio.sleep(seconds)

    def _name(self, command: bytes) -> str:
        """The command's name, or its script's; a client that names itself is known by that from then on."""
        first = words(command, 3)
        name = first[0].decode().lower()
        if name == "evalsha":
            return _NAMES.get(first[1], "script")
        if name == "client" and len(first) == 3 and first[1].upper() == b"SETNAME":
            self._who = first[2].decode()
            return "client setname"
        return name


async def serve(target: str, spoiler: Spoiler) -> None:
    """Pass connections on until the process is ended."""

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if ":" in target:
                host, port = target.split(":")
                server = await asyncio.open_connection(host, int(port))
            else:
                server = await asyncio.open_unix_connection(target)
        except OSError:  # the server is away: so are we
            writer.close()
            return
        with suppress(Cut, OSError):
            await Connection(spoiler, (reader, writer), server).run()

    listening = await asyncio.start_server(meet, "127.0.0.1", 0, backlog=512)
    print(listening.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    while not ended.is_set():
        due = time.monotonic() + LOOK
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), LOOK)
        if (now := time.monotonic()) > due + STALLED:  # the machine held us up, and with us everybody's replies
            spoiler.witness("stalled", "", "proxy", due, now)
    print(json.dumps(spoiler.passed), flush=True)
    os._exit(0)  # the connections end with us, as in a crash: nobody waits for them


if __name__ == "__main__":
    address, log, seed, rate, *kinds = sys.argv[1:]
    asyncio.run(serve(address, Spoiler(Path(log), seed, float(rate), kinds)))
