"""Keys: every script's keys must lie in one slot of a Redis Cluster, for every name that is allowed."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtask import StreamTask
from streamtask.broker import keys as names
from streamtask.broker.keys import QueueKeys, queue_keys, tag, topic_keys
from streamtask.checks import NAME, group, topic

legal = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=64)
#: What a task's name, a message's id or a key's hash may be: they come from strangers too.
anything = st.text(min_size=1, max_size=20) | st.sampled_from(["}", "{", "{}", "{x}", "}:due", "id"])


#: What a topic may be called, among it what has braces in all places.
printable = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in "{}")
plain = st.text(printable, min_size=1, max_size=30)
braced = st.tuples(
    st.text(printable, max_size=9), st.text(printable, min_size=1, max_size=9), st.text(printable, max_size=9)
)
topics = plain | braced.filter(lambda part: part[0] or part[2]).map(lambda part: f"{part[0]}{{{part[1]}}}{part[2]}")
groups = legal.filter(lambda name: name not in ("released", "lost", "published"))


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


# -- topics ------------------------------------------------------------------------------------------------------------


def scripts_of_topic(name: str, group: str, mid: str, event_id: str) -> dict[str, list[str]]:
    """The KEYS of every call of every script for a topic, its group and the group's own queue."""
    seen, own = topic_keys(name, group), queue_keys("", f"{name}/{group}")
    found: dict[str, list[str]] = {
        "PUBLISH": [name, names.lost(name), names.published(name, f"key:{mid}"), names.published(name, f"id:{mid}")],
        "IGNORE, HANDLES": [seen.stream, own.stream, seen.types, own.types, seen.where],
        "ONCE": [seen.once(event_id), own.once(event_id), seen.once(mid)],
        "HANDLED": [name, own.due, own.where, own.result(mid)],
        "lease": [seen.conf, own.conf],
    }
    for keys in (seen, own):
        for script, all_keys in scripts_of(keys, "t", mid, event_id).items():
            found.setdefault(script, []).extend(all_keys)
    return found


@settings(max_examples=50)
@given(topics, groups, anything, anything)
def test_all_keys_of_a_topic_and_its_groups_lie_in_one_slot(
    name: str, group_name: str, mid: str, event_id: str
) -> None:
    assert topic(name) == name
    assert group(group_name) == group_name
    scripts = scripts_of_topic(name, group_name, mid, event_id)
    assert {slot(key) for keys in scripts.values() for key in keys} == {slot(name)}


@settings(max_examples=50)
@given(topics, groups, groups)
def test_two_groups_of_a_topic_share_only_the_topic(name: str, one: str, two: str) -> None:
    if one != two:
        first, second = (
            {key for keys in scripts_of_topic(name, group_name, "5-5", "e").values() for key in keys}
            for group_name in (one, two)
        )
        shared = {name, names.lost(name), names.published(name, "key:5-5"), names.published(name, "id:5-5")}
        assert first & second == shared


@settings(max_examples=50)
@given(st.tuples(plain, groups), st.tuples(plain, groups))
def test_two_topics_share_no_key(one: tuple[str, str], two: tuple[str, str]) -> None:
    if one[0] != two[0]:
        first, second = (scripts_of_topic(*which, "5-5", "e") for which in (one, two))
        assert not {k for keys in first.values() for k in keys} & {k for keys in second.values() for k in keys}


def test_a_topic_and_its_groups_keys_are_called_as_the_contract_says() -> None:
    seen, own = topic_keys("alt:events", "search"), queue_keys("ns", "alt:events/search")
    assert (seen.stream, own.stream) == ("alt:events", "{alt:events}:search")
    assert (seen.kind, own.kind, seen.group, own.group) == ("topic", "task", "search", "search")
    assert seen.dead == own.dead == "{alt:events}:search:dead"
    assert (seen.due, seen.body, seen.where, seen.suspects) == (own.due, own.body, own.where, own.suspects)
    assert seen.conf != own.conf, "holders of one are none of the other"
    assert (names.lost("alt:events"), seen.types) == ("{alt:events}:lost", "{alt:events}:search:types")
    assert topic_keys("{eu}:orders", "g").due == "{eu}:orders:g:due"
    assert names.topics("shop") == "shop:topics"


def test_a_name_with_a_group_stands_for_both_of_its_streams() -> None:
    assert names.keys_named("ns", "q") == [queue_keys("ns", "q")]
    assert names.keys_named("ns", "a/b/g") == [queue_keys("ns", "a/b/g"), topic_keys("a/b", "g")]
    assert queue_keys("ns", "a/b/g").stream == "{a/b}:g"
