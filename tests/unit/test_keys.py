"""Keys: every script's keys must lie in one slot of a Redis Cluster, for every name that is allowed."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtask import StreamTask
from streamtask.broker import keys as names
from streamtask.broker.keys import QueueKeys, queue_keys, tag
from streamtask.checks import NAME

legal = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=64)
#: What a task's name, a message's id or a key's hash may be: they come from strangers too.
anything = st.text(min_size=1, max_size=20) | st.sampled_from(["}", "{", "{}", "{x}", "}:due", "id"])


def slot(key: str) -> int:
    """The Cluster slot of a key: CRC16 (XMODEM) of its hash tag, or of all of it, modulo 16384."""
    data = key.encode()
    start = data.find(b"{")
    if start >= 0:
        end = data.find(b"}", start + 1)
        if end > start + 1:
            data = data[start + 1 : end]
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc % 16384


def test_the_slots_are_those_of_the_specification() -> None:
    assert slot("123456789") == 0x31C3 % 16384
    assert slot("foo{hash_tag}") == slot("hash_tag") == 2515
    assert slot("foo{}{bar}") != slot("bar"), "an empty tag is none"


def scripts_of(keys: QueueKeys, task: str, mid: str, key_hash: str) -> dict[str, list[str]]:
    """The KEYS of every call of every script."""
    locks = [keys.sent(mid), keys.unique(task, key_hash)]
    return {
        "DONE": [keys.stream],
        "RENEW": [keys.stream],
        "READ": [keys.stream],
        "MARK, RELEASE": [keys.stream, keys.suspects],
        "SETTLE": [keys.stream, keys.due, keys.body, keys.dead, keys.suspects, keys.where, locks[1], keys.result(mid)],
        "MOVE": [keys.due, keys.body, keys.stream, keys.where, keys.mover],
        "ENQ": [keys.stream, *locks],
        "DEFER": [keys.due, keys.body, *locks],
        "TICK": [keys.stream, keys.ticks, locks[1]],
        "REPLAY": [keys.dead, keys.stream, keys.result(mid), locks[1]],
        "lease": [keys.conf],
    }


@given(legal, legal, anything, anything, anything)
def test_all_keys_of_a_queue_lie_in_one_slot(namespace: str, queue: str, task: str, mid: str, key_hash: str) -> None:
    keys = queue_keys(namespace, queue)
    assert {slot(key) for script in scripts_of(keys, task, mid, key_hash).values() for key in script} == {
        slot(keys.stream)
    }


@given(legal, legal)
def test_no_two_keys_of_a_queue_are_the_same(namespace: str, queue: str) -> None:
    keys = queue_keys(namespace, queue)
    all_keys = [key for script in scripts_of(keys, "t", "m", "h").values() for key in script]
    assert len(set(all_keys)) == 12
    assert all(NAME.fullmatch(name) for name in (namespace, queue))


@given(st.tuples(legal, legal), st.tuples(legal, legal))
def test_two_queues_share_no_key(one: tuple[str, str], two: tuple[str, str]) -> None:
    if one != two:
        first, second = (scripts_of(queue_keys(*queue), "t", "m", "h") for queue in (one, two))
        assert not {k for keys in first.values() for k in keys} & {k for keys in second.values() for k in keys}


@pytest.mark.parametrize("name", ["queues", "schedules", "namespaces"])
def test_a_queue_cannot_have_the_name_of_another_key(name: str) -> None:
    """`ns:queues` is the set of queues."""
    app = StreamTask("streamtask")
    with pytest.raises(ValueError, match="a key of streamtask has it"):
        app.queue(name)
    with pytest.raises(ValueError, match="a key of streamtask has it"):
        app.task(queue=name)
    streams = {queue_keys(app.namespace, name).stream for name in ("queues", "schedules", "namespaces")}
    assert streams == {names.queues("streamtask"), names.schedules("streamtask"), names.NAMESPACES}


@pytest.mark.parametrize(
    ("base", "prefix"),
    [("ns:q", "{ns:q}"), ("{alt}:events", "{alt}:events"), ("a:{b}:c", "a:{b}:c")],
)
def test_a_base_that_has_a_tag_keeps_it(base: str, prefix: str) -> None:
    assert tag(base) == prefix
    assert slot(f"{prefix}:due") == slot(base)


@pytest.mark.parametrize("base", ["st:{a}b}", "a}b", "a{b", "x{}y", "{{a}}", "{a}{b}", "}{"])
def test_other_braces_would_move_derived_keys_away_and_are_refused(base: str) -> None:
    with pytest.raises(ValueError, match="cannot be a key"):
        tag(base)


@given(st.text("{}ab:", max_size=12))
def test_a_tag_that_is_accepted_is_in_the_slot_of_its_base(base: str) -> None:
    try:
        prefix = tag(base)
    except ValueError:
        return
    assert slot(f"{prefix}:due") == slot(f"{prefix}:result:{{x}}") == slot(base)
