"""Tasks that callers of the hub send."""

from __future__ import annotations

import asyncio
from typing import Any

from streamtask import StreamTask

app = StreamTask("shop")


@app.task(name="add")
async def add(a: int, b: int) -> int:
    """Answer with a sum."""
    return a + b


@app.task(name="slowly")
async def slowly(seconds: float) -> str:
    """Answer late."""
    await asyncio.sleep(seconds)
    return "done"


@app.task(name="echo")
async def echo(value: Any = None) -> Any:
    """Answer with what was asked."""
    return value


@app.task(name="fails", max_retries=0)
async def fails() -> None:
    """Fail with a text that no caller may read."""
    raise ValueError("the password is hunter2")


@app.task(name="silent", result=False)
async def silent() -> None:
    """Keep no result."""
