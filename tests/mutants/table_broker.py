"""Mutants of what stands around the scripts: how messages are sent once, groups and leftovers, and what is decided."""

from __future__ import annotations

from tests.mutants.kit import mutants

BROKER = mutants(
    "broker/broker.py",
    "worker/test_outage.py",
    (
        "group: lost while it starts, none waits",
        "            if group_is_gone(error):  # the first read will find out, and have it made again\n",
        "            if False:\n",
        "test_a_group_that_is_lost_while_a_worker_starts_is_made_again[redis-8.6-agree-flush]",
    ),
    (
        "mark: no evidence is none",
        "return mark is not None and not mark.endswith(",
        "return mark is None or not mark.endswith(",
        "worker/test_suspects.py::test_a_suspect_waits_for_what_runs_then_starts_marked[redis-8.6]",
    ),
)

READER = mutants(
    "broker/reader.py",
    "worker/test_holiday.py",
    (
        "claim holiday: a read that waits claims nothing",
        'command += ("CLAIM", GIVEN_BACK)',
        'command += ("CLAIM", 600)',
        "test_nothing_is_claimed_in_a_holiday_but_what_was_given_back[redis-8.6]",
    ),
)

LEFTOVERS = mutants(
    "broker/leftovers.py",
    "redis/test_leftovers.py",
    (
        "counts stay",
        'row[3], "1", "", "0")',
        'row[3], "0", "", "0")',
        "test_counts_stay_so_that_a_poison_is_found[redis-8.6]",
    ),
    (
        "all pages",
        "            if not given:  # another",
        "            if given:  # another",
        "test_all_rows_go_and_those_of_others_stay[redis-8.6]",
    ),
    (
        "no group is no error",
        'if "NOGROUP" not in str(error):',
        "if True:",
        "test_a_queue_that_is_gone_stops_nothing[redis-8.6]",
    ),
)

SENDING = mutants(
    "broker/sending.py",
    "redis/test_lost_replies.py",
    (
        "MaybeSent: a plain XADD is never repeated",
        "may = chunk.repeatable if chunk.doubt else self._reached",
        "may = True",
        "test_elsewhere_it_is_told_at_once_and_never_repeated[blocking-drop_reply-valkey-8.1]",
    ),
    (
        "MaybeSent: an unanswered command is in doubt",
        "chunk.doubt = True",
        "pass",
        "test_elsewhere_it_is_told_at_once_and_never_repeated[blocking-drop_reply-valkey-8.1]",
    ),
    (
        "IDMP: a repetition while Redis remembers",
        "min(timeout, WINDOW)",
        "timeout",
        "unit/test_sending.py::test_a_long_timeout_is_no_reason_to_send_again_what_redis_has_forgotten",
    ),
    (
        "IDMP: no more share a producer id than Redis keeps",
        "place // KEPT",
        "place // CHUNK",
        "test_three_thousand_in_doubt_at_once_do_not_double[redis-8.6]",
    ),
    (
        "IDMP: a producer id a send",
        "return pids, os.urandom(8).hex()",
        'return pids, "one"',
        "unit/test_sending.py::test_redis_knows_a_message_by_its_own_id_and_each_send_under_way_by_another_producer_id",
    ),
    (
        "IDMP: a fork has its own",
        (
            "    def forked(self) -> None:\n"
            '        """In a forked child: the parent\'s producer ids are the parent\'s."""\n'
            "        self._pids = []"
        ),
        (
            "    def forked(self) -> None:\n"
            '        """In a forked child: the parent\'s producer ids are the parent\'s."""\n'
            "        pass"
        ),
        "test_forked_children_have_producer_ids_of_their_own[redis-8.6]",
    ),
    (
        "IDMP: one that was in doubt is used no more",
        "                    if chunk.doubt:\n",
        "                    if False:\n",
        "unit/test_sending.py::test_a_producer_id_that_was_in_doubt_is_used_no_more",
        "test_what_comes_late_out_of_a_connection_that_was_given_up_is_still_known[redis-8.6]",
    ),
    (
        "IDMP: the last free one may be taken",
        "with suppress(IndexError):",
        "with suppress(KeyError):",
        "unit/test_sending.py::test_another_thread_may_take_the_last_free_producer_id_first",
    ),
    (
        "IDMP: Redis' own number of ids",
        '"IDMP-MAXSIZE", KEPT)',
        '"IDMP-MAXSIZE", KEPT + 1)',
        "test_whoever_sends_first_into_a_deleted_stream_makes_redis_forget_nothing[redis-8.6]",
    ),
    (
        "IDMP: an early one is not trusted",
        "self._idmp[stream] = not self._flawed",
        "self._idmp[stream] = True",
        "unit/test_sending.py::test_an_idempotent_xadd_that_may_forget_is_not_trusted",
    ),
    (
        "a script the server forgot is sent again",
        "if isinstance(reply, NoScriptError) and before is not _LOAD:",
        "if False:",
        "redis/test_scripts_known.py::test_a_sender_sends_again_what_the_server_did_not_know[redis-8.6-1]",
    ),
)

