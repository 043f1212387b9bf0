"""An app with some tasks, which the tests of the sending half share. No worker runs: what is sent stays where it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic_core import to_json

from streamtask import Result, StreamTask, Task, Unique
from streamtask.settings import Settings
from tests.redis.kit import Item, Stage


@dataclass
class Order:
    number: int
    amount: float = 0.0


class Shop:
    """The app `ns` with its queue `q` on one server, and a stage to look at it."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.app = app = StreamTask("ns", url, settings=Settings(**settings) if settings else None)
        self.stage = Stage(url)

        @app.task(name="shop.pack", queue="q")
        def pack(number: int, note: str = "") -> Order: ...

        @app.task(name="shop.report", queue="q", unique=Unique(by=("user", "day")), expires=3600)
        def report(user: str, day: date, deep: bool = False) -> None: ...

        @app.task(name="shop.once", queue="q", unique=Unique(on_conflict="raise"))
        def once(user: str) -> None: ...

        @app.task(name="shop.silent", queue="q", result=False)
        def silent() -> None: ...

        self.pack, self.report, self.once, self.silent = pack, report, once, silent

    def close(self) -> None:
        self.app.close()
        self.stage.link.close()

    def fields(self) -> list[dict[str, str]]:
        """The entries of the stream as text."""
        return [{k.decode(): v.decode() for k, v in fields.items()} for _, fields in self.stage.entries()]

    def end(self, result: Result[Any], record: bytes, op: str = "D") -> None:
        """End a message that waits, as a worker does: with this result record."""
        self.stage.group()
        if self.stage.read():
            self.held = {fields[b"id"].decode(): id for id, fields in self.stage.entries()}
        key = self.stage.keys.result(result.id)
        fields = ("task", "t", "dead_reason", "x") if op == "X" else ()
        item = Item(op, self.held[result.id], mid=result.id, result=key, value=record, fields=fields)
        assert self.stage.settle(item) == [1]


#: Sends a call of a task, blocking or not; both ways must do the same.
Send = Callable[..., Result[Any]]


def blocking(task: Task[..., Any], *args: Any, **kwargs: Any) -> Result[Any]:
    return task.delay(*args, **kwargs)


def asyncio_(task: Task[..., Any], *args: Any, **kwargs: Any) -> Result[Any]:
    async def send() -> Result[Any]:
        try:
            return await task.adelay(*args, **kwargs)
        finally:
            await task._post.sender.aclose()

    return asyncio.run(send())


def many(task: Task[..., Any], *args: Any, **kwargs: Any) -> Result[Any]:
    (result,) = task.delay_many([task.s(*args, **kwargs)])
    return result


def many_asyncio(task: Task[..., Any], *args: Any, **kwargs: Any) -> Result[Any]:
    async def send() -> Result[Any]:
        try:
            (result,) = await task.adelay_many([task.s(*args, **kwargs)])
            return result
        finally:
            await task._post.sender.aclose()

    return asyncio.run(send())


WAYS: Sequence[Send] = (blocking, asyncio_, many, many_asyncio)


ERROR = {"type": "OSError", "message": "disk full", "traceback": "Traceback: disk full"}


def record_of(state: str, value: str = "", **facts: Any) -> bytes:
    """A result record as the completer writes it; `value` is JSON."""
    head = to_json({"state": state, "task": "shop.pack", "attempt": 2, "deliveries": 1, "worker": "w1", **facts})
    return head[:-1] + b',"value":' + value.encode() + b"}" if value else head
