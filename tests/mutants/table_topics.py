"""Mutants of the scripts of topics: what is kept of one, and what a group's workers and publishers ask."""

from __future__ import annotations

from tests.mutants.kit import mutants

RETENTION = mutants(
    "broker/lua/retention.lua",
    "redis/test_scripts_publish.py",
    (
        "what a group holds stays",
        "local id = redis.call('XPENDING', KEYS[1], g['name'])[2]",
        "local id",
        "test_nothing_that_a_group_holds_is_cut[valkey-8.1-0]",
    ),
    (
        "what a group has not read stays",
        "if not lowest or before(id, lowest) then lowest = id end",
        "if not lowest or before(lowest, id) then lowest = id end",
        "test_nothing_that_a_group_has_not_read_is_cut[valkey-8.1]",
    ),
    (
        "ids are compared as numbers",
        "return ams < bms or (ams == bms and aseq < bseq)",
        "return a < b",
        "test_nothing_that_a_group_has_not_read_is_cut[valkey-8.1]",
    ),
    (
        "a group that begins at a time",
        "if seq < 2^53 then id",
        "if true then id",
        "test_a_group_that_begins_at_a_time_is_no_hindrance[redis-7.0-now]",
    ),
    (
        "the rest is cut by hand",
        "  if cut > 0 then return cut end\n  -- Redis",
        "  if cut then return cut end\n  -- Redis",
        "test_a_topic_of_any_size_goes_on_when_all_is_done[valkey-8.1-3-5]",
    ),
    (
        "by hand too, what is not done stays",
        "if lowest and before(lowest, stays) then stays = lowest end",
        "",
        "test_a_full_topic_goes_on_as_soon_as_the_slowest_group_has_done_with_one[valkey-8.1]",
    ),
    (
        "what is kept is kept",
        "'COUNT', math.min(length - most, 100) + 1)",
        "'COUNT', math.min(length, 100))",
        "test_a_topic_of_any_size_goes_on_when_all_is_done[valkey-8.1-10-50]",
    ),
    (
        "where Redis can, behind what is not done",
        "if type(cut) == 'number' and cut > 0 then return cut end",
        "",
        "test_where_redis_can_what_is_done_goes_also_behind_what_is_not",
    ),
    (
        "where Redis cannot, below what is not done",
        "  return trim_below(most)\nend",
        "  return 0\nend",
        "test_entries_that_all_groups_have_done_with_go_beyond_what_is_kept[valkey-8.1]",
    ),
    (
        "drop: nobody waits for what is gone",
        "local lost = redis.call('XACK', KEYS[1], g['name'], unpack(ids))",
        "local lost = 0",
        "test_where_dropping_was_chosen_the_oldest_go_and_each_groups_loss_is_counted[redis-8.6]",
    ),
    (
        "drop: the unread are counted",
        "      lost = lost + 1\n",
        "",
        "test_where_dropping_was_chosen_the_oldest_go_and_each_groups_loss_is_counted[redis-8.6]",
    ),
    (
        "drop: what is done is not counted",
        "if not before(g['last-delivered-id'], ids[i]) then break end",
        "",
        "test_where_dropping_was_chosen_the_oldest_go_and_each_groups_loss_is_counted[redis-8.6]",
    ),
    (
        "drop: losses add up",
        "redis.pcall('HINCRBY', KEYS[2], g['name'], lost)",
        "redis.pcall('HSET', KEYS[2], g['name'], lost)",
        "test_losses_add_up_and_what_is_done_comes_first[redis-8.6]",
    ),
)

