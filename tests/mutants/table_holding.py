"""Mutants of the scripts that hand out and keep deliveries: READ, RENEW, MARK, AGREE, SWEEP, GC."""

from __future__ import annotations

from tests.mutants.kit import mutants

READ = mutants(
    "broker/lua/read.lua",
    "redis/test_scripts_read.py",
    (
        "a claim has its deadline",
        "lease > 0 and now <= tonumber(ARGV[5])",
        "lease > 0",
        "test_a_claim_that_comes_late_claims_nothing",
    ),
    (
        "no claim without a lease",
        "lease > 0 and now <= tonumber(ARGV[5])",
        "now <= tonumber(ARGV[5])",
        "test_without_a_lease_only_what_was_given_back_is_taken",
    ),
    (
        "a late claim says so",
        "if not claims then return {now, -1, out} end",
        "",
        "test_a_claim_that_comes_late_claims_nothing",
    ),
    ("only what was given back", "left, 'released'), 0)", "left), 0)", "test_a_healthy_delivery_is_left_alone"),
    (
        "the lease, fallback",
        "'IDLE', lease, '-', '+', left - #out), lease)",
        "'IDLE', 0, '-', '+', left - #out), 0)",
        "test_a_healthy_delivery_is_left_alone",
    ),
    (
        "the lease, native",
        "'CLAIM', lease, ",
        "'CLAIM', 0, ",
        "test_it_says_when_a_lease_can_run_out_at_the_soonest[redis-8.6-1]",
    ),
    (
        "one budget for both kinds",
        "'-', '+', left - #out), lease)",
        "'-', '+', left), lease)",
        "test_the_budget_is_for_both_kinds_together",
    ),
    (
        "deliveries as they were",
        "r[3], r[4]}",
        "r[3], r[4] + 1}",
        "test_it_gives_entries_of_four_like_the_native_command",
    ),
    (
        "there may be more",
        "if #out >= left then",
        "if false then",
        "test_what_did_not_fit_is_looked_for_at_once",
    ),
    (
        "the soonest end",
        "wait = math.min(wait, lease - row[3])",
        "",
        "test_it_says_when_a_lease_can_run_out_at_the_soonest",
    ),
    (
        "too many to look at",
        "if held > 200 then",
        "if held > 9999 then",
        "test_it_says_when_a_lease_can_run_out_at_the_soonest",
    ),
    (
        "a lease shorter than that",
        "math.min(lease, 750)",
        "750",
        "test_many_that_are_held_do_not_make_a_short_lease_longer",
    ),
)

RENEW = mutants(
    "broker/lua/renew.lua",
    "redis/test_scripts_lease.py",
    ("fence: owner", "id, id, 1, me)[1]", "id, id, 1)[1]", "test_it_never_steals_back_what_went_to_another"),
    (
        "fence: count",
        "if row and row[4] == tonumber(ARGV[i + 1]) then",
        "if row then",
        "test_it_says_taken_and_gone_apart",
    ),
    ("taken is told", "    status[at] = 0", "    status[at] = -1", "test_it_says_taken_and_gone_apart"),
    (
        "gone is told",
        "elseif redis.call('XPENDING', KEYS[1], group, id, id, 1)[1] then",
        "elseif true then",
        "test_it_says_taken_and_gone_apart",
    ),
    (
        "a deleted entry is gone",
        "status[at] = -1 -- until",
        "status[at] = 1 -- until",
        "test_it_says_taken_and_gone_apart",
    ),
    (
        "one is enough for a claim",
        "if #claim > 5 then",
        "if #claim > 6 then",
        "test_a_renewed_delivery_is_as_fresh_as_a_new_one",
    ),
    (
        "the count stays",
        (
            "  claim[#claim + 1] = 'JUSTID'\n  local kept = redis.call(unpack(claim))\n"
            "  for i = 1, #kept do status[place[kept[i]]] = 1 end"
        ),
        "  local kept = redis.call(unpack(claim))\n  for i = 1, #kept do status[place[kept[i][1]]] = 1 end",
        "test_a_renewed_delivery_is_as_fresh_as_a_new_one",
    ),
)

