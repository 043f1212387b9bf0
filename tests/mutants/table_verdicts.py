"""Mutants of the scripts that end a delivery: DONE, SETTLE, BURY, RELEASE."""

from __future__ import annotations

from tests.mutants.kit import mutants

FIRST = "redis.call('XACK', KEYS[1], group, '0-1')"

DONE = mutants(
    "broker/lua/done.lua",
    "redis/test_scripts_done.py",
    ("fence: owner", ", 1000000, me)", ", 1000000)", "test_another_owner_keeps_it"),
    (
        "fence: count",
        "if held[id] == tonumber(ARGV[i + 1]) then",
        "if held[id] then",
        "test_another_count_means_it_went_round_and_is_not_ours",
    ),
    ("all rows of the range", ", 1000000, me)", ", 100, me)", "test_a_thousand_at_once_in_any_order"),
    ("range: lowest id", "if not lo or ms < lo then", "if not lo then", "test_a_batch_may_span_any_time"),
    ("range: highest id", "if not hi or ms > hi then", "if not hi then", "test_a_batch_may_span_any_time"),
    ("an id counts once", "    held[id] = nil", "    --", "test_the_same_id_twice_counts_once"),
    ("kind", "if ARGV[3] == 'topic' then", "if false then", "test_a_topic_is_acknowledged_and_kept"),
    (
        "source: XDEL",
        "    redis.call('XDEL', KEYS[1], unpack(ours))\n",
        "",
        "test_it_acknowledges_and_deletes",
    ),
    (
        "source: XACKDEL",
        "redis.call('XACKDEL', KEYS[1], group, 'IDS', #ours, unpack(ours))",
        "redis.call('XACK', KEYS[1], group, unpack(ours))",
        "test_it_acknowledges_and_deletes",
    ),
)