PUBLISH = mutants(
    "broker/lua/publish.lua",
    "redis/test_scripts_publish.py",
    (
        "a key once",
        "if known then return {0, known} end",
        "",
        "test_under_one_key_it_adds_once_and_answers_the_first_entry",
    ),
    (
        "a key's time",
        "redis.call('SET', KEYS[3], id, 'PX', ARGV[4])",
        "redis.call('SET', KEYS[3], id)",
        "test_under_one_key_it_adds_once_and_answers_the_first_entry",
    ),
    (
        "a refused event leaves no lock",
        "local most, full =",
        "if KEYS[3] then redis.call('SET', KEYS[3], '0-0', 'PX', ARGV[4]) end\nlocal most, full =",
        "test_a_refused_event_leaves_no_lock",
    ),
    (
        "full is full",
        "  if length >= full then\n    if ARGV",
        "  if false then\n    if ARGV",
        "test_a_full_topic_refuses_and_says_how_full",
    ),
    (
        "only who chose it drops",
        "if ARGV[3] ~= 'drop' then return {-1, length} end",
        "",
        "test_a_full_topic_refuses_and_says_how_full",
    ),
    (
        "before it refuses it looks what is done",
        "if most > 0 then length = length - trim_below(most) end",
        "",
        "test_a_full_topic_goes_on_as_soon_as_the_slowest_group_has_done_with_one",
    ),
    (
        "where all is kept nothing is cut",
        "if most > 0 and length > most and",
        "if length > most and",
        "test_nothing_is_cut_where_all_is_kept",
    ),
    (
        "it is not tried each time",
        " and length % 100 == 0 then",
        " then",
        "test_entries_that_all_groups_have_done_with_go_beyond_what_is_kept[redis-8.6]",
    ),
    (
        "idempotent by the id of the publication",
        "'IDMP', ARGV[5], ARGV[6]",
        "'IDMP', ARGV[5], ARGV[8]",
        "test_an_idempotent_add_is_known_by_its_producer_and_the_id_of_the_publication",
    ),
)

TRIM = mutants(
    "broker/lua/trim.lua",
    "redis/test_scripts_publish.py",
    (
        "gives up only where that was chosen",
        "if full > 0 and ARGV[3] == 'drop' then",
        "if full > 0 then",
        "test_trim_gives_up_only_where_that_was_chosen",
    ),
    (
        "down to the cap",
        "if length <= full then break end",
        "if length <= 2 * full then break end",
        "test_trim_gives_up_only_where_that_was_chosen",
    ),
    (
        "keeps what is kept",
        "local cut = trim_done(most)",
        "local cut = trim_done(1)",
        "test_trim_counts_what_all_had_done_with[valkey-8.1]",
        "test_without_groups_the_newest_are_kept",
    ),
    (
        "cuts what is done first",
        "if most > 0 then\n  for",
        "if false then\n  for",
        "test_trim_counts_what_all_had_done_with",
    ),
    ("all is kept", "if most > 0 then\n  for", "do\n  for", "test_nothing_is_cut_where_all_is_kept"),
)

IGNORE = mutants(
    "broker/lua/ignore.lua",
    "redis/test_scripts_groups.py",
    ("fence: owner", ", 1, me)[1]", ", 1)[1]", "test_ignoring_needs_the_token"),
    ("fence: count", "if row and row[4] == tonumber(ARGV[i + 1]) then", "if row then", "test_ignoring_needs_the_token"),
    (
        "what a sibling handles is left alone",
        "if said or all or kind == 'task' then",
        "if kind == 'task' then",
        "test_a_type_that_a_sibling_handles_is_left_alone",
    ),
    (
        "a sibling for all types",
        "local all = last_said('*')",
        "local all",
        "test_a_sibling_that_handles_all_types_makes_none_a_stranger",
    ),
    (
        "the age is never what a verdict says",
        "status = math.max(2, now - math.max(",
        "status = math.max(1, now - math.max(",
        "test_it_tells_how_long_ago_the_last_one_said_so",
    ),
    (
        "the topic keeps it",
        "      status = -1\n",
        "      redis.call('XDEL', KEYS[1], ARGV[i])\n      status = -1\n",
        "test_a_type_that_nobody_handles_is_acknowledged_for_this_group_only",
    ),
)

HANDLES = mutants(
    "broker/lua/handles.lua",
    "redis/test_scripts_groups.py",
    (
        "at full memory",
        "redis.call('XACK', KEYS[1], ARGV[1], '0-1')",
        "",
        "test_at_full_memory_a_worker_can_still_say_what_it_handles",
    ),
    ("all types", "for i = 2, #ARGV do", "for i = 2, 2 do", "test_a_type_that_a_sibling_handles_is_left_alone"),
    (
        "said again it is young again",
        "redis.call('HSET', KEYS[2], ARGV[i], now)",
        "redis.call('HSETNX', KEYS[2], ARGV[i], now)",
        "test_it_tells_how_long_ago_the_last_one_said_so",
    ),
)

