"""What a caller is told when the answer is no. Its text is safe to show: no word of Redis, no traceback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

#: The codes of Connect and gRPC that the hub uses.
CodeName: TypeAlias = Literal[
    "aborted", "deadline_exceeded", "failed_precondition", "internal", "invalid_argument", "not_found",
    "permission_denied", "resource_exhausted", "unauthenticated", "unavailable", "unimplemented", "unknown",
]  # fmt: skip


class Refusal(Exception):
    """Ends a request with a code and a text. `details` are messages that go along where a protocol has a place."""

    def __init__(self, code: CodeName, text: str, details: Sequence[Any] = ()) -> None:
        super().__init__(text)
        self.code: CodeName = code
        self.text, self.details = text, details
