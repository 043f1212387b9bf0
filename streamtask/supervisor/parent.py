"""A worker process's view of its parent: a socket on which it says hello and beats, and that ends with the parent."""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Self

from streamtask.heartbeat import Heartbeat

#: The variable that tells a process that it has a parent: the number of its socket. No setting, so no STREAMTASK_.
HANDOVER = "_STREAMTASK_PARENT"
#: What a parent says to stop at once.
NOW = b"now\n"
#: Seconds before the stall limit at which this process tells where it stands still.
LAST_WORDS = 1.0
#: Bytes that wait for a parent that does not read; a beat that does not fit is left out.
_WAITING = 256 * 1024


@dataclass(frozen=True, slots=True)
class Hello:
    """What a parent must know of its child: where its messages are, for the day when it dies, and what to say of all
    of them at the start.
    """

    consumer: str
    url: str
    namespace: str
    queues: tuple[str, ...]
    banner: tuple[str, ...]
    warnings: tuple[str, ...]

    def dump(self) -> bytes:
        """As one line of JSON."""
        return json.dumps({"hello": asdict(self)}).encode() + b"\n"

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Self:
        """The hello that `dump` made, as it was parsed."""
        plain: dict[str, Any] = {name: tuple(fact) if isinstance(fact, list) else fact for name, fact in facts.items()}
        return cls(**plain)


class Parent:
    """The process that started this one and sees to it."""

    def __init__(self, connection: socket.socket, stall_limit: float) -> None:
        self._socket, self._stall_limit = connection, stall_limit
        self._unsent = b""

    @classmethod
    def at_hand(cls, stall_limit: float) -> Self | None:
        """The parent of this process, if it has one, which kills it when it says nothing for `stall_limit` seconds.

        Takes the hand-over: what this process starts has another parent.
        """
        number = os.environ.pop(HANDOVER, None)
        if number is None:
            return None
        connection = socket.socket(fileno=int(number))
        connection.setblocking(False)
        connection.set_inheritable(False)
        return cls(connection, stall_limit)

    def hello(self, hello: Hello) -> None:
        """Tell who this is; before the first message is read."""
        self._send(hello.dump())

    def write(self, heartbeat: Heartbeat) -> None:
        """Tell that the loop turns.

        If that is not said again in time, a thread of the interpreter's own, which needs no interpreter lock, tells the
        parent where all threads stand: what nobody could ask for any more once the parent has killed this process.
        """
        self._send(heartbeat.dump())
        faulthandler.dump_traceback_later(self._stall_limit - LAST_WORDS, file=self._socket.fileno())

    def remove(self) -> None:
        """Nothing is said from here on; the parent sees by itself that this process ends."""
        faulthandler.cancel_dump_traceback_later()

    def listen(self, gone: Callable[[], None], now: Callable[[], None]) -> None:
        """From here on call `gone` when the parent has died, and `now` when it says so; on the event loop."""
        loop = asyncio.get_running_loop()

        def heard() -> None:
            try:
                said = self._socket.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                said = b""
            if not said:
                loop.remove_reader(self._socket)
                gone()
            elif NOW in said:
                now()

        loop.add_reader(self._socket, heard)

    def _send(self, line: bytes) -> None:
        if len(self._unsent) < _WAITING:
            self._unsent += line
        try:
            sent = self._socket.send(self._unsent)
        except OSError:  # it does not read just now, or it is gone, which `listen` tells
            return
        self._unsent = self._unsent[sent:]