SETTLE = mutants(
    "broker/lua/settle.lua",
    "redis/test_scripts_settle.py",
    ("OOM: a no-op XACK first", FIRST, "", "test_every_verdict_works_at_full_memory"),
    ("fence: owner", ", 1000000, me)", ", 1000000)", "test_a_verdict_without_the_token_changes_nothing"),
    (
        "fence: count",
        "if held[id] ~= tonumber(ARGV[at + 2]) then",
        "if not held[id] then",
        "test_a_verdict_without_the_token_changes_nothing",
    ),
    ("all rows of the range", ", 1000000, me)", ", 1, me)", "test_a_batch_has_one_status_an_item_in_its_order"),
    ("range: lowest id", "if not lo or ms < lo then", "if not lo then", "test_a_batch_may_span_any_time"),
    ("range: highest id", "if not hi or ms > hi then", "if not hi then", "test_a_batch_may_span_any_time"),
    ("an id counts once", "      held[id] = nil", "      --", "test_a_batch_has_one_status_an_item_in_its_order"),
    (
        "order: source last",
        "  local uniq, res, n = ",
        "  redis.call('XACK', KEYS[1], group, id)\n  local uniq, res, n = ",
        "test_a_destination_of_the_wrong_type_leaves_its_item_and_settles_the_neighbours",
    ),
    (
        "order: due before body",
        "  redis.call('ZADD', KEYS[2]",
        "  redis.call('HSET', KEYS[3], member, pack(first, n))\n  redis.call('ZADD', KEYS[2]",
        "test_a_destination_of_the_wrong_type_leaves_its_item_and_settles_the_neighbours",
    ),
    (
        "an item's error is its own",
        "local ok, err = pcall(apply, at)",
        "local ok, err = true, apply(at)",
        "test_a_destination_of_the_wrong_type_leaves_its_item_and_settles_the_neighbours",
    ),
    (
        "two messages of one id",
        "if redis.call('HEXISTS', KEYS[3], mid) == 1 then",
        "if false then",
        "test_two_messages_with_one_id_both_wait",
    ),
    (
        "delay counts from now",
        "string.format('%.0f', now + delay)",
        "string.format('%.0f', delay)",
        "test_a_retry_waits_in_the_due_set_with_all_its_fields",
    ),
    ("a retry at once", "if delay <= 0 then", "if false then", "test_a_retry_at_once_goes_to_the_end_of_the_stream"),
    (
        "beside: where of a retry at once",
        "redis.pcall('HSET', KEYS[6]",
        "redis.call('HSET', KEYS[6]",
        "test_a_retry_at_once_into_a_wrong_place_is_written_once",
    ),
    (
        "beside: where of a later retry",
        "pack(first, n))\n  redis.pcall('HDEL', KEYS[6], mid)",
        "pack(first, n))\n  redis.call('HDEL', KEYS[6], mid)",
        "test_a_key_of_the_wrong_type_beside_the_destination_holds_nothing_up",
    ),
    (
        "beside: where of an end",
        "    redis.pcall('HDEL', KEYS[6], mid)\n  end",
        "    redis.call('HDEL', KEYS[6], mid)\n  end",
        "test_a_key_of_the_wrong_type_beside_the_destination_holds_nothing_up",
    ),
    (
        "beside: marks",
        "redis.pcall('HDEL', KEYS[5], mid)",
        "redis.call('HDEL', KEYS[5], mid)",
        "test_a_key_of_the_wrong_type_beside_the_destination_holds_nothing_up",
    ),
    (
        "beside: the lock of a retry",
        "redis.pcall('GET', KEYS[uniq]) == mid then redis.pcall('PEXPIRE'",
        "redis.call('GET', KEYS[uniq]) == mid then redis.pcall('PEXPIRE'",
        "test_a_key_of_the_wrong_type_beside_the_destination_holds_nothing_up",
    ),
    (
        "beside: the lock of an end",
        "redis.pcall('GET', KEYS[uniq]) == mid then redis.pcall('DEL'",
        "redis.call('GET', KEYS[uniq]) == mid then redis.pcall('DEL'",
        "test_a_key_of_the_wrong_type_beside_the_destination_holds_nothing_up",
    ),
    (
        "beside: the record of a dead letter",
        "local set = op == 'X' and redis.pcall or redis.call",
        "local set = redis.call",
        "worker/test_unwritten.py::test_a_dead_letter_whose_record_is_refused_is_written_once",
    ),
    (
        "a result that is refused is an error",
        "local set = op == 'X' and redis.pcall or redis.call",
        "local set = redis.pcall",
        "test_a_result_that_is_refused_leaves_its_item",
    ),
    (
        "CAS: the lock of a retry",
        "if uniq > 0 and redis.pcall('GET', KEYS[uniq]) == mid then redis.pcall('PEXPIRE'",
        "if uniq > 0 then redis.pcall('PEXPIRE'",
        "test_a_retry_keeps_the_lock_and_gives_it_more_time",
    ),
    (
        "CAS: the lock of an end",
        "if uniq > 0 and redis.pcall('GET', KEYS[uniq]) == mid then redis.pcall('DEL'",
        "if uniq > 0 then redis.pcall('DEL'",
        "test_a_final_verdict_opens_the_lock_that_its_message_holds",
    ),
    (
        "the end opens the lock",
        "then redis.pcall('DEL', KEYS[uniq]) end",
        "then end",
        "test_a_final_verdict_opens_the_lock_that_its_message_holds",
    ),
    (
        "a waiter is told",
        "redis.pcall('PUBLISH', KEYS[res], '1')",
        "",
        "test_done_writes_the_result_tells_of_it_and_deletes_the_message",
    ),
    ("marks end", "if ARGV[i + 4] == '1' then", "if false then", "test_a_settled_suspect_is_none_any_more"),
    ("marks of others stay", "if ARGV[i + 4] == '1' then", "if true then", "test_a_settled_suspect_is_none_any_more"),
    ("kind", "if kind == 'task' then", "do", "test_a_topic_keeps_its_entries_for_other_groups"),
    (
        "source: XDEL",
        "redis.call('XDEL', KEYS[1], id)",
        "",
        "test_a_retry_waits_in_the_due_set_with_all_its_fields",
    ),
    (
        "source: XACK",
        "  redis.call('XACK', KEYS[1], group, id)\n",
        "",
        "test_a_retry_waits_in_the_due_set_with_all_its_fields",
    ),
)

