"""Mutants of what operators do to topics and groups: the scripts REWIND and LEAVE, the lag, dead letters of events."""

from __future__ import annotations

from tests.mutants.kit import mutants

REWIND = mutants(
    "broker/lua/rewind.lua",
    "cli/test_topic_groups.py",
    (
        "never forwards",
        "if not before(ARGV[2], row['last-delivered-id']) then return '' end",
        "",
        "test_a_rewind_checks_again_in_the_step_that_changes",
    ),
    (
        "its own place is not before it",
        "(ams == bms and aseq < bseq)",
        "(ams == bms and aseq <= bseq)",
        "test_a_rewind_checks_again_in_the_step_that_changes",
    ),
    (
        "ids of one millisecond are told apart",
        "return ams < bms or (ams == bms and aseq < bseq)",
        "return ams < bms",
        "test_a_rewind_within_one_millisecond",
    ),
    (
        "one group alone",
        "if row['name'] == ARGV[1] then",
        "do",
        "test_a_rewind_checks_again_in_the_step_that_changes",
    ),
    (
        "the group is moved",
        "redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[2])",
        "",
        "test_a_replay_gives_one_group_what_came_after_an_id",
    ),
)

LEAVE = mutants(
    "broker/lua/leave.lua",
    "cli/test_topic_groups.py",
    (
        "what is pending keeps it",
        "if pending + waiting + due > 0",
        "if waiting + due > 0",
        "test_it_is_looked_at_again_in_the_step_that_removes",
    ),
    (
        "what waits in its own queue keeps it",
        "if pending + waiting + due > 0",
        "if pending + due > 0",
        "test_it_is_looked_at_again_in_the_step_that_removes",
    ),
    (
        "what is due keeps it",
        "if pending + waiting + due > 0",
        "if pending + waiting > 0",
        "test_it_is_looked_at_again_in_the_step_that_removes",
    ),
    (
        "force",
        "and ARGV[2] ~= '1' then",
        "then",
        "test_a_group_with_work_does_not_leave_unforced",
    ),
    (
        "dead letters stay",
        "if dead == 0 then redis.call('DEL', KEYS[4]) end",
        "redis.call('DEL', KEYS[4])",
        "test_dead_letters_stay_and_can_be_purged_after_the_leave",
    ),
    (
        "no key is left behind",
        "redis.call('DEL', KEYS[2], KEYS[3], unpack(KEYS, 6))",
        "redis.call('DEL', KEYS[2], KEYS[3])",
        "test_a_group_that_is_done_leaves_and_takes_its_keys_along",
    ),
    (
        "its count of lost events goes, the others' stay",
        "redis.pcall('HDEL', KEYS[5], ARGV[1])",
        "redis.call('DEL', KEYS[5])",
        "test_a_group_that_is_done_leaves_and_takes_its_keys_along",
    ),
    (
        "the group goes",
        "redis.pcall('XGROUP', 'DESTROY', KEYS[1], ARGV[1])",
        "",
        "test_a_group_that_is_done_leaves_and_takes_its_keys_along",
    ),
)

TOPICS = mutants(
    "topics.py",
    "cli/test_topics.py",
    (
        "lag: NULL is counted",
        'elif right and group.get("lag") is not None:',
        "elif right:",
        "test_the_lag_is_right_wherever_a_group_began_and_whatever_was_deleted",
    ),
    (
        "lag: trusted only where it is right",
        "    return tuple(int(part) for part in version if part.isdigit()) >= LAG_IS_RIGHT.get(engine, (1_000,))",
        "    return True",
        "test_what_was_trimmed_unread_is_not_counted",
    ),
    (
        "lag: none is right of what was trimmed unread just now",
        "elif place < parts(first):",
        "elif False:",
        "test_what_was_trimmed_unread_is_not_counted",
    ),
    (
        "lag: a count ends at its bound",
        "return min(number, most), number <= most",
        "return number, number <= most",
        "test_a_lag_that_must_be_counted_is_counted_up_to_a_bound",
    ),
    (
        "lag: exact at the bound itself",
        "return min(number, most), number <= most",
        "return min(number, most), number < most",
        "test_a_lag_that_must_be_counted_is_counted_up_to_a_bound",
    ),
    (
        "what was given back is nobody's",
        '(who := _text(reader["name"])) != RELEASED and (',
        '(who := _text(reader["name"])) and (',
        "test_who_is_alive",
    ),
    (
        "stuck: only when the group goes on",
        "if ahead > STUCK:",
        "if ahead >= 0:",
        "test_a_group_that_is_stuck_stalls_trimming",
    ),
)

DEAD = mutants(
    "deadletters.py",
    "cli/test_dead_events.py",
    (
        "an event of the topic has the topic's fields alone",
        "own=id != stream_id",
        "own=True",
        "test_both_kinds_are_listed_and_shown",
    ),
    (
        "an event of the own queue is known",
        "own=id != stream_id",
        "own=False",
        "test_a_replay_goes_into_the_own_queue_alone_and_begins_anew",
    ),
    (
        "a changed payload is what goes back",
        "raw = _with_payload(letter.message.raw, args) if changes.args else letter.message.raw",
        "raw = letter.message.raw",
        "test_a_part_of_the_payload_is_changed",
    ),
    (
        "a payload that is no object is not made one",
        "        if values is None:\n            raise NotReplayable(",
        "        values = values or {}\n        if values is None:\n            raise NotReplayable(",
        "test_a_payload_of_any_kind_can_be_shown_and_replayed",
    ),
    (
        "its entry is noted",
        'UNIQUE_TTL, "event", *message.fields()',
        'UNIQUE_TTL, "0", *message.fields()',
        "test_a_replay_goes_into_the_own_queue_alone_and_begins_anew",
    ),
)

ALL = [*REWIND, *LEAVE, *TOPICS, *DEAD]