MARK = mutants(
    "broker/lua/mark.lua",
    "redis/test_scripts_lease.py",
    (
        "OOM: a no-op XACK first",
        "redis.call('XACK', KEYS[1], group, '0-1') -- must work when the memory is full",
        "",
        "test_mark_works_at_full_memory",
    ),
    (
        "fence: owner",
        "ARGV[i], ARGV[i], 1, me)[1]",
        "ARGV[i], ARGV[i], 1)[1]",
        "test_who_does_not_hold_it_cannot_mark_it",
    ),
    (
        "fence: count",
        "if row and row[4] == tonumber(ARGV[i + 1]) then",
        "if row then",
        "test_a_mark_needs_the_count_of_its_delivery",
    ),
    (
        "a mark knows its delivery",
        "if last ~= token then",
        "do",
        "test_a_mark_sent_again_by_the_same_delivery_is_the_same_mark",
    ),
    (
        "a mark knows its count",
        ".. ' ' .. ARGV[i + 1] .. ' ' ..",
        ".. ' 1 ' ..",
        "test_a_first_start_finds_no_mark_and_a_second_one_finds_it",
        "test_a_mark_sent_again_by_the_same_delivery_is_the_same_mark",
    ),
    ("a mark knows its owner", ".. ' ' .. me\n", ".. ' me'\n", "test_the_mark_of_another_owner_is_another_mark"),
    (
        "marks are counted",
        "marks = marks + 1",
        "marks = 1",
        "test_a_first_start_finds_no_mark_and_a_second_one_finds_it",
    ),
    (
        "this start is not an earlier one",
        "out[#out + 1] = marks - 1",
        "out[#out + 1] = marks",
        "test_a_first_start_finds_no_mark_and_a_second_one_finds_it",
    ),
)

AGREE = mutants(
    "broker/lua/agree.lua",
    "redis/test_scripts_agree.py",
    (
        "OOM: a no-op XACK first",
        "redis.call('XACK', KEYS[1], group, '0-1') -- must work when the memory is full",
        "",
        "test_it_works_at_full_memory",
    ),
    (
        "order: seen before it asks",
        "redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], group, me)",
        "",
        "test_the_first_one_decides",
    ),
    (
        "who holds messages",
        "    if not harmless[row[1]] then return true end\n",
        "",
        "test_who_holds_messages_is_not_overlooked",
    ),
    ("what was given back is nobody's", ", released = true}", "}", "test_who_holds_messages_is_not_overlooked"),
    ("who asks is no other", "{[me] = true, ", "{", "test_what_nobody_uses_is_replaced"),
    ("who is gone", "for i = 4, #ARGV do harmless[ARGV[i]] = true end", "", "test_what_nobody_uses_is_replaced"),
    (
        "who lives and holds nothing",
        "      if flat[i] == 'name' and not harmless[flat[i + 1]] then return true end\n",
        "",
        "test_the_first_one_decides",
    ),
    (
        "what nobody uses is replaced",
        "if stored and in_use() then",
        "if stored then",
        "test_what_nobody_uses_is_replaced",
    ),
    ("it is stored", "redis.call('HSET', KEYS[2], 'lease', ARGV[3])", "", "test_the_first_one_decides"),
)

SWEEP = mutants(
    "broker/lua/sweep.lua",
    "redis/test_scripts_sweep.py",
    (
        "only what is left alone",
        "if since >= idle then",
        "do",
        "test_only_what_was_delivered_often_and_left_alone_is_hopeless",
    ),
    (
        "only what was delivered often",
        "elseif count >= most then",
        "else",
        "test_only_what_was_delivered_often_and_left_alone_is_hopeless",
    ),
    (
        "the limit belongs to it",
        "elseif count >= most then",
        "elseif count > most then",
        "test_only_what_was_delivered_often_and_left_alone_is_hopeless",
    ),
    (
        "rows without an entry go",
        "      redis.call('XACK', KEYS[1], group, id)\n",
        "",
        "test_a_row_without_an_entry_is_acknowledged_once_nobody_renews_it",
    ),
    ("pages do not overlap", "'(' .. rows[#rows][1]", "rows[#rows][1]", "test_pages_follow_one_another"),
    ("pages follow", "rows[tonumber(ARGV[5])] and '('", "false and '('", "test_pages_follow_one_another"),
    (
        "long texts stay in Redis",
        "value and #value <= limit and value",
        "value and value",
        "test_what_an_entry_says_of_itself_is_told_if_it_can_be_ours",
    ),
    ("long meta is not parsed", " or #meta > 65536", "", "test_what_an_entry_says_of_itself_is_told_if_it_can_be_ours"),
    (
        "broken meta holds nothing up",
        "pcall(cjson.decode, meta)",
        "true, cjson.decode(meta)",
        "test_what_an_entry_says_of_itself_is_told_if_it_can_be_ours",
    ),
)

GC = mutants(
    "broker/lua/gc.lua",
    "redis/test_scripts_gc.py",
    (
        "who holds something stays",
        "1, ARGV[2])[1] then return 0 end",
        "1, ARGV[2])[1] then end",
        "test_who_holds_something_stays",
    ),
    ("only its own rows count", "'+', 1, ARGV[2])[1]", "'+', 1)[1]", "test_who_holds_nothing_goes"),
    (
        "it is forgotten",
        "redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])",
        "",
        "test_who_holds_nothing_goes",
    ),
)

ALL = [*READ, *RENEW, *MARK, *AGREE, *SWEEP, *GC]
