"""What a child process is told at its start: where its app is, and who its parent is. In a variable, for an address may
hold a password, and command lines are for everybody to see.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Self

from streamtask.child.ceilings import NO_CEILINGS, Ceilings

#: The variable. No setting, so no STREAMTASK_.
HANDOVER = "_STREAMTASK_CHILD"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a child finds its app, so that it is the same as its worker's: `path` as on the command line."""

    path: str
    include: tuple[str, ...] = ()
    url: str | None = None
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Handover:
    """`fd`: the number of the child's socket; `parent`: the worker's process id; `level`: what the worker logs;
    `ceilings`: what the child may keep.
    """

    origin: Origin
    fd: int
    parent: int
    level: int
    ceilings: Ceilings = NO_CEILINGS

    def dump(self) -> str:
        """The variable's value."""
        return json.dumps(asdict(self))

    @classmethod
    def at_hand(cls) -> Self | None:
        """Take the hand-over, if there is one: what this process starts is nobody's child in this sense."""
        text = os.environ.pop(HANDOVER, None)
        if text is None:
            return None
        told = json.loads(text)
        origin, ceilings = told.pop("origin"), Ceilings(**told.pop("ceilings"))
        where = Origin(origin["path"], tuple(origin["include"]), origin["url"], origin["namespace"])
        return cls(where, **told, ceilings=ceilings)