OUTGOING = mutants(
    "broker/outgoing.py",
    "redis/test_lost_replies.py",
    (
        "IDMP: by the message id",
        '"IDMP", pid, self.message.id, "*"',
        '"IDMP", pid, self.message.task, "*"',
        "unit/test_sending.py::test_redis_knows_a_message_by_its_own_id_and_each_send_under_way_by_another_producer_id",
    ),
    (
        "IDMP: Redis' own time",
        "REMEMBERED = 100",
        "REMEMBERED = 101",
        "test_whoever_sends_first_into_a_deleted_stream_makes_redis_forget_nothing[redis-8.6]",
    ),
    (
        "a chosen id is accepted once",
        "locks = ((keys.sent(message_id), MESSAGE_ID_TTL), *unique)",
        "locks = unique",
        "worker/test_unique.py::test_a_message_id_is_accepted_once",
    ),
    (
        "a script asked again finds what it left",
        "locks = (_remember(keys, message_id), *unique)",
        "locks = unique",
        "test_scripts_are_repeated_on_every_server_also_when_the_message_has_ended[redis-8.6-blocking-True-unique]",
    ),
)

KEYS = mutants(
    "broker/keys.py",
    "unit/test_keys.py",
    (
        "hash tags: a part in braces is kept",
        'if start >= 0 and start + 1 < end and base.count("{") == base.count("}") == 1:',
        "if False:",
        "test_a_base_that_has_a_tag_keeps_it",
    ),
    (
        "hash tags: other braces are refused",
        'if start >= 0 and start + 1 < end and base.count("{") == base.count("}") == 1:',
        "if start >= 0:",
        "test_other_braces_would_move_derived_keys_away_and_are_refused",
    ),
)

LINK = mutants(
    "broker/link.py",
    "unit/test_passing.py",
    (
        "NOSCRIPT: loaded and called again",
        "if isinstance(reply, NoScriptError)]",
        "if False]",
        "worker/test_outage.py::test_scripts_may_be_flushed_at_any_time[redis-8.6]",
    ),
    (
        "retry: what passes by itself",
        "or str(error).startswith(_PASSING)",
        "",
        "test_a_server_that_will_be_able_again_is_waited_for",
    ),
    (
        "retry: nothing else",
        "return isinstance(error, CONNECTION_ERRORS) or str(error).startswith(_PASSING)",
        "return True",
        "test_what_no_time_will_mend_is_not",
    ),
    (
        "group: a stream that is not there has none",
        '("NOGROUP", "no such key", "requires the key to exist")',
        '("NOGROUP",)',
        "worker/test_outage.py::test_a_group_that_is_lost_while_a_worker_starts_is_made_again",
    ),
    (
        "group: who reads none is not alone in that",
        '("NOGROUP", "no such key", "requires the key to exist")',
        '("no such key", "requires the key to exist")',
        "worker/test_outage.py::test_a_lost_group_is_made_again_and_new_messages_run[redis-8.6-False-destroy]",
    ),
)

MESSAGE = mutants(
    "message.py",
    "unit/test_message.py",
    (
        "no id: the entry's serves",
        '_text("id", id) if id else entry_id,',
        '_text("id", id) if id else "none",',
        "test_a_foreign_entry_needs_no_more_than_its_task",
    ),
)

POLICY = mutants(
    "policy.py",
    "unit/test_decide.py",
    (
        "retries are counted",
        "failed > options.max_retries:",
        "failed >= options.max_retries:",
        "test_there_are_as_many_retries_as_allowed",
    ),
    (
        "retries come to an end",
        "attempt=failed, errors=errors)",
        "errors=errors)",
        "test_a_failed_attempt_is_remembered_and_the_oldest_forgotten",
        "worker/test_retry.py::test_attempts_are_counted_and_the_last_error_is_buried[redis-8.6-False]",
    ),
    (
        "at most once at a stop",
        "if not outcome.started or options.idempotent:",
        "if True:",
        "test_a_stop_gives_back_and_at_most_once_is_never_given_back_once_it_started",
    ),
    (
        "poison: a child's deaths come to an end",
        "if outcome.deliveries < options.max_deliveries and options.idempotent:",
        "if True:",
        "test_the_death_of_a_child_gives_back_until_the_deliveries_are_used_up",
    ),
    (
        "too much time or memory: a failed attempt",
        "return _failed(facts, _overrun(outcome))",
        "return Release(started=True)",
        "test_too_much_memory_is_a_failure",
    ),
    (
        "lost is dropped",
        "isinstance(outcome, Stray) else Drop()",
        "isinstance(outcome, Stray) else Release(True)",
        "test_late_is_expired_and_lost_is_dropped",
    ),
    (
        "parked while it is young",
        "    if left <= 0:\n        return Bury(reason, failure)\n",
        "    return Bury(reason, failure)\n",
        "unit/test_parking.py::test_an_unknown_task_is_parked_until_its_grace_is_over",
    ),
    (
        "parked, but not for ever",
        'min(message.meta.get("first_seen", facts.now), facts.now)',
        "facts.now",
        "unit/test_parking.py::test_an_unknown_task_is_parked_until_its_grace_is_over",
    ),
    (
        "expiry counts from the first sending",
        'meta={**kept, "sent_at": facts.sent_at, **changes})',
        "meta={**kept, **changes})",
        "worker/test_timeout.py::test_a_retry_counts_its_expiry_from_the_first_sending[redis-8.6]",
    ),
)

ALL = [*BROKER, *READER, *LEFTOVERS, *SENDING, *OUTGOING, *KEYS, *LINK, *MESSAGE, *POLICY]
