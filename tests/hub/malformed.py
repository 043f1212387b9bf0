"""Requests that no client would send: made up from good ones, the same ones for the same seed."""

from __future__ import annotations

import gzip
import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.hub.kit import CALL, EVENT, MQHUB
from tests.hub.wire import method

STREAM = "alt:events:malformed"
#: A good message for each procedure.
GOOD: dict[str, dict[str, Any]] = {
    "Publish": {"stream": STREAM, "event": EVENT | {"payload": "e30=", "createdAt": "2026-01-13T00:00:00Z"}},
    "PublishBatch": {"stream": STREAM, "events": [EVENT, EVENT | {"metadata": {"trace_id": "x"}}]},
    "CreateConsumerGroup": {"stream": STREAM, "group": "g", "startId": "0"},
    "GetStreamInfo": {"stream": STREAM},
    "HealthCheck": {},
    "GenerateTagsForArticle": {"articleId": "a", "title": "T", "content": "C", "timeoutMs": 1},
    "Call": {"task": "echo", "args": {"value": [1, 2.5, {"a": None}]}, "timeout": 0.05},
}
DOOR: dict[str, Any] = {
    "/v1/tasks/echo": {"args": {"value": 1}, "expires": 5, "headers": {"a": "b"}},
    f"/v1/topics/{STREAM}": [{"type": "t", "source": "s", "created_at": "2026-01-13T00:00:00Z", "payload": {"a": 1}}],
}
PATHS = {name: CALL if name == "Call" else f"{MQHUB}/{name}" for name in GOOD}
#: What stands for any value, anywhere in JSON.
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, 2**64, 1e308, 0.5, "", "\0", "\ud800", "é" * 3, "x" * 5000, "-0", "NaN", [], {},
    [[]], {"": ""}, {"@type": "x"}, "2026-02-30T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "0000-00-00T00:00:00Z",
)  # fmt: skip
TYPES = (
    "", "text/plain", "application/jsonx", "application/json; charset=latin-1", "application/proto; x=\xff", "*/*",
    "application/connect+json", "application/connect+proto", "application/grpc", "application/grpc+proto",
    "application/grpc-web-text", "application/grpc-web+json", "application/grpc-web+thrift", "application/x-protobuf",
    "APPLICATION/JSON", "application/json, application/proto", "multipart/form-data; boundary=x", "\0",
)  # fmt: skip
HEADERS = (
    ("connect-protocol-version", ("", "0", "2", "x", "1, 1", "\xff")),
    ("connect-timeout-ms", ("", "-1", "0", "1e3", "9" * 11, "9" * 400, "ten", "\xff", "1\t1")),
    ("grpc-timeout", ("", "1", "S", "-1S", "9" * 12 + "H", "1Y", "\xff")),
    ("content-encoding", ("gzip", "br", "zstd", "deflate", "identity", "gzip, gzip", "x" * 300, "\xff", "")),
    ("connect-accept-encoding", ("x", "br;q=1", "", "gzip;q=\xff")),
    ("accept-encoding", ("*;q=0", "identity;q=0", "\xff" * 9)),
    ("authorization", ("Bearer \xff", "Basic", "Bearer " + "x" * 9000)),
    ("traceparent", ("x", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "\xff", "00-" + "a" * 4000)),
    ("expect", ("100-continue", "x")),
    ("x-bin", ("\xff\xfe",)),
    ("te", ("trailers", "x")),
)
METHODS = ("GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE", "CONNECT", "post", "PRI", "M-SEARCH", "X" * 99)
STRANGE = (
    "/", "//", "/%00", "/%ff%fe", "/..%2f..%2fetc/passwd", "/../../etc/passwd", "*", "http://other/health", "/health?%",
    "/" + "x" * 9000, f"{MQHUB}/", f"{MQHUB}/Nothing", f"{MQHUB}/Publish/", f"{MQHUB}/publish", f"/{MQHUB}/Publish",
    f"{MQHUB}/Publish?connect=v1&encoding=json&message=%7B%7D", f"{MQHUB}/Publish#x", f"{MQHUB}%2fPublish",
    "/v1/", "/v1",
    "/v1/tasks/", "/v1/tasks/%ff", "/v1/tasks/" + "t" * 300, "/v1/tasks/a%20b", "/v1/topics/", "/v1/topics/%00",
    "/v1/topics/{shop:default}", "/v1/topics/shop:default", "/v1/topics/%F0%9F%8E%89", "/v1/topics/" + "s" * 3000,
    "/v1/openapi.json/", "/metrics/../health", "/health/", "/\xff\xfe", "no-slash",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What is sent, byte for byte. `ends`: the client sends no more, and says so; `stays`: it does not even say so."""

    name: str
    raw: bytes
    ends: bool = False
    stays: bool = False


def request(path: str, body: bytes, kind: str, verb: str = "POST", headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """A request as it goes over the wire. Times are short: no answer is waited for that will not come."""
    lines = [("host", "x"), ("connection", "close"), ("content-length", str(len(body))), *headers]
    if kind:
        lines.append(("content-type", kind))
    if not any(name == "connect-timeout-ms" for name, _ in headers):
        lines.append(("connect-timeout-ms", "300"))
    if "grpc" in kind and not any(name == "grpc-timeout" for name, _ in headers):
        lines.append(("grpc-timeout", "300m"))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"{verb} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


class Malformed:
    """Makes them up, each kind in turn."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def cases(self, count: int) -> Iterator[Case]:
        """So many."""
        kinds: tuple[Callable[[], Case], ...] = (
            self._json, self._binary, self._frames, self._door, self._header, self._verb, self._path, self._http,
            self._compressed, self._json, self._binary, self._frames,
        )  # fmt: skip
        for number in range(count):
            yield kinds[number % len(kinds)]()

    def _json(self) -> Case:
        name = self._one(tuple(GOOD))
        return Case(f"{name} JSON", request(PATHS[name], self._json_of(GOOD[name]), "application/json"))

    def _door(self) -> Case:
        path = self._one(tuple(DOOR))
        return Case(path, request(path, self._json_of(DOOR[path]), "application/json"))

    def _binary(self) -> Case:
        name = self._one(tuple(GOOD))
        return Case(f"{name} binary", request(PATHS[name], self._bytes_of(_binary(name)), "application/proto"))

    def _frames(self) -> Case:
        """Of gRPC-Web: a byte of flags, four of the length, the message."""
        name = self._one(tuple(GOOD))
        message = _binary(name)
        frame = struct.pack(">BI", 0, len(message)) + message
        body = self._one((
            b"", frame[:3], frame[:-1], frame + frame, frame + b"\0", b"\1" + frame[1:], b"\x80" + frame[1:],
            b"\xff" + frame[1:], struct.pack(">BI", 0, 2**32 - 1) + message, struct.pack(">BI", 0, 1) + message,
            struct.pack(">BI", 1, len(message)) + message, self._bytes_of(frame), message,
        ))  # fmt: skip
        kind = self._one(("application/grpc-web", "application/grpc-web+proto", "application/grpc-web+json"))
        more = (("grpc-encoding", self._one(("gzip", "br", "x", "")))) if self._dice.random() < 0.4 else ()
        return Case(f"{name} gRPC-Web", request(PATHS[name], body, kind, headers=(more,) if more else ()))

    def _compressed(self) -> Case:
        name = self._one(tuple(GOOD))
        good = json.dumps(GOOD[name]).encode()
        whole = gzip.compress(good, mtime=0)
        body = self._one((whole[:-9], good, whole + b"x", self._bytes_of(whole), gzip.compress(whole), b""))
        return Case(
            f"{name} gzip", request(PATHS[name], body, "application/json", headers=(("content-encoding", "gzip"),))
        )

    def _header(self) -> Case:
        name = self._one(tuple(GOOD))
        binary = self._dice.random() < 0.5
        body = _binary(name) if binary else json.dumps(GOOD[name]).encode()
        kind = "application/proto" if binary else "application/json"
        if self._dice.random() < 0.4:
            return Case(f"{name} type", request(PATHS[name], body, self._one(TYPES)))
        header, values = self._one(HEADERS)
        return Case(f"{name} {header}", request(PATHS[name], body, kind, headers=((header, self._one(values)),)))

    def _verb(self) -> Case:
        path = self._one((*PATHS.values(), *DOOR, "/health", "/metrics", "/v1/openapi.json", "/none"))
        return Case(
            path, request(path, self._one((b"", b"{}")), self._one(("application/json", "")), self._one(METHODS))
        )

    def _path(self) -> Case:
        path = self._one(STRANGE)
        kind = self._one(("application/json", "application/proto", ""))
        return Case(path[:40], request(path, self._one((b"", b"{}")), kind, self._one(("POST", "GET"))))

    def _http(self) -> Case:
        """What is no HTTP, or only nearly."""
        good = request(PATHS["Publish"], json.dumps(GOOD["Publish"]).encode(), "application/json")
        head, body = good.split(b"\r\n\r\n", 1)
        chunked = head.replace(b"content-length: %d" % len(body), b"transfer-encoding: chunked") + b"\r\n\r\n"
        raw = self._one((
            b"", b"\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            good.replace(b"HTTP/1.1", b"HTTP/9.9"), good.replace(b"HTTP/1.1", b"HTTP/1.0"),
            good.replace(b"\r\n", b"\n"),
            good.replace(b"host: x\r\n", b""), good.replace(b"host: x", b"host : x"),
            good.replace(b"host: x", b"host x"),
            good.replace(b"content-length: ", b"content-length: -"),
            good.replace(b"content-length: ", b"content-length: 9"),
            head + b"\r\ncontent-length: 3\r\n\r\n" + body, head + b"\r\ntransfer-encoding: chunked\r\n\r\n" + body,
            chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), chunked + b"zz\r\n" + body, chunked + b"5\r\n{",
            chunked + b"f" * 40 + b"\r\n", chunked + b"-1\r\n\r\n", head[:60], head, good[:-5],
            head + b"\r\nx: " + b"y" * 70_000 + b"\r\n\r\n" + body, head + b"\r\nx: y" * 2000 + b"\r\n\r\n" + body,
            head + b"\r\nx: \0\r\n\r\n" + body, head + b"\r\n\xff\xfe: x\r\n\r\n" + body, self._dice.randbytes(300),
            self._bytes_of(good),
        ))  # fmt: skip
        return Case("HTTP", raw, ends=True, stays=self._dice.random() < 0.2)

    def _json_of(self, good: Any) -> bytes:
        text = json.dumps(self._changed(good)).encode()
        return self._one((
            text, text, text, text, text[: self._dice.randrange(len(text) + 1)], self._bytes_of(text),
            b"\xef\xbb\xbf" + text,
            text + text, b"[" * 3000 + text, text.replace(b'"', b"'"), text.replace(b":", b":\xff", 1),
            b"null", b'"', b"[]",
            text.decode().encode("utf-16"), text.replace(b"1", b"1e999"), b'{"a":' * 5000 + b"1" + b"}" * 5000,
            text.replace(b"{", b'{"nothing": 1, ', 1), text.replace(b"}", b', "stream": 1, "stream": 2}', 1),
        ))  # fmt: skip

    def _changed(self, value: Any) -> Any:
        """The value with something odd in it, somewhere."""
        if isinstance(value, dict) and value and self._dice.random() < 0.8:
            name = self._one(tuple(value))
            if self._dice.random() < 0.2:
                return {key: one for key, one in value.items() if key != name} | {name.upper(): self._one(ODD)}
            return value | {name: self._changed(value[name])}
        if isinstance(value, list) and value and self._dice.random() < 0.7:
            return [*value[:-1], self._changed(value[-1])]
        return self._one(ODD)

    def _bytes_of(self, good: bytes) -> bytes:
        """The bytes with some of them changed, left out, or put in."""
        made = bytearray(good)
        for _ in range(self._dice.randint(1, 4)):
            at = self._dice.randrange(len(made) + 1)
            match self._dice.randrange(4):
                case 0:
                    made[at : at + 1] = self._dice.randbytes(1)
                case 1:
                    del made[at:]
                case 2:
                    made[at:at] = self._dice.randbytes(self._dice.randint(1, 9))
                case _:
                    del made[at : at + 3]
        return bytes(made)

    def _one(self, choices: tuple[Any, ...]) -> Any:
        return self._dice.choice(choices)


def _binary(name: str) -> bytes:
    made: bytes = method(name).input.from_json(json.dumps(GOOD[name])).to_binary()
    return made
