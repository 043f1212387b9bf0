"""What publishers ask of a topic beside publishing: has a group handled an entry, and an answer to who asked.

Conversations as data (see `sender.Steps`), carried by either client.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json

from streamtask.broker.keys import queue_keys
from streamtask.broker.link import Arg, Command, NoScriptError, ResponseError, call_of, group_is_gone, passing
from streamtask.broker.scripts import HANDLED, REPLY, Script
from streamtask.broker.sender import Steps
from streamtask.broker.sending import After
from streamtask.errors import SendError, TaskFailed, UnknownGroup

#: Seconds between two looks at whether an event is handled: at first, and at most.
LOOK, LONGEST_LOOK = 0.005, 0.25
#: Entries of a reply stream that are kept, and seconds for which it lives after an answer (docs/reference/hub.md).
REPLIES_KEPT, REPLY_TTL = 1000, 300.0


def check_groups(topic: str, groups: Sequence[str]) -> Steps[None]:
    """Raise UnknownGroup for a group that is not there: nobody would ever handle the event for it."""
    (found,) = yield [("XINFO", "GROUPS", topic)]
    if isinstance(found, ResponseError) and group_is_gone(found):
        found = []
    if isinstance(found, Exception):
        raise SendError(f"Redis does not tell the groups of {topic}: {found}") from found
    known = [dict(zip(flat[::2], flat[1::2], strict=True))[b"name"].decode() for flat in found]
    for group in groups:
        if group not in known:
            raise UnknownGroup(
                f"the topic {topic!r} has no group {group!r} (it has {', '.join(sorted(known)) or 'none'}); start its "
                f"worker, or `streamtask topics join {topic} --group {group}`"
            )


def until_handled(topic: str, groups: Sequence[str], entry_id: str, timeout: float) -> Steps[None]:
    """Wait until each group has handled an entry; raises TaskFailed when it ended as a dead letter, TimeoutError after
    `timeout` seconds, also when Redis is away for so long.
    """
    deadline, pause, left = time.monotonic() + timeout, 0.0, list(groups)
    while True:
        calls = [_handled(topic, group, entry_id) for group in left]
        try:
            replies = yield from _run(HANDLED, calls, pause)
        except SendError as error:  # the event is published: who waits for it must not take this for a refusal
            replies = [error] * len(left)
        states = dict(zip(left, replies, strict=True))
        left = [group for group, state in states.items() if not _is_over(topic, group, entry_id, state)]
        if not left:
            return
        rest = deadline - time.monotonic()
        if rest <= 0:
            said = ", ".join(f"{group} ({_shown(states[group])})" for group in left)
            raise TimeoutError(f"event {entry_id} on {topic} is not handled after {timeout:g} s by {said}")
        pause = min(rest, LONGEST_LOOK, max(LOOK, 1.5 * pause))


def reply(stream: str, fields: Sequence[bytes | str]) -> Steps[str | None]:
    """Add an answer to a reply stream; its entry id, None when the key is no reply stream."""
    args: list[Arg] = [REPLIES_KEPT, int(REPLY_TTL * 1000), *fields]
    (said,) = yield from _run(REPLY, [call_of(REPLY, [stream], args)], 0.0)
    if isinstance(said, Exception):
        raise SendError(f"Redis refused the answer to {stream}: {said}") from said
    text: str = said.decode()
    return None if text == "0" else text


def _handled(topic: str, group: str, entry_id: str) -> Command:
    keys = queue_keys("", f"{topic}/{group}")
    return call_of(HANDLED, (topic, keys.due, keys.where, keys.result(entry_id)), (group, entry_id))


def _shown(state: Any) -> str:
    return str(state) if isinstance(state, Exception) else str(state.decode(errors="replace"))


def _is_over(topic: str, group: str, entry_id: str, state: Any) -> bool:
    if isinstance(state, SendError) or (isinstance(state, Exception) and passing(state)):
        return False
    if isinstance(state, Exception):
        raise SendError(f"Redis does not tell whether {group} has handled {entry_id}: {state}") from state
    if state == b"no group":
        raise UnknownGroup(f"the group {group!r} left the topic {topic!r} while event {entry_id} waited for it")
    if state[:1] != b"{":
        return bool(state == b"done")
    record = from_json(state)
    error = record.get("error") or {}
    kind, text, frames = (str(error.get(name, "")) for name in ("type", "message", "traceback"))
    raise TaskFailed(str(record.get("task")), entry_id, kind, text, frames, str(record.get("reason", "")))


def _run(script: Script, calls: list[Command], pause: float) -> Steps[list[Any]]:
    """Run a script, also on a server that does not know it (any more)."""
    replies = yield After(calls, pause) if pause else calls
    if any(isinstance(reply, NoScriptError) for reply in replies):
        again = yield [("SCRIPT", "LOAD", script.text), *calls]
        return again[1:]
    return replies