BURY = mutants(
    "broker/lua/bury.lua",
    "redis/test_scripts_sweep.py",
    ("OOM: a no-op XACK first", FIRST, "", "test_both_work_at_full_memory"),
    ("fence: owner", "id, id, 1, ARGV[i + 1])[1]", "id, id, 1)[1]", "test_a_row_that_moved_on_is_left_alone"),
    (
        "fence: count",
        "if not row or row[4] ~= tonumber(ARGV[i + 2]) then",
        "if not row then",
        "test_a_row_that_moved_on_is_left_alone",
    ),
    (
        "order: source last",
        "  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]\n",
        "  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]\n  redis.call('XACK', KEYS[1], group, id)\n",
        "test_a_dead_stream_of_the_wrong_type_leaves_its_item",
    ),
    (
        "an item's error is its own",
        "local ok, found = pcall(apply, i)",
        "local ok, found = true, apply(i)",
        "test_a_dead_stream_of_the_wrong_type_leaves_its_item",
    ),
    (
        "beside: the lock",
        "redis.pcall('GET', lock)",
        "redis.call('GET', lock)",
        "test_keys_of_the_wrong_type_beside_it_hold_nothing_up",
    ),
    (
        "beside: marks",
        "redis.pcall('HDEL', KEYS[3], mid)",
        "redis.call('HDEL', KEYS[3], mid)",
        "test_keys_of_the_wrong_type_beside_it_hold_nothing_up",
    ),
    (
        "beside: where",
        "redis.pcall('HDEL', KEYS[4], mid)",
        "redis.call('HDEL', KEYS[4], mid)",
        "test_keys_of_the_wrong_type_beside_it_hold_nothing_up",
    ),
    (
        "beside: the record",
        "redis.pcall('SET', result",
        "redis.call('SET', result",
        "test_a_record_that_is_refused_is_left_out",
    ),
    ("CAS: the lock", "redis.pcall('GET', lock) == mid then", "true then", "test_the_lock_of_another_message_stays"),
    (
        "no record of what was not copied",
        "if entry and result then",
        "if result then",
        "test_a_row_without_its_entry_is_acknowledged_and_its_lock_opened",
    ),
    (
        "what was not copied is told",
        "return entry and 1 or -1",
        "return 1",
        "test_a_row_without_its_entry_is_acknowledged_and_its_lock_opened",
    ),
    (
        "many fields",
        "if #fields > most then",
        "if false then",
        "test_an_entry_may_have_more_fields_than_lua_can_hand_over",
    ),
    ("kind", "if kind == 'task' then", "do", "test_a_topic_keeps_its_entry"),
    (
        "source: XACK",
        "  redis.call('XACK', KEYS[1], group, id)\n",
        "",
        "test_a_copy_is_a_dead_letter_with_all_its_bytes",
    ),
)

RELEASE = mutants(
    "broker/lua/release.lua",
    "redis/test_scripts_lease.py",
    ("fence: owner", "id, id, 1, me)[1]", "id, id, 1)[1]", "test_only_the_holder_gives_back"),
    ("fence: count", "row[4] == count and ", "", "test_only_the_holder_gives_back"),
    (
        "a second try: before",
        "(before == 0 or now - row[3] < before)",
        "true",
        "test_a_second_try_leaves_alone_what_its_old_owner_was_given_meanwhile",
    ),
    (
        "the owner changes",
        "group, 'released', 0, id",
        "group, me, 0, id",
        "test_a_late_renewal_or_verdict_misses_what_was_given_back",
    ),
    (
        "count: never started, one less",
        "if not started then count = count - 1 end",
        "",
        "test_what_never_started_costs_no_delivery_and_what_started_does",
    ),
    (
        "count: started, the same",
        "if not started then count = count - 1 end",
        "count = count - 1",
        "test_what_never_started_costs_no_delivery_and_what_started_does",
    ),
    (
        "any lease is over",
        "0, id, 'TIME', 1, 'RETRYCOUNT'",
        "0, id, 'RETRYCOUNT'",
        "test_what_never_started_costs_no_delivery_and_what_started_does",
    ),
    (
        "readers are woken",
        "if n > 0 then redis.call('XDEL'",
        "if false then redis.call('XDEL'",
        "test_readers_that_wait_are_woken_at_once[redis-8.6]",
    ),
    (
        "nobody is woken for nothing",
        "if n > 0 then redis.call('XDEL'",
        "if true then redis.call('XDEL'",
        "test_only_the_holder_gives_back",
    ),
    (
        "what wakes is gone again",
        "redis.call('XDEL', KEYS[1], redis.call('XADD', KEYS[1], '*', 'poke', '1'))",
        "redis.call('XADD', KEYS[1], '*', 'poke', '1')",
        "test_what_never_started_costs_no_delivery_and_what_started_does",
    ),
    (
        "marks end",
        "if ARGV[i + 4] == '1' then unmark",
        "if false then unmark",
        "test_a_mark_ends_with_its_message_or_a_graceful_release",
    ),
    (
        "the evidence stays",
        "if mark ~= '1 ' .. token then return end",
        "",
        "test_what_never_started_takes_back_only_its_own_mark",
    ),
    (
        "what never started takes its own mark back",
        "if mark ~= '1 ' .. token then return end",
        "do return end",
        "test_what_never_started_takes_back_only_its_own_mark",
    ),
    (
        "a start takes any mark back",
        "  if not started then\n    local mark",
        "  do\n    local mark",
        "test_a_graceful_end_takes_back_all_marks",
    ),
    (
        "beside: marks of what never started",
        "redis.pcall('HGET', KEYS[2], mid)",
        "redis.call('HGET', KEYS[2], mid)",
        "test_a_wrong_type_beside_it_does_not_stop_a_release",
    ),
    (
        "beside: marks of what started",
        "redis.pcall('HDEL', KEYS[2], mid)",
        "redis.call('HDEL', KEYS[2], mid)",
        "test_a_wrong_type_beside_it_does_not_stop_a_release",
    ),
)

ALL = [*DONE, *SETTLE, *BURY, *RELEASE]
