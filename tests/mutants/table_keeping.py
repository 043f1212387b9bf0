"""Mutants of what a worker keeps, writes and gives back: leases, verdicts, the stop, and what the dead left."""

from __future__ import annotations

from tests.mutants.kit import mutants

LEASES = mutants(
    "worker/leases.py",
    "worker/test_lease.py",
    (
        "renewal: after half a period",
        "else sent_at - self.period / 2",
        "else sent_at - self.period",
        "test_what_is_held_is_renewed_long_before_its_lease_is_over[redis-8.6]",
    ),
    (
        "renewal: confirmed when it was sent",
        "delivery.confirmed_at = max(delivery.confirmed_at, sent_at)",
        "delivery.confirmed_at = time.monotonic()",
        "test_a_renewal_confirms_what_was_ours_when_it_was_sent[redis-8.6]",
    ),
    (
        "renewal: what is settling too",
        "if d.confirmed_at < limit or id(d) in urgent]",
        "if (d.confirmed_at < limit or id(d) in urgent) and not d.settling]",
        "test_what_waits_to_be_written_is_renewed[redis-8.6]",
    ),
    (
        "renewal: what is buffered too",
        "if d.confirmed_at < limit or id(d) in urgent]",
        "if (d.confirmed_at < limit or id(d) in urgent) and d.started_at]",
        "worker/test_waiting.py::test_what_is_buffered_is_renewed",
    ),
    (
        "renewal: what is on its way back is not",
        " if not d.released_ms]",
        "]",
        "worker/test_waiting.py::test_what_is_on_its_way_back_is_not_renewed_and_goes_with_the_second_try",
    ),
    (
        "renewal: who waits is told",
        "if id(delivery) in urgent:",
        "if False:",
        "worker/test_waiting.py::test_what_comes_again_while_it_waits_for_a_renewal_is_asked_about_with_its_new_token",
    ),
    (
        "renewal: gone is not taken",
        "delivery, count, status == -1)",
        "delivery, count, False)",
        "worker/test_outage.py::test_the_verdict_on_what_is_gone_is_dropped[redis-8.6]",
    ),
    (
        "renewal: no group is gone",
        'if "NOGROUP" not in str(error):\n                raise\n            statuses',
        "if True:\n                raise\n            statuses",
        "worker/test_outage.py::test_what_finds_no_group_is_gone_and_holds_nothing_up[redis-8.6]",
    ),
    (
        "OOM: a full Redis renews",
        "if passing(error) and not isinstance(error, OutOfMemoryError):",
        "if True:",
        "test_a_full_redis_takes_no_lease_away[redis-8.6]",
    ),
    (
        "silent: a Redis that refuses writes",
        "if passing(error) and not isinstance(error, OutOfMemoryError):",
        "if False:",
        "worker/test_waiting.py::test_a_redis_that_refuses_writes_was_away_also_for_who_holds_nothing[redis-8.6]",
    ),
    (
        "silent: an error does not end the thread",
        "except Exception:\n",
        "except ZeroDivisionError:\n",
        "test_nothing_is_read_while_the_lease_thread_is_silent[redis-8.6]",
    ),
    (
        "silent: nothing renewed for half a lease",
        "return time.monotonic() - self.last_good > self._contact.lease / 2",
        "return False",
        "test_nothing_is_read_while_the_lease_thread_is_silent[redis-8.6]",
    ),
)

