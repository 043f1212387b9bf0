"""Mutants of the worker's loops: what starts, where and when; what is kept, given up and given back."""

from __future__ import annotations

from tests.mutants.kit import mutants

EXECUTOR = mutants(
    "worker/executor.py",
    "worker/test_suspects.py",
    (
        "lane: the only place for a suspect",
        "if delivery.count >= task.task_options.max_deliveries and not delivery.marked:",
        "if False:",
        "test_where_a_second_start_is_forbidden_the_first_one_is_marked[redis-8.6]",
    ),
    (
        "lane: nothing starts beside it",
        "if self.running[kind] < self._slots[kind] and not self._suspects.running:",
        "if self.running[kind] < self._slots[kind]:",
        "test_what_a_read_brings_beside_a_running_suspect_waits_for_its_end[redis-8.6]",
    ),
    (
        "lane: nothing buffered starts beside it",
        "if not self._suspects.running and not self.draining:",
        "if not self.draining:",
        "test_what_a_read_brings_beside_a_running_suspect_waits_for_its_end[redis-8.6]",
    ),
    (
        "lane: nothing is fetched beside it",
        "if self.draining or self._suspects.waiting:",
        "if self.draining:",
        "test_a_suspect_that_finds_no_peace_is_given_back_once_then_starts_beside_unmarked[redis-8.6]",
    ),
    (
        "mark: an earlier one convicts",
        "if marks > 0:",
        "if marks > 9:",
        "test_at_most_once_means_that_a_start_is_never_repeated[redis-8.6]",
    ),
    (
        "mark: a reserved slot is taken",
        "                self.running[delivery.kind] += 1\n                delivery.reserved = True\n",
        "                pass\n",
        "worker/test_slots.py::test_no_more_run_at_once_than_there_are_slots[False-False-redis-8.6]",
    ),
    (
        "mark: a reserved slot is given back",
        "            self._unreserve(delivery)\n            self._conclude(delivery, Lost())\n",
        "            self._conclude(delivery, Lost())\n",
        "worker/test_waiting.py::test_a_first_start_that_is_lost_while_it_waits_for_its_mark_gives_its_slot_back",
    ),
    (
        "lane: what proves unfit leaves it",
        "if delivery.settling:\n            self._suspects.ended(delivery)",
        "if False:\n            self._suspects.ended(delivery)",
        "worker/test_waiting.py::test_a_suspect_that_proves_unfit_after_a_renewal_leaves_the_lane",
    ),
    (
        "freshness: half a lease",
        "if now - delivery.confirmed_at >= delivery.queue.lease / 2 or self._silent():",
        "if self._silent():",
        "worker/test_lease.py::test_what_an_old_answer_brings_is_asked_about_before_it_starts[redis-8.6]",
    ),
    (
        "freshness: a silent lease thread",
        "if now - delivery.confirmed_at >= delivery.queue.lease / 2 or self._silent():",
        "if now - delivery.confirmed_at >= delivery.queue.lease / 2:",
        "worker/test_lease.py::test_nothing_that_was_read_starts_while_the_lease_thread_is_silent[redis-8.6]",
    ),
    (
        "freshness: told twice, started once",
        "if not delivery.unsure or delivery.state",
        "if delivery.state",
        "worker/test_waiting.py::test_who_is_told_twice_that_it_is_ours_starts_once",
    ),
    (
        "stop: before the first step",
        "if delivery.runner is not None and not delivery.entered:",
        "if False:",
        "worker/test_stop.py::test_an_attempt_that_is_stopped_before_its_first_step_gives_its_slot_back[redis-8.6]",
    ),
    (
        "timeout: a value that came is kept",
        "(isinstance(stopped_as, Lost) or not isinstance(outcome, Returned))",
        "True",
        "worker/test_timeout.py::test_what_a_task_returns_in_spite_of_its_timeout_is_kept[redis-8.6]",
    ),
    (
        "zombie: a lost attempt is not heard",
        "(isinstance(stopped_as, Lost) or not isinstance(outcome, Returned))",
        "not isinstance(outcome, Returned)",
        "worker/test_lease.py::test_a_late_finisher_is_not_heard",
    ),
    (
        "overdue: what is buffered too long goes back",
        "if buffer and buffer[0].received_at < limit:",
        "if False:",
        "worker/test_slots.py::test_what_was_read_ahead_goes_to_a_worker_with_free_slots[redis-8.6]",
    ),
    (
        "overdue: suspects too",
        "in self._suspects.overdue(limit):",
        "in ():",
        "test_waiting_suspects_go_to_a_worker_with_a_free_lane[redis-8.6]",
    ),
    (
        "stop: what is buffered goes back uncounted",
        (
            "                if delivery.state is State.BUFFERED:\n"
            "                    self._conclude(delivery, Stopped(started=False))"
        ),
        (
            "                if delivery.state is State.BUFFERED:\n"
            "                    self._conclude(delivery, Stopped(started=True))"
        ),
        "worker/test_stop.py::test_what_runs_may_end_and_what_is_buffered_goes_back_uncounted[redis-8.6]",
    ),
    (
        "expiry: by Redis time",
        "delivery.sent_ms + ttl * 1000 < self._clock.now()",
        "False",
        "worker/test_timeout.py::test_what_is_too_old_is_not_started[redis-8.6]",
    ),
)

