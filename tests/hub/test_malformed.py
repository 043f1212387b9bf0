"""What is malformed is refused, whatever it is: no error of ours, no word of Redis, and the hub serves on."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

import psutil
import pytest

from tests.hub.kit import Hub, refused
from tests.hub.malformed import DOOR, GOOD, PATHS, Case, Malformed, request

MIB = 1 << 20
#: What no answer and no line of the log may hold: where an error was raised, or what Redis said.
LEAK = re.compile(rb'Traceback|File "|\.py\b|WRONGTYPE|NOGROUP|\bERR |\bOOM |XADD|XGROUP|EVALSHA|Exception')
#: The least memory that counts as growth: more than the largest request, and what an allocator keeps.
GROWTH = 64 * MIB
#: Statuses beyond 499 that the contract has, by what is asked; and the code of each in gRPC's numbers.
OWN = {
    "GetStreamInfo": {(500, "unknown"), (200, "2")},
    "CreateConsumerGroup": {(503, "unavailable"), (200, "14")},
    "encoding": {(501, "unimplemented")},
    "gRPC-Web": {(200, "13")},  # for a message that is compressed, it does not say how
    "": {(504, "deadline_exceeded"), (200, "4")},
}


async def talk(hub: Hub, case: Case) -> bytes:
    """All that the hub answers to the bytes of a case."""
    reader, writer = await _open(hub)
    with suppress(ConnectionError):
        writer.write(case.raw)
        await writer.drain()
        if case.ends:
            writer.write_eof()
    answer = b""
    with suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return answer


async def _open(hub: Hub) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = hub.address.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


def blame(case: Case, answer: bytes) -> str:
    """What is wrong with the answer; "" for nothing."""
    head, _, body = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    if LEAK.search(answer):
        return f"{case}: it leaks: {answer!r}"
    if not head:  # who sends no HTTP, or no whole request, is hung up on
        return "" if case.ends else f"{case}: no answer"
    status = int(head.split(b" ", 2)[1])
    if status == 200 and b"application/grpc" not in head:
        return ""
    found = re.search(rb"grpc-status: ?(\d+)", answer) if status == 200 else re.search(rb'"code": ?"(\w+)"', body)
    code = found[1].decode() if found else ""
    bad = status >= 500 or code in ("2", "13", "internal", "unknown")
    if bad and not any(name in case.name and (status, code) in own for name, own in OWN.items()):
        return f"{case}: {answer!r}"
    return ""


async def send(hub: Hub, cases: Iterable[Case]) -> list[str]:
    """Send all, eight at once, while who stays stays; what was wrong."""
    room, staying, blamed = asyncio.Semaphore(8), [], list[str]()

    async def one(case: Case) -> None:
        async with room:
            blamed.append(blame(case, await talk(hub, case)))

    async with asyncio.TaskGroup() as group:
        for case in cases:
            if case.stays:
                _, writer = await _open(hub)
                writer.write(case.raw)
                staying.append(writer)
            else:
                group.create_task(one(case))
    for writer in staying:
        writer.close()
    return [text for text in blamed if text]


@asynccontextmanager
async def unharmed(hub: Hub) -> AsyncIterator[psutil.Process]:
    """The hub serves on after what happens here, has logged no error, and holds no more memory than before."""
    process = psutil.Process(hub.popen.pid)
    at, rss = hub.log.stat().st_size, process.memory_info().rss
    yield process
    assert hub.publish("alt:events:good").status_code == 200
    assert hub.http.get("/health").json()["healthy"]
    assert process.memory_info().rss - rss < GROWTH
    lines = [json.loads(line) for line in hub.log.read_bytes()[at:].splitlines()]
    assert not [line for line in lines if line["level"] not in ("info", "warning") or "error" in line]


async def attack(hub: Hub, seed: int, count: int) -> None:
    """Malformed requests, and the same good ones as ever between them."""
    made = Malformed(seed)
    async with unharmed(hub):
        assert await send(hub, made.cases(count)) == []


async def test_malformed_requests(hub: Hub) -> None:
    await attack(hub, 1, 300)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [2, 3, 4])
async def test_thousands_of_malformed_requests(hub: Hub, seed: int) -> None:
    await attack(hub, seed, 2000)


def test_the_requests_that_are_spoiled_are_good(hub: Hub) -> None:
    """Else nothing would be shown by the refusals."""
    for name, message in GOOD.items():
        answer = hub.rpc(PATHS[name], message)
        assert answer.status_code == (504 if name == "GenerateTagsForArticle" else 200), answer.text
    for path, body in DOOR.items():
        assert hub.http.post(path, json=body).status_code == 202


def test_arguments_that_json_has_not(hub: Hub) -> None:
    value = struct.pack("<Bd", 0x11, float("nan")), b""  # a number; and a value of no kind
    for kind, body in (
        ("application/json", b'{"task": "echo", "args": {"value": 1e999}}'),
        *(("application/proto", b"\n\4echo" + field(2, field(1, field(1, b"value") + field(2, one)))) for one in value),
    ):
        answer = hub.http.post(PATHS["Call"], content=body, headers={"content-type": kind})
        assert refused(answer) == (400, "invalid_argument", "args: JSON has no such value")


def field(number: int, content: bytes) -> bytes:
    """A field of bytes in protobuf."""
    return bytes([number << 3 | 2, len(content)]) + content


async def test_a_small_body_that_is_a_huge_message(hub: Hub) -> None:
    bomb = gzip.compress(b'{"stream":"' + b"x" * (64 * MIB) + b'"}', 1)
    assert len(bomb) < MIB
    async with unharmed(hub) as process:
        before = process.memory_info().rss
        framed = b"\1" + len(bomb).to_bytes(4, "big") + bomb
        for kind, body, encoding in 2 * (
            ("application/json", bomb, "content-encoding"),
            ("application/grpc-web", framed, "grpc-encoding"),
        ):
            raw = request(PATHS["Publish"], body, kind, headers=((encoding, "gzip"),))
            answer = await talk(hub, Case("bomb", raw))
            assert b"resource_exhausted" in answer or b"grpc-status: 8" in answer, answer
            assert peak(process) - before < 150 * MIB


def peak(process: psutil.Process) -> int:
    """The most memory that it has held, in bytes (Linux)."""
    with open(f"/proc/{process.pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))


async def test_bodies_that_are_too_large(hub: Hub) -> None:
    large = b'{"stream": "' + b"x" * (33 * MIB) + b'"}'
    async with unharmed(hub):
        for path, status in ((PATHS["Publish"], 429), ("/v1/tasks/echo", 413)):
            answer = hub.http.post(path, content=large, headers={"content-type": "application/json"})
            assert answer.status_code == status, answer.text
