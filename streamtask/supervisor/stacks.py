"""From faulthandler's dump of all threads to what a user wants to see of a process that stands still. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

#: Where threads stand that only wait for work.
_IDLE = (" in wait", " in _worker")
#: Below this frame stands how the process was started, which explains nothing.
_BOTTOM = "asyncio/runners.py"


def telling(lines: Iterable[str]) -> str:
    """The threads that do something, each down to where the event loop or the thread was started; "" for none."""
    return "\n\n".join("\n".join(_above(thread)) for thread in _threads(lines) if not thread[1].endswith(_IDLE))


def _threads(lines: Iterable[str]) -> Iterator[list[str]]:
    """The header and the frames of each thread that has frames, the innermost first."""
    thread: list[str] = []
    for line in [*lines, "Thread"]:
        if line.startswith(("Thread", "Current thread")):
            if len(thread) > 1:
                yield thread
            thread = [line]
        elif thread and line.strip():
            thread.append(line)


def _above(thread: list[str]) -> Iterator[str]:
    for line in thread:
        if _BOTTOM in line:
            return
        yield line
