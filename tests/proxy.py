"""A TCP proxy between a client and a real server that loses a chosen command or reply, as a network may.

    with Proxy(server.address) as proxy:
        proxy.drop_reply(3)
        StreamTask("shop", proxy.url)

It knows just enough of the protocol (RESP 2 and 3) to tell where a command or a reply ends. Nothing here knows pytest.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

Address = str | tuple[str, int]
#: Starts of replies and commands that hold other ones, and how many for each that is counted.
_HOLDERS = {b"*": 1, b"~": 1, b">": 1, b"%": 2}
#: Starts of those that are followed by as many bytes as they say.
_BULKS = {b"$", b"=", b"!"}


def end_of(data: bytes | bytearray, start: int = 0) -> int | None:
    """Where the command or reply that begins at `start` ends; None when a part of it is still to come."""
    line = data.find(b"\r\n", start)
    if line < 0:
        return None
    kind, end = bytes(data[start : start + 1]), line + 2
    if kind in _BULKS:
        length = int(data[start + 1 : line])
        end += length + 2 if length >= 0 else 0
        return end if end <= len(data) else None
    for _ in range(_HOLDERS.get(kind, 0) * max(0, int(data[start + 1 : line]) if kind in _HOLDERS else 0)):
        inner = end_of(data, end)
        if inner is None:
            return None
        end = inner
    return end


@dataclass
class _Drop:
    """Lose the one after `left` more; then do something; `times` in a row."""

    left: int
    times: int
    then: Callable[[], object]


class Proxy:
    """Passes everything on until it is told to lose something; then it cuts that connection on both sides.

    Commands and replies are counted over all connections, from the time of the order. `commands` are the names of
    those that were passed to the server.
    """

    def __init__(self, upstream: Address) -> None:
        self._upstream = upstream
        self._drops: dict[str, _Drop | None] = {"command": None, "reply": None}
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.commands: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def drop_reply(self, n: int = 1, times: int = 1, then: Callable[[], object] = lambda: None) -> None:
        """Lose the n-th reply from now, then the next ones, `times` in all. The server has run the commands by then.

        `then` is called before the client learns of it, in the proxy's thread.
        """
        self._drops["reply"] = _Drop(n, times, then)

    def drop_command(self, n: int = 1, times: int = 1, then: Callable[[], object] = lambda: None) -> None:
        """Lose the n-th command from now before the server sees it, then the next ones, `times` in all."""
        self._drops["command"] = _Drop(n, times, then)

    def cut(self) -> None:
        """Cut all connections."""
        with self._lock:
            for one in list(self._open):
                _end(one)

    def close(self) -> None:
        """Accept nothing more and cut all connections."""
        _end(self._listener)
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX if isinstance(self._upstream, str) else socket.AF_INET)
                try:
                    server.connect(self._upstream)
                except OSError:
                    _end(client)
                    continue
                with self._lock:
                    self._open |= {client, server}
                for what, source, sink in (("command", client, server), ("reply", server, client)):
                    threading.Thread(target=self._carry, args=(what, source, sink), daemon=True).start()

    def _carry(self, what: str, source: socket.socket, sink: socket.socket) -> None:
        data = bytearray()
        try:
            while some := source.recv(65_536):
                data += some
                start = 0
                while start < len(data) and (end := end_of(data, start)) is not None:
                    if self._lost(what):
                        return
                    if what == "command":
                        self.commands.append(bytes(data[start:end]).split(b"\r\n")[2].decode().upper())
                    sink.sendall(data[start:end])
                    start = end
                del data[:start]
        except OSError:
            pass
        finally:
            with self._lock:
                self._open -= {source, sink}
            _end(source)
            _end(sink)

    def _lost(self, what: str) -> bool:
        with self._lock:
            drop = self._drops[what]
            if drop is None:
                return False
            drop.left -= 1
            if drop.left > 0:
                return False
            drop.times -= 1
            if drop.times <= 0:
                self._drops[what] = None
        drop.then()
        return True


def _end(one: socket.socket) -> None:
    """Wake whoever waits on it, here and at the other end. The one that waits may be the one that ends it."""
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
