"""The Lua scripts as objects, called by hash; the header of each `lua/*.lua` says its keys, arguments and returns.

They have no shebang on purpose: `#!lua` scripts are refused at full memory before they start, and ours must be able to
settle then. Hash first, text only after NOSCRIPT; a server forgets its scripts at restart and at SCRIPT FLUSH.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

_LUA = Path(__file__).with_name("lua")


@dataclass(frozen=True, slots=True)
class Script:
    """One script."""

    name: str
    text: str
    sha: str


def _load(name: str, *before: str) -> Script:
    text = "".join((_LUA / f"{part}.lua").read_text() for part in (*before, name))
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


DONE = _load("done")
SETTLE = _load("settle")
RENEW = _load("renew")
MARK = _load("mark")
RELEASE = _load("release")
READ = _load("read")
MOVE = _load("move")
ENQ = _load("enq")
DEFER = _load("defer")
TICK = _load("tick")
REPLAY = _load("replay")
GC = _load("gc")
AGREE = _load("agree")
SWEEP = _load("sweep")
BURY = _load("bury")
PUBLISH = _load("publish", "retention")
TRIM = _load("trim", "retention")
IGNORE = _load("ignore")
ONCE = _load("once")
HANDLES = _load("handles")
HANDLED = _load("handled")
REPLY = _load("reply")
REWIND = _load("rewind")
LEAVE = _load("leave")
ALL = (
    DONE, SETTLE, RENEW, MARK, RELEASE, READ, MOVE, ENQ, DEFER, TICK, REPLAY, GC, AGREE, SWEEP, BURY, PUBLISH, TRIM,
    IGNORE, ONCE, HANDLES, HANDLED, REPLY, REWIND, LEAVE,
)  # fmt: skip
