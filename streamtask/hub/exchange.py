"""One request while it is served: who asks, and what the log will say of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from re import compile as pattern

_TRACEPARENT = pattern(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


@dataclass(slots=True)
class Exchange:
    """A request. `code` is that of the refusal; `about` the stream or task; `peer` the names in a client certificate,
    None without one.
    """

    method: str
    path: str
    traceparent: str = ""
    peer: tuple[str, ...] | None = None
    client: str = ""
    caller: str = ""
    about: str = ""
    code: str = ""
    trace_id: str = ""
    began: float = field(default_factory=time.monotonic)

    def trace(self, metadatas: Iterable[Mapping[str, str]] = ()) -> None:
        """Remember the trace: of the header `traceparent`, else of the first event's metadata."""
        found = _TRACEPARENT.fullmatch(self.traceparent)
        if found is not None:
            self.trace_id = found[1]
            return
        self.trace_id = next((said["trace_id"][:128] for said in metadatas if said.get("trace_id")), "")


#: The request that the running task serves.
EXCHANGE: ContextVar[Exchange] = ContextVar("exchange")
