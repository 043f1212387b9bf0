"""Mutants of the scripts that bring messages into a stream: ENQ, DEFER, MOVE, TICK, REPLAY."""

from __future__ import annotations

from tests.mutants.kit import mutants

ENQ = mutants(
    "broker/lua/enq.lua",
    "redis/test_scripts_send.py",
    (
        "the same message again",
        "if holder == mid then return {2, ''} end",
        "",
        "test_the_same_message_again_is_accepted_once",
    ),
    ("a held lock", "if holder then return {0, holder} end", "", "test_a_held_lock_sends_nothing_and_names_the_holder"),
    (
        "order: the locks after the message",
        (
            "local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3 + n))\n"
            "for i = 1, n do redis.call('SET', KEYS[1 + i], mid, 'PX', ARGV[2 + i]) end\n"
        ),
        (
            "for i = 1, n do redis.call('SET', KEYS[1 + i], mid, 'PX', ARGV[2 + i]) end\n"
            "local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3 + n))\n"
        ),
        "test_a_wrong_type_sends_nothing_and_locks_nothing",
    ),
    (
        "order: all locks are looked at first",
        "  if holder then return {0, holder} end\n",
        "  if holder then return {0, holder} end\n  redis.call('SET', KEYS[1 + i], mid, 'PX', ARGV[2 + i])\n",
        "test_all_locks_must_be_free_before_any_is_taken",
    ),
    ("a lock runs out", ", mid, 'PX', ARGV[2 + i])", ", mid)", "test_a_free_lock_is_taken_with_the_message"),
    (
        "OOM is told: nothing is written first",
        "local mid, n = ARGV[1], tonumber(ARGV[2])",
        "local mid, n = ARGV[1], tonumber(ARGV[2])\nredis.call('XACK', KEYS[1], 'workers', '0-1')",
        "test_full_memory_is_told_to_the_caller_before_anything_is_written",
    ),
)

DEFER = mutants(
    "broker/lua/defer.lua",
    "redis/test_scripts_send.py",
    (
        "the same message again, by its lock",
        "if holder == mid then return {2, ''} end",
        "",
        "test_a_held_lock_defers_nothing",
    ),
    ("a held lock", "if holder then return {0, holder} end", "", "test_a_held_lock_defers_nothing"),
    (
        "the same message again, by its body",
        "if redis.call('HEXISTS', KEYS[2], mid) == 1 then return {2, ''} end",
        "",
        "test_a_deferred_message_sent_again_keeps_its_first_time",
    ),
    (
        "a countdown counts from now",
        "if ARGV[3] == '0' then",
        "if false then",
        "test_a_countdown_counts_from_the_servers_now",
    ),
    ("an eta is a time of day", "if ARGV[3] == '0' then", "do", "test_an_eta_is_taken_as_it_is_also_in_the_past"),
    (
        "order: due before body",
        "redis.call('ZADD', KEYS[1]",
        "redis.call('HSET', KEYS[2], mid, table.concat(out))\nredis.call('ZADD', KEYS[1]",
        "test_a_wrong_type_defers_nothing_and_can_be_tried_again",
    ),
    (
        "order: the locks last",
        "local out = {}\n",
        "local out = {}\nfor i = 1, n do redis.call('SET', KEYS[2 + i], mid, 'PX', ARGV[4 + i]) end\n",
        "test_a_wrong_type_defers_nothing_and_can_be_tried_again",
    ),
    (
        "the locks are taken",
        "for i = 1, n do redis.call('SET', KEYS[2 + i], mid, 'PX', ARGV[4 + i]) end",
        "",
        "test_a_held_lock_defers_nothing",
    ),
)