SUSPECTS = mutants(
    "worker/suspects.py",
    "worker/test_suspects.py",
    (
        "lane: alone",
        "return not self.busy() and not suspect.settling",
        "return not suspect.settling",
        "test_a_suspect_that_finds_no_peace_is_given_back_once_then_starts_beside_unmarked[redis-8.6]",
    ),
    (
        "lane: it waits for peace",
        "while self.busy() and not suspect.settling and time.monotonic() < until:",
        "while False:",
        "test_a_suspect_waits_for_what_runs_then_starts_marked[redis-8.6]",
    ),
    (
        "lane: what is proven need not wait",
        "if await self._proven(suspect) or await",
        "if await",
        "test_what_is_proven_need_not_wait_for_peace[redis-8.6]",
    ),
    (
        "lane: given back once, for peace elsewhere",
        "elif suspect.id in self._given_back and not self.full(suspect):",
        "elif not self.full(suspect):",
        "test_a_suspect_that_finds_no_peace_is_given_back_once_then_starts_beside_unmarked[redis-8.6]",
    ),
    (
        "lane: never a slot too many",
        "elif suspect.id in self._given_back and not self.full(suspect):",
        "elif suspect.id in self._given_back:",
        "worker/test_waiting.py::test_a_suspect_never_takes_a_slot_too_many",
    ),
    (
        "mark: what is not ours does not start",
        "if mark < 0:",
        "if False:",
        "worker/test_waiting.py::test_a_suspect_that_was_taken_before_its_mark_does_not_start",
    ),
    (
        "lane: free when its suspect has ended",
        "        if delivery is self.running:\n            self.running = None\n",
        "        if delivery is self.running:\n",
        "test_a_suspect_that_is_lost_does_not_block_the_lane[redis-8.6]",
    ),
)

FETCHER = mutants(
    "worker/fetcher.py",
    "worker/test_lease.py",
    (
        "adopt: an own entry starts nothing",
        "if held is not None and not held.given_back:",
        "if False:",
        "test_an_own_entry_that_comes_back_is_adopted[redis-8.6-thread]",
    ),
    (
        "adopt: the new token",
        "held.count, held.confirmed_at = entry.deliveries, confirmed_at",
        "held.confirmed_at = confirmed_at",
        "test_a_verdict_under_way_when_its_message_comes_back_is_written_with_the_new_token[redis-8.6]",
    ),
    (
        "adopt: not what was given back",
        "if held is not None and not held.given_back:",
        "if held is not None:",
        "worker/test_waiting.py::test_what_came_again_before_a_lost_answer_is_not_given_away_by_the_second_try",
    ),
    (
        "zombie: it keeps its old token",
        "if not isinstance(held.stopped_as, Lost):",
        "if True:",
        "test_a_thread_that_lost_its_lease_and_runs_on_keeps_no_other_worker_from_the_message",
    ),
    (
        "freshness: an old answer",
        "confirmed_at = sent_at if self._gap() > margin else now - margin",
        "confirmed_at = now - margin",
        "test_what_an_old_answer_brings_is_asked_about_before_it_starts[redis-8.6]",
    ),
    (
        "freshness: no reading while leases are silent",
        "if self._leases.silent:",
        "if False:",
        "test_nothing_is_read_while_the_lease_thread_is_silent[redis-8.6]",
    ),
    (
        "claim holiday: no claims",
        "claims = now >= self._contact.claims_from",
        "claims = True",
        "worker/test_holiday.py::test_nothing_is_claimed_in_a_holiday_but_what_was_given_back[redis-8.6]",
    ),
    (
        "claim holiday: a claim has its deadline",
        "self._contact.deadline() if claims else None",
        "10**15 if claims else None",
        "worker/test_holiday.py::test_a_claim_that_redis_carries_out_late_takes_nothing[redis-8.6]",
    ),
    (
        "claim holiday: after a gap, renewals first",
        "            self._contact.holiday()  # starts anew with each failure\n",
        "",
        "worker/test_holiday.py::test_who_could_not_read_for_a_while_renews_and_claims_nothing[redis-8.6]",
    ),
    (
        "group: a lost one is made again",
        'if "NOGROUP" in str(error):',
        "if False:",
        "worker/test_outage.py::test_a_lost_group_is_made_again_and_new_messages_run[redis-8.6-False-flush]",
    ),
    (
        "group: and its lease",
        "queue.lease = await self._broker.agree(queue.keys, queue.lease)",
        "pass",
        "test_a_queue_that_was_flushed_keeps_its_lease[redis-8.6]",
    ),
    (
        "reads: what one queue gave",
        "            self._admit(partly.found, sent_at)\n",
        "",
        "worker/test_room.py::test_what_one_queue_gave_is_run_although_another_one_is_refused[redis-8.6]",
    ),
    (
        "release: a waiting read is ended for it",
        "            if self.waits:\n                self._ask_for_end()\n",
        "",
        "worker/test_parked.py::test_a_waiting_worker_takes_what_is_given_back_within_a_second[valkey-8.1]",
    ),
    (
        "stop: a waiting read is ended",
        "while self._reading is not None and self.waits:",
        "while False:",
        "worker/test_room.py::test_a_worker_with_a_waiting_read_stops_at_once[redis-8.6]",
    ),
)

