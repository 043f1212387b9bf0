"""What foreign producers may write into a task stream, and what must become of it.

Used in process and by the tests with real processes. The task `echo(n: int = 0, text: str = "") -> int` is known.
"""

from __future__ import annotations

from typing import Any, NamedTuple

MEGABYTES5 = b"x" * 5_000_000


class Garbage(NamedTuple):
    """An entry's flat fields, and its end: "done" or the reason of its dead letter."""

    name: str
    end: str
    flat: tuple[bytes, ...]

    @property
    def fields(self) -> dict[bytes, bytes]:
        """The fields as a client shows them."""
        return dict(zip(self.flat[::2], self.flat[1::2], strict=True))


def _echo(name: str, end: str, **fields: Any) -> Garbage:
    flat: list[bytes] = [b"task", b"echo"]
    for key, value in fields.items():
        flat += (key.encode(), value if isinstance(value, bytes) else str(value).encode())
    return Garbage(name, end, tuple(flat))


ENTRIES = (
    Garbage("no fields of ours", "decode", (b"foo", b"bar")),
    Garbage("empty names", "decode", (b"", b"")),
    Garbage("binary names", "decode", (bytes(range(256)), bytes(range(256)))),
    Garbage("empty task", "decode", (b"task", b"")),
    Garbage("task is not UTF-8", "decode", (b"task", b"\xff\xfe", b"args", b"{}")),
    Garbage("task of 5,000 characters", "decode", (b"task", b"t" * 5000)),
    Garbage("5 MB that is no message", "decode", (b"data", MEGABYTES5)),
    Garbage("5 MB for an unknown task", "unknown_task", (b"task", b"nobody", b"args", b'{"a": "%s"}' % MEGABYTES5)),
    Garbage("unknown task", "unknown_task", (b"task", b"nobody.knows", b"id", b"unknown-1")),
    Garbage("unknown task with a NUL", "unknown_task", (b"task", b"ec\x00ho")),
    Garbage("300 fields", "decode", tuple(b"%d" % i for i in range(600))),
    Garbage("our fields in another order", "done", (b"args", b'{"n": 5}', b"x", b"y", b"task", b"echo")),
    _echo("only a task", "done"),
    _echo("5 MB for a known task", "done", args=b'{"text": "%s"}' % MEGABYTES5),
    _echo("id is not UTF-8", "decode", id=b"\xff\xfe"),
    _echo("empty id", "done", id=b""),
    _echo("id of 300 characters", "decode", id="i" * 300),
    _echo("id with spaces and braces", "done", id="a {b} \n *?[c]"),
    _echo("empty args", "decode", args=b""),
    _echo("args are half JSON", "arguments", args=b'{"n": '),
    _echo("args are wrong JSON", "arguments", args=b"{n: 1}"),
    _echo("args are a list", "decode", args=b"[1]"),
    _echo("args are null", "decode", args=b"null"),
    _echo("args are not UTF-8", "decode", args=b"\xff"),
    _echo("args are an object with bytes that are not UTF-8", "arguments", args=b'{"text": "\xff"}'),
    _echo("args are deep", "arguments", args=b'{"n": ' + b"[" * 100_000),
    _echo("an argument of the wrong type", "arguments", args=b'{"n": "many"}'),
    _echo("an argument that is not there", "arguments", args=b'{"zzz": 1}'),
    _echo("args with a number of 5,000 digits", "done", args=b'{"n": %s}' % (b"9" * 4000)),
    _echo("args with half a character", "arguments", args=b'{"text": "\\ud800"}'),
    _echo("empty meta", "done", meta=b""),
    _echo("meta is no JSON", "decode", meta=b"{,}"),
    _echo("meta is a list", "decode", meta=b"[]"),
    _echo("meta is text", "decode", meta=b'"x"'),
    _echo("meta is not UTF-8", "decode", meta=b"\xff\xff"),
    _echo("meta is deep", "decode", meta=b'{"a": ' + b"[" * 100_000),
    _echo("meta with strange keys", "done", meta=b'{"": {"a": [null]}, "attempts": "x", "v": "y"}'),
    _echo("meta with nulls", "done", meta=b'{"attempt": null, "ttl": null, "headers": null, "errors": null}'),
    _echo("attempt is text", "decode", meta=b'{"attempt": "x"}'),
    _echo("attempt is negative", "decode", meta=b'{"attempt": -1}'),
    _echo("attempt is a fraction", "decode", meta=b'{"attempt": 1.5}'),
    _echo("attempt is true", "decode", meta=b'{"attempt": true}'),
    _echo("attempt has 4,000 digits", "decode", meta=b'{"attempt": %s}' % (b"9" * 4000)),
    _echo("attempt has 10,000 digits", "decode", meta=b'{"attempt": %s}' % (b"9" * 10_000)),
    _echo("ttl is text", "decode", meta=b'{"ttl": "1"}'),
    _echo("ttl is true", "decode", meta=b'{"ttl": true}'),
    _echo("ttl has 400 digits", "decode", meta=b'{"ttl": %s}' % (b"9" * 400)),
    _echo("ttl is endless", "decode", meta=b'{"ttl": 1e999}'),
    _echo("headers are a list", "decode", meta=b'{"headers": []}'),
    _echo("errors are an object", "decode", meta=b'{"errors": {}}'),
    _echo("unique is a number", "decode", meta=b'{"unique": 1}'),
    _echo("unique of somebody else", "done", meta=b'{"unique": "{x}:y"}'),
    _echo("sent_at is text", "decode", meta=b'{"sent_at": "now"}'),
    _echo("sent_at is far away", "decode", meta=b'{"sent_at": 9007199254740991, "ttl": 1}'),
    _echo("scheduled_for is no time", "decode", meta=b'{"scheduled_for": "tea time"}'),
    Garbage("a name twice", "done", (b"task", b"echo", b"args", b'{"n": 1}', b"args", b'{"n": 2}')),
    Garbage("the same id, first", "done", (b"task", b"echo", b"id", b"twin", b"args", b'{"n": 1}')),
    Garbage("the same id, second", "done", (b"task", b"echo", b"id", b"twin", b"args", b'{"n": 2}')),
)
