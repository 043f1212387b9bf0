"""Mutants of what a worker reads: turns of queues, adoption, the claim holiday, how much is read ahead."""

from __future__ import annotations

from tests.mutants.kit import mutants

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
        "if self._leases.silent():",
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
        "claim holiday: a moment after any lost connection",
        "        self._contact.rest()\n",
        "",
        "worker/test_outage.py::test_after_a_lost_connection_nothing_is_claimed_for_a_moment[redis-8.6]",
    ),
    (
        "group: a lost one is made again",
        "if group_is_gone(error):",
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
        "group: renewals keep to its lease",
        "            self._contact.agreed()\n",
        "",
        "test_who_finds_a_shorter_lease_when_a_group_is_made_again_renews_by_it",
    ),
    (
        "reads: busy queues take turns",
        "first = self._turns % len(able) if able else 0",
        "first = 0",
        "worker/test_room.py::test_with_one_slot_busy_queues_take_turns[redis-8.6]",
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
        "claim holiday: a moment after a late answer",
        "elif now - sent_at > LATE:",
        "elif False:",
        "test_an_answer_that_comes_late_is_followed_by_a_rest",
    ),
    (
        "claim holiday: by the longest lease",
        "lease = max((queue.lease",
        "lease = min((queue.lease",
        "test_the_shortest_lease_makes_a_gap_and_the_longest_a_holiday",
    ),
)

PREFETCH = mutants(
    "worker/prefetch.py",
    "unit/test_prefetch.py",
    (
        "held up: nothing is read ahead",
        "if kind in self._held:",
        "if False:",
        "test_what_waited_too_long_is_read_ahead_no_more_until_a_slot_of_its_kind_has_turned_over",
    ),
    (
        "held up: until a slot has turned over",
        "self._held.discard(kind)",
        "pass",
        "test_what_waited_too_long_is_read_ahead_no_more_until_a_slot_of_its_kind_has_turned_over",
    ),
    (
        "the rate of the last second",
        "deque(maxlen=PARTS)",
        "deque(maxlen=PARTS + 1)",
        "test_a_window_of_work_at_the_rate_of_the_last_second",
    ),
    (
        "no more than the slots can do soon",
        "max(64, min(2 * slots, 512))",
        "512",
        "test_it_has_limits_by_the_number_of_slots",
    ),
)

ALL = [*FETCHER, *CONTACT, *PREFETCH]