ONCE = mutants(
    "broker/lua/once.lua",
    "redis/test_scripts_groups.py",
    (
        "done is done",
        "if holder == 'done' then",
        "if false then",
        "test_what_is_done_is_done_for_all_also_for_who_had_the_lock_and_who_would_take_it_over",
    ),
    (
        "a held lock",
        "elseif holder and holder ~= me and",
        "elseif false and",
        "test_the_first_entry_of_an_event_goes_on_and_another_one_learns_of_it",
    ),
    (
        "the holder asks again",
        "elseif holder and holder ~= me and",
        "elseif holder and",
        "test_the_first_entry_of_an_event_goes_on_and_another_one_learns_of_it",
    ),
    (
        "taken over when its holder is gone",
        " and ARGV[2 * i + 1] ~= '1' then",
        " then",
        "test_a_lock_whose_holder_is_gone_is_taken_over_when_that_is_said",
    ),
    (
        "a lock runs out",
        "redis.call('SET', KEYS[i], me, 'PX', ARGV[1])",
        "redis.call('SET', KEYS[i], me)",
        "test_the_first_entry_of_an_event_goes_on_and_another_one_learns_of_it",
    ),
    ("at full memory", "redis.pcall('SREM', KEYS[1], '')", "", "test_at_full_memory_a_handler_can_still_start"),
)

HANDLED = mutants(
    "broker/lua/handled.lua",
    "redis/test_scripts_groups.py",
    (
        "no group",
        "if not last then return 'no group' end",
        "if not last then return 'done' end",
        "test_handled_tells_each_state",
    ),
    (
        "its own group",
        "if row['name'] == ARGV[1] then last",
        "if true then last",
        "test_handled_looks_at_one_groups_place",
    ),
    (
        "unread",
        "then return 'unread' end",
        "then return 'done' end",
        "test_handled_tells_each_state",
    ),
    (
        "ids are compared as numbers",
        "(lms == ms and lseq < seq)",
        "false",
        "test_handled_of_a_topic_that_is_not_there_and_of_an_entry_that_never_was",
    ),
    (
        "held",
        "if redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)[1] then return 'held' end",
        "",
        "test_handled_tells_each_state",
    ),
    ("its retry waits", "redis.call('ZSCORE', KEYS[2], ARGV[2]) or ", "", "test_handled_tells_each_state"),
    (
        "it runs from the own queue",
        " or redis.call('HEXISTS', KEYS[3], ARGV[2]) == 1 then",
        " then",
        "test_handled_tells_each_state",
    ),
    ("its failure", "return redis.call('GET', KEYS[4]) or 'done'", "return 'done'", "test_handled_tells_each_state"),
)

REPLY = mutants(
    "broker/lua/reply.lua",
    "redis/test_scripts_groups.py",
    (
        "its end comes with it",
        "redis.call('PEXPIRE', KEYS[1], ARGV[2])",
        "",
        "test_an_answer_brings_the_end_of_its_stream",
    ),
    (
        "what lives for ever does not die",
        "redis.call('PTTL', KEYS[1]) == -1 then",
        "false then",
        "test_a_stream_that_lives_for_ever_is_no_reply_stream",
    ),
    ("it does not grow for ever", "'MAXLEN', '~', ARGV[1], ", "", "test_a_reply_stream_does_not_grow_for_ever"),
)

SETTLE = mutants(
    "broker/lua/settle.lua",
    "redis/test_scripts_groups.py",
    (
        "a topic keeps its entry",
        "  if kind == 'task' then redis.call('XDEL', KEYS[1], id) end\nend\n\nlocal items",
        "  redis.call('XDEL', KEYS[1], id)\nend\n\nlocal items",
        "test_a_final_verdict_tells_its_end_and_leaves_the_topic_and_other_groups_alone",
    ),
)

BURY = mutants(
    "broker/lua/bury.lua",
    "redis/test_scripts_groups.py",
    (
        "a topic keeps its entry",
        "  if kind == 'task' then redis.call('XDEL', KEYS[1], id) end\n  return entry",
        "  redis.call('XDEL', KEYS[1], id)\n  return entry",
        "test_burying_copies_and_leaves_the_topic_and_other_groups_alone",
    ),
)

ALL = [
    *RETENTION, *PUBLISH, *TRIM, *IGNORE, *HANDLES, *ONCE, *HANDLED, *REPLY, *SETTLE, *BURY,
]  # fmt: skip
