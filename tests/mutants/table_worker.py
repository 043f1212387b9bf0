"""Mutants of what a worker starts: freshness, slots, the lane of suspects."""

from __future__ import annotations

from tests.mutants.kit import mutants

FRESH = "return time.monotonic() - delivery.confirmed_at < delivery.queue.lease / 2 and not self._silent()"
TAKEN = "test_what_was_taken_in_a_standstill_just_before_its_first_step_never_begins"
BREAKS = "test_what_breaks_before_the_function_is_its_own_failure_and_costs_no_slot"
STOOD_STILL = "test_after_a_standstill_just_before_its_first_step_it_is_asked_about_and_blocks_nobody"

EXECUTOR = mutants(
    "worker/executor.py",
    "worker/test_suspects.py",
    (
        "lane: the only place for a suspect",
        "        if delivery.unmarked:\n            if delivery.count",
        "        if False:\n            if delivery.count",
        "test_where_a_second_start_is_forbidden_the_first_one_is_marked[redis-8.6]",
    ),
    (
        "lane: nothing starts beside it",
        "if not buffer and self._suspects.running is None and self._takes(delivery):",
        "if not buffer and self._takes(delivery):",
        "test_what_a_read_brings_beside_a_running_suspect_waits_for_its_end[redis-8.6]",
    ),
    (
        "lane: nothing buffered starts beside it",
        "if self._suspects.running is None and not self.draining:",
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
        "self.running[delivery.kind] += 1\n                self._reserved += 1\n",
        "self._reserved += 1\n",
        "worker/test_slots.py::test_no_more_run_at_once_than_there_are_slots[False-False-redis-8.6]",
    ),
    (
        "mark: a reserved slot is given back",
        "            self._unreserve(delivery)\n            self._conclude(delivery, Lost())\n",
        "            self._conclude(delivery, Lost())\n",
        "worker/test_waiting.py::test_a_first_start_that_is_lost_while_it_waits_for_its_mark_gives_its_slot_back",
    ),
    (
        "mark: a slot that was kept for it is filled",
        "        self.start(delivery)\n        self.fill()  # ",
        "        self.start(delivery)  # ",
        "worker/test_waiting.py::test_a_slot_that_was_kept_for_a_mark_is_filled_when_its_message_must_wait_again",
    ),
    (
        "lane: what proves unfit leaves it",
        "        self._conclude(delivery, outcome)\n        self._suspects.ended(delivery)",
        "        self._conclude(delivery, outcome)",
        "worker/test_waiting.py::test_a_suspect_that_proves_unfit_after_a_renewal_leaves_the_lane",
    ),
    (
        "freshness: asked before it is prepared",
        "if not self._attempts.surely_ours(delivery):\n            self._ask(delivery)",
        "if False:\n            self._ask(delivery)",
        "worker/test_waiting.py::test_a_suspect_that_proves_unfit_after_a_renewal_leaves_the_lane",
    ),
    (
        "freshness: what has not begun asks",
        "        else:\n            self._ask(delivery)\n\n    def fill",
        "\n    def fill",
        f"worker/test_waiting.py::{STOOD_STILL}[thread-1-valkey-8.1]",
    ),
    (
        "freshness: the slot of what has not begun is free",
        "        self._end(delivery, outcome)\n        self.fill()\n\n    def _threads_ended",
        "        self._end(delivery, outcome)\n\n    def _threads_ended",
        f"worker/test_waiting.py::{STOOD_STILL}[coroutine-1-valkey-8.1]",
    ),
    (
        "stop: what has not begun goes back uncounted",
        "        if self.draining:\n            self._conclude",
        "        if False:\n            self._conclude",
        (
            "worker/test_waiting.py::"
            "test_at_a_stop_what_has_not_begun_after_a_standstill_is_given_back_as_never_started[coroutine-valkey-8.1]"
        ),
    ),
    (
        "freshness: told twice, started once",
        "if not delivery.unsure or delivery.state",
        "if delivery.state",
        "worker/test_waiting.py::test_who_is_told_twice_that_it_is_ours_starts_once",
    ),
    (
        "stop: before the first step",
        "if leader.runner is not None and not leader.entered:",
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
        "overdue: nothing is read ahead then",
        "self._prefetch.held_up(delivery.kind)",
        "pass",
        (
            "worker/test_slots.py::"
            "test_who_gave_back_what_waited_too_long_reads_nothing_ahead_until_a_slot_has_turned_over[redis-8.6]"
        ),
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
)

ATTEMPTS = mutants(
    "worker/attempts.py",
    "worker/test_waiting.py",
    (
        "failure: what breaks before a coroutine",
        "            outcome = Raised(error)\n        self._ended",
        "            raise\n        self._ended",
        f"worker/test_threads.py::{BREAKS}[coroutine-valkey-8.1]",
    ),
    (
        "freshness: half a lease",
        FRESH,
        "return not self._silent()",
        "worker/test_lease.py::test_what_an_old_answer_brings_is_asked_about_before_it_starts[redis-8.6]",
    ),
    (
        "freshness: a silent lease thread",
        FRESH,
        FRESH.removesuffix(" and not self._silent()"),
        "worker/test_lease.py::test_nothing_that_was_read_starts_while_the_lease_thread_is_silent[redis-8.6]",
    ),
    (
        "freshness: asked right before its function begins",
        "if not self.surely_ours(delivery):",
        "if False:",
        f"{TAKEN}[coroutine-False-valkey-8.1]",
        f"{TAKEN}[thread-False-valkey-8.1]",
    ),
)

THREADS = mutants(
    "worker/executor.py",
    "worker/test_threads.py",
    (
        "threads: what waits too long goes back",
        "if delivery.received_at < limit and self._take_back(delivery):",
        "if False:",
        "test_what_waits_for_a_thread_is_given_back_when_it_waits_too_long[valkey-8.1]",
    ),
    (
        "threads: what waits at a stop goes back",
        (
            "        for delivery in self._threads.waiting:\n"
            "            self._take_back(delivery)\n"
            "        self._buffers.drain()"
        ),
        "        self._buffers.drain()",
        "test_what_waits_for_a_thread_at_a_stop_goes_back_uncounted[valkey-8.1]",
    ),
    (
        "threads: what was taken while it waited does not run",
        "if delivery.state is State.RUNNING and not self._take_back(delivery):",
        "if delivery.state is State.RUNNING:",
        "test_what_was_taken_while_it_waited_for_a_thread_does_not_run[valkey-8.1]",
    ),
    (
        "threads: nothing that waits starts beside a suspect",
        "suspects.crowded, suspects.begins = self._crowded_suspect, self._hold",
        "suspects.crowded = self._crowded_suspect",
        "test_beside_a_suspect_nothing_starts_that_waited_for_a_thread[valkey-8.1]",
    ),
    (
        "threads: no mark before one is free",
        " and not delivery.unmarked\n",
        "\n",
        "test_no_start_is_marked_before_a_thread_is_free[valkey-8.1]",
    ),
)

DEADLINES = mutants(
    "worker/deadlines.py",
    "worker/test_threads.py",
    (
        "timeout: from the start",
        "(delivery.started_at or now) + timeout",
        "(delivery.started_at or delivery.received_at) + timeout",
        "test_a_timeout_counts_from_the_start_not_from_the_wait_for_a_thread[valkey-8.1]",
    ),
    (
        "timeout: who waits for a thread says nothing of others",
        "self._watch(self._handed, delivery, timeout)",
        "self._watch(self._started, delivery, timeout)",
        "test_what_waits_for_a_thread_holds_up_nobody_else_s_timeout[valkey-8.1]",
    ),
)

SLOTS = mutants(
    "worker/slots.py",
    "worker/test_threads.py",
    (
        "threads: who takes it has it",
        "if self._waiting.pop(delivery, self) is self:\n                continue",
        "self._waiting.pop(delivery, self)\n            if False:\n                continue",
        "test_what_was_taken_while_it_waited_for_a_thread_does_not_run[valkey-8.1]",
    ),
)

BUFFERS = mutants(
    "worker/buffers.py",
    "worker/test_slots.py",
    (
        "overdue: what is buffered too long goes back",
        "while buffer and buffer[0].received_at < limit:",
        "while False:",
        "test_what_was_read_ahead_goes_to_a_worker_with_free_slots[redis-8.6]",
    ),
)

DELIVERY = mutants(
    "worker/delivery.py",
    "worker/test_suspects.py",
    (
        "group: made from the beginning",
        'start: str = "0"',
        'start: str = "$"',
        "worker/test_outage.py::test_a_lost_group_is_made_again_and_new_messages_run[redis-8.6-False-destroy]",
    ),
    (
        "decode: whatever breaks it",
        "except Exception as error:  # noqa: BLE001 - whatever",
        "except ZeroDivisionError as error:  # noqa: BLE001 - whatever",
        "worker/test_threads.py::test_what_cannot_be_decoded_for_whatever_reason_is_a_dead_letter[valkey-8.1]",
    ),
    (
        "expiry: by Redis time",
        "ttl is not None and self.sent_ms + ttl * 1000 < now",
        "False",
        "worker/test_timeout.py::test_what_is_too_old_is_not_started[redis-8.6]",
    ),
    (
        "no id: a suspect is known by its entry",
        "return self.id.decode()",
        'return ""',
        "test_suspects_without_an_id_are_told_apart_by_their_entries[redis-8.6]",
    ),
    (
        "freshness: what has not begun has not started",
        "self.started_ms = State.BUFFERED, 0.0, 0",
        "self.started_ms = State.BUFFERED, 0.0, self.started_ms",
        f"worker/test_waiting.py::{STOOD_STILL}[coroutine-1-valkey-8.1]",
    ),
    (
        "freshness: what has not begun was not stopped",
        "self.runner, self.entered, self.stopped_as, self.leader = None, False, None, None",
        "self.runner, self.entered, self.leader = None, False, None",
        f"worker/test_waiting.py::{STOOD_STILL}[thread-1-valkey-8.1]",
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

ALL = [*EXECUTOR, *ATTEMPTS, *THREADS, *DEADLINES, *SLOTS, *BUFFERS, *DELIVERY, *SUSPECTS]
