"""What processes hold in memory (RSS), as the kernel tells: this one; on Linux, another one with all it started."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import NamedTuple

if sys.platform != "win32":  # there no process has a parent
    import resource

#: Linux tells what a process holds now; elsewhere it is known what it held at most.
_NOW = "/proc/self/statm"
_PROC = "/proc"
#: Can `table` be asked here?
KNOWS_OTHERS = sys.platform == "linux"


def held() -> int:
    """Bytes of memory that this process holds; where that cannot be known, the most that it ever held."""
    statm = _read(_NOW)
    if not statm:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """A row of the table: its parent, its process group, and the bytes that it holds."""

    parent: int
    group: int
    held: int


def table() -> dict[int, Process]:
    """All processes that can be seen from here, by their ids."""
    page = os.sysconf("SC_PAGE_SIZE")
    found = {}
    for name in os.listdir(_PROC):  # noqa: PTH208 - this is done ten times a second
        if name.isdecimal() and (stat := _read(f"{_PROC}/{name}/stat")):
            fields = stat[stat.rindex(b")") + 2 :].split()  # before it stands a name, which may hold anything
            found[int(name)] = Process(int(fields[1]), int(fields[2]), int(fields[21]) * page)
    return found


def family(of: int, processes: Mapping[int, Process]) -> set[int]:
    """A leader of a process group, the others in it, and what any of them started, in whatever group that is now."""
    found = {of}
    fresh = {pid for pid, process in processes.items() if process.group == of} | found
    while fresh:
        found |= fresh
        fresh = {pid for pid, process in processes.items() if process.parent in fresh} - found
    return found & processes.keys()


def together(pids: Iterable[int], processes: Mapping[int, Process]) -> int:
    """Bytes that these hold, all of them added up: what they share, as after a fork, counts once for each."""
    return sum(processes[pid].held for pid in pids)


def together_once(pids: Iterable[int], processes: Mapping[int, Process]) -> int:
    """The same, but that what they share counts once. The kernel takes milliseconds a GiB to find that out."""
    return sum(_share(pid, processes[pid].held) for pid in pids)


def _share(pid: int, held: int) -> int:
    """A process's own memory, and its part of what it shares with others (PSS); all of it where that is not told."""
    rollup = _read(f"{_PROC}/{pid}/smaps_rollup")
    share = next((line.split() for line in rollup.splitlines() if line.startswith(b"Pss:")), None)
    return held if share is None else min(held, int(share[1]) * 1024)


def _read(path: str) -> bytes:
    """What stands there; nothing where it has ended meanwhile, or is not for us to see."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(fd, 65_536)
    except OSError:
        return b""
    finally:
        os.close(fd)