WORKER = mutants(
    "worker/__init__.py",
    "worker/test_stop.py",
    (
        "lost: an answer about an old token",
        "if delivery.count != count:",
        "if False:",
        "worker/test_waiting.py::test_what_comes_again_while_it_waits_for_a_renewal_is_asked_about_with_its_new_token",
    ),
    (
        "lost: who waits is asked about again",
        "            if delivery.unsure:\n                self._refresh(delivery)\n",
        "",
        "worker/test_waiting.py::test_what_comes_again_while_it_waits_for_a_renewal_is_asked_about_with_its_new_token",
    ),
    (
        "lost: what is gone runs to its end",
        " or (gone and delivery.state is State.RUNNING)",
        "",
        "worker/test_outage.py::test_the_verdict_on_what_is_gone_is_dropped[redis-8.6]",
    ),
    (
        "stop: what started is counted",
        "self.executor.stop(delivery, Stopped(started=True))",
        "self.executor.stop(delivery, Stopped(started=False))",
        "test_a_coroutine_is_given_back_when_the_grace_is_over_or_at_the_second_signal[redis-8.6-False]",
    ),
    (
        "stop: unknown rows go back",
        "        await self._give_back_unknown()\n",
        "",
        "test_what_was_delivered_in_an_answer_that_got_lost_goes_back_uncounted[redis-8.6]",
    ),
    (
        "stop: leases are kept to the end",
        "        await self.readers.stop()\n",
        "        await self.leases.stop()\n        await self.readers.stop()\n",
        "test_what_runs_at_a_stop_keeps_its_lease[redis-8.6]",
    ),
    (
        "stop: reading ends first",
        "        await self.readers.stop()\n",
        "",
        "test_what_runs_may_end_and_what_is_buffered_goes_back_uncounted[redis-8.6]",
    ),
    (
        "stop: its name is forgotten",
        "await self.broker.leave([queue.keys for queue in self.queues])",
        "pass",
        "test_a_worker_that_left_is_forgotten[redis-8.6]",
    ),
    (
        "claim holiday: a server that has just started",
        "self.server.uptime < 2 * self.lease:",
        "False:",
        "worker/test_holiday.py::test_a_server_that_has_just_started_gives_its_workers_time[redis-8.6]",
    ),
    (
        "freshness: a long standstill is remembered",
        "longest = self._gap if now - self._gap_at < self.lease else 0.0",
        "longest = 0.0",
        "worker/test_waiting.py::test_a_short_standstill_does_not_hide_a_long_one",
    ),
    (
        "freshness: the standstill that is just over",
        "return max(recent, now - self._beat_at - 1 / PARTS)",
        "return recent",
        "worker/test_waiting.py::test_a_standstill_is_known_before_the_heartbeat_has_seen_it",
    ),
)

COMPLETER = mutants(
    "worker/completer.py",
    "worker/test_unwritten.py",
    (
        "lost reply: told as written",
        "delivery.uncertain = True",
        "pass",
        "test_a_verdict_whose_answer_was_lost_is_told_as_written[redis-8.6]",
    ),
    (
        "a write that failed is kept",
        "self._pending = pending + self._pending",
        "pass",
        "test_a_verdict_whose_answer_was_lost_is_told_as_written[redis-8.6]",
    ),
    (
        "the token at the time of writing",
        "if delivery.count != count and delivery.queue",
        "if False and delivery.queue",
        (
            "worker/test_lease.py::"
            "test_a_verdict_under_way_when_its_message_comes_back_is_written_with_the_new_token[redis-8.6]"
        ),
    ),
    (
        "retry: what passes is tried again",
        "        if passing(error):\n            self._again(delivery, verdict)\n            return False\n",
        "",
        "test_what_is_refused_for_a_while_is_written_later_as_it_was[redis-8.6]",
    ),
    (
        "retry: what does not pass is not",
        "        if passing(error):\n",
        "        if True:\n",
        "test_what_can_be_written_in_no_form_is_given_up_and_told",
    ),
    (
        "retry: neighbours go alone",
        "elif len(items) > 1 and not passing(str(reply)):",
        "elif False:",
        "test_one_that_spoils_a_call_costs_its_neighbours_nothing",
    ),
    (
        "retry: DONE refused, SETTLE may do",
        "if is_plain(delivery, verdict):  # by DONE; SETTLE may do",
        "if False:",
        "test_a_whole_call_that_is_refused_is_taken_apart[1-redis-8.6]",
    ),
    (
        "no group: dropped",
        'if "NOGROUP" in str(reply):',
        "if False:",
        "worker/test_outage.py::test_what_finds_no_group_is_gone_and_holds_nothing_up[redis-8.6]",
    ),
    (
        "too large is not sent",
        "while weight(delivery, verdict) > UNSENDABLE:",
        "while False:",
        "test_a_message_too_large_to_be_sent_is_copied_by_the_server",
    ),
    (
        "given up: left to its lease",
        "self.unwritten.add(delivery.id)",
        "pass",
        "test_what_is_given_up_is_not_given_back_as_never_started",
    ),
    (
        "release: a second try says when the first was",
        "tries.setdefault(delivery.released_ms if delivery.uncertain else 0, [])",
        "tries.setdefault(0, [])",
        "worker/test_waiting.py::test_what_came_again_before_a_lost_answer_is_not_given_away_by_the_second_try",
    ),
    (
        "release: each second try says when its own first was",
        "tries.setdefault(delivery.released_ms if delivery.uncertain else 0, [])",
        (
            "tries.setdefault(min(d.released_ms for d, _ in batch.release if d.uncertain)"
            " if delivery.uncertain else 0, [])"
        ),
        "worker/test_waiting.py::test_each_second_try_to_give_back_knows_its_own_first",
    ),
)

