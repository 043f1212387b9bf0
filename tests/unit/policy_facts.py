"""What tests of decide() rest on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from streamtask import TaskOptions
from streamtask.message import Message
from streamtask.policy import (
    Facts,
)

NOW = 1_763_700_000_000  # ms


class Custom(Exception):
    pass


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def some_facts(message: Message | None = Message("1f", "t"), **changes: Any) -> Facts:  # noqa: B008 - it is frozen
    base = Facts(message, TaskOptions(), sent_at=NOW - 5000, now=NOW, random=0.5, worker="w")
    return replace(base, **changes)
