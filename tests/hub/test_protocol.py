"""What uvicorn lacks: times for what a client has yet to send, and a limit for headers; never a time for an answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from streamtask.hub import protocol
from streamtask.hub.server import listen
from streamtask.hub.serving import serving
from streamtask.hub.settings import Settings
from streamtask.hub.web import Receive, Scope, Send, respond

#: Seconds of the short times here, and of the answer that takes longer than all of them.
SHORT, LONG = 0.2, 0.6


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body, and answer late."""
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass
    await asyncio.sleep(LONG if scope["path"] == "/slow" else 0)
    await respond(send, 200, b"ok", [(b"content-length", b"2")])


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(protocol, "HEADER_TIME", SHORT)
    monkeypatch.setattr(protocol, "BODY_TIME", SHORT)
    sockets = listen("127.0.0.1", 0)
    number = sockets[0].getsockname()[1]
    server = serving(app, Settings(), sockets)
    running = asyncio.create_task(server.run())
    yield number
    server.stop(now=True)
    await running


async def talk(port: int, *pieces: bytes) -> bytes:
    """Send pieces, and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    answer = await reader.read()
    writer.close()
    return answer


HEAD = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [[], [b"POST / HT"], [b"POST / HTTP/1.1\r\nhost: x\r\n"], [HEAD % (b"/", 5), b"12"]],
    ids=["nothing", "a word", "half a head", "half a body"],
)
async def test_who_does_not_go_on_is_cut(port: int, pieces: list[bytes]) -> None:
    async with asyncio.timeout(20):
        assert not (await talk(port, *pieces)).startswith(b"HTTP/1.1 200")


async def test_an_answer_is_waited_for(port: int) -> None:
    close = b"POST /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    async with asyncio.timeout(20):
        assert (await talk(port, close)).startswith(b"HTTP/1.1 200")
        # Also when the next request has begun behind it and does not come: that one alone is cut.
        answer = await talk(port, HEAD % (b"/slow", 0) + b"POST / HTTP/1.1\r\nho")
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.count(b"HTTP/1.1") == 1


async def test_headers_without_end(port: int) -> None:
    async with asyncio.timeout(20):
        answer = await talk(port, b"POST / HTTP/1.1\r\n", *[b"x: %s\r\n" % (b"y" * 60_000)] * 18)
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_a_connection_serves_many_requests(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write(HEAD % (b"/", 2) + b"12")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(1.5 * SHORT)  # an idle connection has another, longer time
    writer.close()


def test_all_addresses_of_a_name_have_one_port() -> None:
    sockets = listen("localhost", 0)
    assert len({one.getsockname()[1] for one in sockets}) == 1
    with pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", next(one for one in sockets if one.family == socket.AF_INET).getsockname()[1])
    for one in sockets:
        one.close()