CONTACT = mutants(
    "worker/contact.py",
    "unit/test_contact.py",
    (
        "claim holiday: after half a lease",
        "> self.lease / 2:",
        "> self.lease:",
        "test_a_gap_of_half_a_lease_is_followed_by_a_holiday",
    ),
    (
        "claim holiday: the gap begins when it was sent",
        "max(self._heard_at, sent_at)",
        "time.monotonic()",
        "test_the_gap_counts_from_when_the_answered_command_was_sent",
    ),
    (
        "claim holiday: less than half a lease",
        "HOLDS = 0.4",
        "HOLDS = 1.0",
        "test_a_claim_holds_for_less_than_half_a_lease_since_redis_was_heard",
    ),
    (
        "claim holiday: at the start",
        "self._until(min(1.0, self.lease / 3) + 0.25)",
        "self._until(0.0)",
        "test_a_worker_that_starts_claims_nothing_until_others_have_renewed",
    ),
    (
        "claim holiday: by the longest lease",
        "lease = max((queue.lease",
        "lease = min((queue.lease",
        "test_the_shortest_lease_makes_a_gap_and_the_longest_a_holiday",
    ),
)

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
        "test_many_long_tasks_and_a_blocked_loop_run_once[redis-8.6]",
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
        "        await self.fetcher.stop()\n",
        "        await self.leases.stop()\n        await self.fetcher.stop()\n",
        "test_what_runs_at_a_stop_keeps_its_lease[redis-8.6]",
    ),
    (
        "stop: reading ends first",
        "        await self.fetcher.stop()\n",
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
        "test_a_whole_call_that_is_refused_is_taken_apart",
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
        "for delivery, _ in release) if uncertain else 0",
        "for delivery, _ in release) * 0",
        "worker/test_waiting.py::test_what_came_again_before_a_lost_answer_is_not_given_away_by_the_second_try",
    ),
)

VERDICTS = mutants(
    "worker/verdicts.py",
    "worker/test_unwritten.py",
    (
        "marks end with their delivery",
        "delivery.count >= delivery.task.task_options.max_deliveries",
        "False",
        "worker/test_suspects.py::test_suspects_start_one_at_a_time_and_nothing_else_beside_them[redis-8.6]",
    ),
    (
        "unique: an unread message frees its key",
        "unique = delivery.unique if message is None or message.meta else None",
        "unique = delivery.unique if message is not None and message.meta else None",
        "worker/test_unique.py::test_a_convicted_message_frees_its_key_although_nobody_reads_it[redis-8.6]",
    ),
    (
        "unique: DONE frees no key",
        "and not delivery.message.meta and",
        "and",
        "worker/test_unique.py::test_a_key_ends_with_a_message_without_a_result[redis-8.6]",
    ),
    (
        "release: never a dead letter",
        "if isinstance(verdict, Release) or delivery.by_copy:",
        "if delivery.by_copy:",
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

ALL = [
    *EXECUTOR,
    *SUSPECTS,
    *FETCHER,
    *CONTACT,
    *LEASES,
    *WORKER,
    *COMPLETER,
    *VERDICTS,
    *JANITOR,
    *MEMBERSHIP,
    *MOVER,
]
