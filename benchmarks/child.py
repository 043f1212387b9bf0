"""What runs in the environment of a side: `python -m benchmarks.child SIDE ACTION ...`.

`about` tells what the side can do; `work KIND` becomes its worker; the rest sends messages, and tells how long it took.
Answers are one line of JSON.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import random
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import nullcontext
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

#: Seconds between two messages to an idle worker, so that each finds it waiting.
REST = (0.002, 0.004)
#: Messages that warm a worker up before its delays count, and seconds to wait for one of them.
WARM_UP, PATIENCE = 20, 60.0
#: Messages of one call of `many`.
LUMP = 100_000


def about(side: Any) -> dict[str, Any]:
    """What the module says of itself."""
    found: dict[str, Any] = {
        "kinds": sorted(side.WORKERS),
        "ways": [way for way in ("one", "aone", "many", "ask", "later") if hasattr(side, way)],
        "share": side.SHARE,
        "results": getattr(side, "RESULTS", ""),
        "empties": getattr(side, "EMPTIES", False),
        "versions": {name: version(name) for name in side.PACKAGES},
    }
    found["versions"]["python"] = ".".join(map(str, sys.version_info[:3]))
    return found


def work(side: Any, kind: str) -> None:
    """Become the worker."""
    os.execv(sys.executable, [sys.executable, *side.WORKERS[kind]])


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def _rest(seconds: float) -> None:
    """Sleep, with a loop or without one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        time.sleep(seconds)  # noqa: ASYNC251
    else:
        await asyncio.sleep(seconds)


async def _one(side: Any, kind: str, size: int) -> None:
    """One after the other, each when Redis has the one before."""
    if inspect.iscoroutinefunction(side.one):
        for n in range(size):
            await side.one(kind, n)
    else:
        for n in range(size):
            side.one(kind, n)


async def _flight(side: Any, kind: str, size: int, width: int) -> None:
    """`width` callers, each of which sends one after the other."""
    if hasattr(side, "flight"):  # the bare loop's
        await side.flight(kind, size, width)
        return
    numbers: Iterator[int] = iter(range(size))

    async def caller() -> None:
        for n in numbers:
            await side.aone(kind, n)

    await asyncio.gather(*(caller() for _ in range(width)))


async def _many(side: Any, kind: str, size: int) -> None:
    """A hundred thousand a call at most, so that a million need not be in memory at once."""
    for start in range(0, size, LUMP):
        await _awaited(side.many(kind, range(start, min(start + LUMP, size))))


async def _later(side: Any, size: int, ms: int) -> None:
    """All are due in the same ms, and are sent before."""
    started = time.monotonic()
    await _awaited(side.later(range(size), ms))
    if time.monotonic() > started + ms / 1000:
        sys.exit(f"{size} messages took longer to send than {ms} ms")


async def _fill(side: Any, kind: str, size: int) -> None:
    """The quickest way there is."""
    if hasattr(side, "many") and getattr(side, "FILLS", True):
        await _many(side, kind, size)
    elif inspect.iscoroutinefunction(side.one):
        await _flight(side, kind, size, 100)
    else:
        await _one(side, kind, size)


async def _idle(side: Any, size: int, kind: str = "idle") -> list[float]:
    """Seconds from just before each send to the start of the task, which finds the worker waiting."""
    ledger = import_module("benchmarks.work").LEDGER
    for n in range(size + WARM_UP):
        await _awaited(side.one(kind, n, time.monotonic_ns()))
        deadline = time.monotonic() + PATIENCE
        while not ledger.ran[n]:
            if time.monotonic() > deadline:
                sys.exit(f"message {n} did not run")
            await _rest(0.001)
        await _rest(random.uniform(*REST))
    return [delay / 1e9 for delay in ledger.delays[WARM_UP : size + WARM_UP]]


async def _echo(side: Any, size: int) -> list[float]:
    """Seconds from just before each send until its result is here."""
    took = []
    for n in range(size + WARM_UP):
        started = time.perf_counter()
        if await _awaited(side.ask(n)) != n:
            sys.exit(f"message {n} gave another's result")
        took.append(time.perf_counter() - started)
        await _rest(random.uniform(*REST))
    return took[WARM_UP:]


ACTIONS: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
    "one": _one,
    "flight": _flight,
    "many": _many,
    "fill": _fill,
    "stock": _fill,
    "later": _later,
    "idle": _idle,
    "echo": _echo,
}
#: Actions that send a few messages more, before they are timed: connections are open then, and scripts loaded.
WARMED = {"one", "flight", "many", "stock"}


async def send(side: Any, action: str, args: list[Any]) -> dict[str, Any]:
    """Do it, timed. `args`: the kind where there is a choice, the number of messages, the width of a flight."""
    async with getattr(side, "ready", nullcontext)():
        if action in WARMED:
            await ACTIONS[action](side, args[0], WARM_UP, *args[2:])
        cpu, started = time.process_time(), time.perf_counter()
        values = await ACTIONS[action](side, *args)
        return {"took": time.perf_counter() - started, "cpu": time.process_time() - cpu, "values": values}


def run(side: Any, action: str, args: list[Any]) -> dict[str, Any]:
    """On an event loop (uvloop where the side has it) if the side's functions or the action need one, else without."""
    steps = send(side, action, args)
    if action == "flight" or inspect.iscoroutinefunction(side.one):
        answer: dict[str, Any] = import_module("uvloop").run(steps) if find_spec("uvloop") else asyncio.run(steps)
        return answer
    try:
        steps.send(None)  # plain functions only: it never waits for a loop
    except StopIteration as end:
        found: dict[str, Any] = end.value
        return found
    raise RuntimeError(f"{side.__name__}: {action} waits for an event loop, but `one` is a plain function")


def main() -> None:
    """Read the command line, answer."""
    name, action, *words = sys.argv[1:]
    side = import_module(f"benchmarks.sides.{name}")
    if action == "work":
        work(side, *words)
        return
    args = [int(word) if word.isdigit() else word for word in words]
    print(json.dumps(about(side) if action == "about" else run(side, action, args)), flush=True)
    os._exit(0)  # with the answer given: some compiled cores crash now and then while the interpreter ends


if __name__ == "__main__":
    main()
