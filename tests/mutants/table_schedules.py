"""Mutants of what is sent when: the ticks of schedules, what becomes of missed ones, clock changes, the beat."""

from __future__ import annotations

from tests.mutants.kit import mutants

WHEN = mutants(
    "when.py",
    "unit/test_schedule.py",
    (
        "ticks: wherever one starts to count",
        "return self._at_or_before(t) + self.period",
        "return t + self.period",
        "TestEvery::test_it_is_aligned_to_the_epoch_or_the_anchor",
        "TestEvery::test_ticks_do_not_depend_on_the_start_point",
    ),
    (
        "ticks: the anchor",
        "(t - self.phase) % self.period",
        "t % self.period",
        "TestEvery::test_it_is_aligned_to_the_epoch_or_the_anchor",
    ),
)

SCHEDULE = mutants(
    "schedule.py",
    "unit/test_schedule.py",
    (
        "missed: all, a hundred a call",
        "max_catch_up: int = 100",
        "max_catch_up: int = 1000",
        "TestPlan::test_all_sends_a_hundred_a_call_unless_told_otherwise",
    ),
    (
        "missed: all, and the next call goes on from there",
        "return Plan(tuple(ticks), ticks[-1])",
        "return Plan(tuple(ticks), now)",
        "TestPlan::test_all_sends_the_oldest_first_and_some_at_a_time",
    ),
    (
        "missed: skip, only what is in time",
        'return schedule.missed != "skip" or age < _grace(schedule, tick)',
        "return True",
        "TestPlan::test_skip_passes_over_a_long_absence",
    ),
    (
        "missed: skip, half the distance to the next tick",
        "min(_GRACE, (following - tick) / 2)",
        "_GRACE",
        "TestPlan::test_skip_sends_only_what_is_in_time",
    ),
    (
        "too old: the newest",
        "if schedule.max_age is not None and age > _ms(schedule.max_age):",
        "if False:",
        "TestPlan::test_what_is_too_old_is_never_sent",
    ),
    (
        "too old: of all",
        "else max(last, now - _ms(schedule.max_age) - 1)",
        "else last",
        "TestPlan::test_what_is_too_old_is_never_sent",
    ),
    (
        "too old: it is passed over",
        "return None if too_old is None else Plan((), too_old)",
        "return None",
        "TestPlan::test_what_is_too_old_is_never_sent",
    ),
    (
        "what is off sends nothing",
        "if not schedule.enabled:",
        "if False:",
        "TestPlan::test_nothing_is_due_when_disabled_removed_or_in_the_past",
    ),
)

CRON = mutants(
    "cron.py",
    "unit/test_cron.py",
    (
        "fold: an hour that is named counts once",
        "return (first, second) if self._runs_twice(walls) else (first,)",
        "return (first, second)",
        "test_right_at_a_clock_change",
    ),
    (
        "fold: any hour counts twice",
        'return self.fold == "twice" or not walls.names_hour',
        'return self.fold == "twice"',
        "test_clock_changes_by_example",
    ),
    (
        "fold: the second pass is looked into",
        "if again is not None and again < shift.end:",
        "if False:",
        "test_right_at_a_clock_change",
    ),
    (
        "fold: the newest may be of the first pass",
        "            bounds.append(shift.end - _ONE_SECOND)\n",
        "            pass\n",
        "test_right_at_a_clock_change",
    ),
    (
        "gap: the first instant after it",
        """return (shift.at,) if self.gap == "next" and not walls.all_hours else ()""",
        "return ()",
        "test_clock_changes_by_example",
    ),
    (
        "gap: with each hour there is one anyway",
        """if self.gap == "next" and not walls.all_hours else ()""",
        """if self.gap == "next" else ()""",
        "test_clock_changes_by_example",
    ),
)

BEAT = mutants(
    "beat.py",
    "worker/test_beat.py",
    (
        "one was faster: go on from what Redis says",
        "        line.last = ticked.last\n        if ticked.status != 1:",
        "        if ticked.status != 1:",
        "test_several_beats_fire_each_tick_once[redis-8.6]",
    ),
    (
        "each tick is told as what became of it",
        "sent = int(place < ticked.sent)",
        "sent = ticked.sent",
        "test_of_several_ticks_in_one_call_only_those_that_were_sent_are_told_as_sent",
    ),
    (
        "overlap: a lock of its own",
        'if unique is None and schedule.overlap == "skip":',
        "if False:",
        "test_overlap_skip_leaves_ticks_out_while_one_is_unfinished",
    ),
    (
        "what left the code stops",
        'await self.broker.call("HSET", queue_keys(self.app.namespace, queue).ticks, name, REMOVED)',
        "pass",
        "e2e/test_beats.py::test_a_schedule_that_left_the_code_stops_although_an_old_beat_runs[redis-8.6]",
    ),
    (
        "what is back in the code starts now",
        'await self.broker.call("HSET", ticks, line.schedule.name, self.clock.now())',
        "pass",
        "test_a_schedule_that_is_back_in_the_code_starts_now",
    ),
)

ALL = [*WHEN, *SCHEDULE, *CRON, *BEAT]