VERDICTS = mutants(
    "worker/verdicts.py",
    "worker/test_unwritten.py",
    (
        "marks end with their delivery",
        "delivery.count >= task.task_options.max_deliveries",
        "False",
        "worker/test_suspects.py::test_suspects_start_one_at_a_time_and_nothing_else_beside_them[redis-8.6]",
    ),
    (
        "unique: an unread message frees its key",
        "unique = delivery.unique if delivery.message is None or delivery.message.meta else None",
        "unique = delivery.unique if delivery.message is not None and delivery.message.meta else None",
        "worker/test_unique.py::test_a_convicted_message_frees_its_key_although_nobody_reads_it[redis-8.6]",
    ),
    (
        "unique: DONE frees no key",
        "return not message.meta or message.meta.keys() <= _LEAVES_NOTHING",
        "return True",
        "worker/test_unique.py::test_a_key_ends_with_a_message_without_a_result[redis-8.6]",
    ),
    (
        "release: never a dead letter",
        "if isinstance(verdict, Release | Ignore) or delivery.by_copy:",
        "if isinstance(verdict, Ignore) or delivery.by_copy:",
        "test_a_release_that_is_refused_buries_nothing",
    ),
    (
        "downgrade: the result first",
        "if isinstance(verdict, Finish) and verdict.result is not None:\n        return",
        "if False:\n        return",
        "test_a_result_that_cannot_be_stored_is_left_out",
    ),
    (
        "downgrade: then the record",
        "    if isinstance(verdict, Finish) and verdict.note:\n        return Finish(verdict.state)\n",
        "",
        "test_a_record_that_is_refused_holds_nothing_up",
    ),
)

JANITOR = mutants(
    "worker/janitor.py",
    "worker/test_janitor.py",
    (
        "a healthy task is left alone",
        "queue.lease * 2 / 3",
        "0",
        "test_a_healthy_task_that_saw_many_deploys_is_left_alone[redis-8.6]",
    ),
    (
        "the most patient task decides",
        "max([TaskOptions().max_deliveries, *caps])",
        "min([TaskOptions().max_deliveries, *caps])",
        "test_a_task_that_may_be_delivered_more_often_is_left_alone[redis-8.6]",
    ),
    (
        "unique: an unread message frees its key",
        "if row.task and row.unique else",
        "if False else",
        "test_what_was_delivered_far_too_often_ends_unread[redis-8.6]",
    ),
    (
        "no id: the entry's serves",
        "message_id = row.message_id or stream_id",
        "message_id = row.message_id",
        "test_what_has_no_id_is_known_by_its_entry[redis-8.6]",
    ),
    (
        "no id: and is told",
        "id=row.message_id or row.id.decode(),",
        "id=row.message_id,",
        "test_what_has_no_id_is_known_by_its_entry[redis-8.6]",
    ),
    (
        "GC: only who is long gone",
        "if one.inactive > FORGET_AFTER and",
        "if",
        "test_names_of_the_dead_are_forgotten_if_they_hold_nothing[redis-8.6]",
    ),
    (
        "GC: nobody who lives",
        "if name not in living]",
        "]",
        "test_names_of_the_dead_are_forgotten_if_they_hold_nothing[redis-8.6]",
    ),
)

MEMBERSHIP = mutants(
    "worker/membership.py",
    "worker/test_stop.py",
    (
        "group: lost while it starts, made again",
        "if not group_is_gone(error):",
        "if True:",
        "worker/test_outage.py::test_a_group_that_is_lost_while_a_worker_starts_is_made_again[redis-8.6-declare-flush]",
    ),
    (
        "lease: shown before it is asked for",
        'await broker.call("SET", key, here, "PX", int(max(asked * 3, JOINING) * 1000))',
        "pass",
        "worker/test_lease.py::test_two_workers_that_start_in_the_same_instant_agree[redis-8.6]",
    ),
    (
        "stop: what still runs is not given back",
        "if id not in queue.held and id not in left",
        "if id not in left",
        "test_a_thread_that_runs_on_at_the_end_is_left_to_its_lease[redis-8.6]",
    ),
)

MOVER = mutants(
    "worker/mover.py",
    "worker/test_due.py",
    (
        "a short countdown may come at any time",
        "if waits and min(waits) < LONGEST:",
        "if waits:",
        "test_a_short_countdown_does_not_wait_for_a_long_one",
    ),
    (
        "a short retry is moved by whoever knows of it",
        "rest = min(rest, await self._turn(force=True))",
        "rest = min(rest, await self._turn(force=False))",
        "test_a_short_retry_does_not_wait_for_the_mover",
    ),
)

ALL = [*LEASES, *WORKER, *COMPLETER, *VERDICTS, *JANITOR, *MEMBERSHIP, *MOVER]