MOVE = mutants(
    "broker/lua/move.lua",
    "redis/test_scripts_move.py",
    (
        "OOM: a no-op XACK first",
        "redis.call('XACK', KEYS[3], ARGV[1], '0-1')",
        "",
        "test_what_was_accepted_moves_also_at_full_memory",
    ),
    (
        "only what is due",
        "'-inf', now, 'LIMIT'",
        "'-inf', '+inf', 'LIMIT'",
        "test_what_is_due_moves_in_the_order_of_its_time_and_the_rest_stays",
    ),
    (
        "the limit",
        "'LIMIT', 0, tonumber(ARGV[3])",
        "'LIMIT', 0, 1000",
        "test_at_most_the_limit_moves_and_the_next_call_goes_on_at_once",
    ),
    (
        "one mover",
        "  if ARGV[5] ~= '1' then return {0, -1, now, 0, parked} end\n",
        "",
        "test_one_moves_and_the_others_stand_by",
    ),
    (
        "whoever knows of something due",
        "if ARGV[5] ~= '1' then return",
        "do return",
        "test_who_knows_of_something_due_moves_it_although_it_is_not_the_mover",
    ),
    (
        "who helps does not become the mover",
        "if holder == ARGV[2] or not holder then redis.call('SET'",
        "do redis.call('SET'",
        "test_who_knows_of_something_due_moves_it_although_it_is_not_the_mover",
    ),
    (
        "a mover that is gone is replaced",
        ", ARGV[2], 'PX', ARGV[4])",
        ", ARGV[2])",
        "test_one_moves_and_the_others_stand_by",
    ),
    (
        "order: source last",
        "  local body = redis.call('HGET', KEYS[2], due[i])\n",
        "  local body = redis.call('HGET', KEYS[2], due[i])\n  redis.call('ZREM', KEYS[1], due[i])\n",
        "test_a_stream_that_takes_no_entry_loses_nothing",
    ),
    (
        "the body goes too",
        "  redis.call('HDEL', KEYS[2], due[i])\n",
        "",
        "test_what_is_due_moves_in_the_order_of_its_time_and_the_rest_stays",
    ),
    (
        "too many fields",
        " or #fields > 7000",
        "",
        "test_a_damaged_body_does_not_stop_what_is_behind_it",
    ),
    (
        "a damaged body",
        "pcall(unpack_fields, body)",
        "true, unpack_fields(body)",
        "test_a_damaged_body_does_not_stop_what_is_behind_it",
    ),
    ("half a field", " or #fields == 0 or #fields % 2 == 1", "", "test_a_damaged_body_does_not_stop_what_is_behind_it"),
    ("a member without a body", "  if body then\n", "  do\n", "test_a_member_without_a_body_is_dropped"),
    (
        "beside: where",
        "redis.pcall('HSET', KEYS[4]",
        "redis.call('HSET', KEYS[4]",
        "test_a_place_of_the_wrong_type_moves_each_message_once",
    ),
    (
        "where knows the message id",
        "if fields[f] == 'id' then mid = fields[f + 1] end",
        "",
        "test_two_messages_of_one_id_both_move",
    ),
    ("a queue nobody has read", "redis.pcall('XPENDING'", "redis.call('XPENDING'", "test_an_empty_set_says_so"),
    (
        "only what was given back wakes",
        "'-', '+', 1, 'released')",
        "'-', '+', 1)",
        "test_it_tells_whether_something_was_given_back",
    ),
    (
        "no time is negative",
        "math.max(0, math.ceil(tonumber(head[2]) - now))",
        "math.ceil(tonumber(head[2]) - now)",
        "test_at_most_the_limit_moves_and_the_next_call_goes_on_at_once",
    ),
)

