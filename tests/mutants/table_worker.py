"""Mutants of what a worker reads and starts: freshness, the lane of suspects, adoption, the claim holiday."""

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
        "worker/test_waiting.py::test_what_comes_again_while_its_release_is_under_way_is_a_new_delivery",
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
        "worker/test_room.py::test_what_is_read_beside_a_refusal_is_run[redis-8.6]",
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

ALL = [*EXECUTOR, *SUSPECTS, *FETCHER, *CONTACT]
