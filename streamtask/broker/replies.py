"""Replies as they are read: errors raised, flat pairs as a dict, and "there is no such group" told from trouble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def must(reply: Any) -> Any:
    """The reply; raises it when it is an error."""
    if isinstance(reply, Exception):
        raise reply
    return reply


def pairs(flat: Sequence[Any]) -> dict[str, Any]:
    """Names and values in turn, as XINFO gives them."""
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def is_no_group(reply: Any) -> bool:
    """Nobody has read this stream yet, so it has no group, or there is not even a stream."""
    return isinstance(reply, Exception) and ("NOGROUP" in str(reply) or "no such key" in str(reply))