TICK = mutants(
    "broker/lua/tick.lua",
    "redis/test_scripts_tick.py",
    (
        "CAS: the last tick",
        "if last ~= ARGV[2] then return {0, last, now, 0} end",
        "",
        "test_who_comes_second_fires_nothing_and_learns_the_last_tick",
    ),
    (
        "never the future",
        "if tonumber(ARGV[3]) > tonumber(now) then return {-1, last, now, 0} end",
        "",
        "test_a_beat_whose_clock_is_ahead_fires_nothing",
    ),
    (
        "first sight fires nothing",
        "  return {2, now, now, 0}\n",
        "  last = ARGV[2]\n",
        "test_first_sight_remembers_now_and_fires_nothing",
    ),
    (
        "first sight is now",
        "redis.call('HSET', KEYS[2], ARGV[1], now)",
        "redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])",
        "test_first_sight_remembers_now_and_fires_nothing",
    ),
    (
        "order: the tick last",
        "local sent, i = 0, 5\n",
        "local sent, i = 0, 5\nredis.call('HSET', KEYS[2], ARGV[1], ARGV[3])\n",
        "test_a_wrong_type_fires_nothing_and_moves_no_tick",
    ),
    (
        "the tick is over",
        "end\nredis.call('HSET', KEYS[2], ARGV[1], ARGV[3])\n",
        "end\n",
        "test_ticks_that_the_policy_drops_are_passed_over",
    ),
    (
        "overlap",
        "if not KEYS[3] or not redis.call('GET', KEYS[3]) then",
        "do",
        "test_overlap_skip_leaves_a_tick_out_while_the_former_message_lives",
    ),
    (
        "the lock is the message's",
        "redis.call('SET', KEYS[3], ARGV[i], 'PX', ARGV[4])",
        "redis.call('SET', KEYS[3], '1', 'PX', ARGV[4])",
        "test_overlap_skip_leaves_a_tick_out_while_the_former_message_lives",
    ),
    (
        "OOM is told: nothing is written first",
        "local clock = redis.call('TIME')\n",
        "local clock = redis.call('TIME')\nredis.call('XACK', KEYS[1], 'workers', '0-1')\n",
        "test_full_memory_fires_nothing_and_moves_no_tick",
    ),
)

REPLAY = mutants(
    "broker/lua/replay.lua",
    "redis/test_scripts_replay.py",
    ("exactly once", "then return '0' end", "then end", "test_twice_is_once"),
    (
        "CAS: the lock",
        "if holder and holder ~= ARGV[2] then",
        "if false then",
        "test_a_lock_that_another_holds_refuses_unless_forced",
    ),
    ("its own lock", "if holder and holder ~= ARGV[2] then", "if holder then", "test_its_own_lock_does_not_refuse_it"),
    (
        "force",
        "if lock and ARGV[4] ~= '1' then",
        "if lock then",
        "test_a_lock_that_another_holds_refuses_unless_forced",
    ),
    (
        "order: source last",
        "local entry = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 5))",
        "redis.call('XDEL', KEYS[1], ARGV[1])\nlocal entry = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 5))",
        "test_a_wrong_type_leaves_the_dead_letter",
    ),
    ("the dead letter goes", "redis.call('XDEL', KEYS[1], ARGV[1])\n", "", "test_twice_is_once"),
    (
        "the lock is taken again",
        "if lock then redis.call('SET', lock, ARGV[2], 'PX', ARGV[3]) end",
        "",
        "test_its_lock_is_taken_again",
    ),
    (
        "an event is found while it waits",
        "if where then redis.pcall('HSET', where, ARGV[2], entry) end",
        "",
        "test_an_event_is_found_until_it_is_done",
    ),
    (
        "the record of the failure goes",
        "redis.call('DEL', KEYS[3])",
        "",
        "test_it_moves_back_with_the_fields_it_is_given_and_its_failure_is_no_end_any_more",
    ),
    (
        "OOM is told: nothing is written first",
        "if lock and ARGV[4] ~= '1' then",
        "redis.call('XACK', KEYS[2], 'workers', '0-1')\nif lock and ARGV[4] ~= '1' then",
        "test_full_memory_leaves_the_dead_letter",
    ),
)

ALL = [*ENQ, *DEFER, *MOVE, *TICK, *REPLAY]
