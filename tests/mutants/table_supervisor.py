"""Mutants of worker processes and their parent: groups, signals, deaths, standstills."""

from __future__ import annotations

from tests.mutants.kit import mutants

SUPERVISOR = mutants(
    "supervisor/__init__.py",
    "e2e/test_supervisor.py",
    (
        "signal: the first is passed on",
        "            child.drain()\n\n",
        "            pass\n\n",
        "test_all_processes_serve_in_groups_of_their_own[redis-8.6]",
    ),
    (
        "signal: the second is passed on",
        "child.stop_now()",
        "pass",
        "test_the_second_signal_stops_all_now_and_gives_back[redis-8.6]",
    ),
    (
        "standstill: it is killed",
        "elif child.silent_for(now) > self.options.stall_limit and not child.stalled:",
        "elif False:",
        "test_a_process_whose_interpreter_lock_is_held_is_killed_and_says_where_it_stood[hog-redis-8.6]",
    ),
    (
        "standstill: not after one of our own",
        "if now - looked_at > look + LATE:",
        "if False:",
        "test_who_slept_with_all_of_them_takes_nobody_for_stalled[redis-8.6]",
    ),
)

CREW = mutants(
    "supervisor/crew.py",
    "e2e/test_supervisor.py",
    (
        "worked: one of them, once",
        "        self.has_worked = True\n",
        "        pass\n",
        "test_one_that_does_not_reach_redis_ends_nobody_who_has",
    ),
)

PLACE = mutants(
    "supervisor/place.py",
    "e2e/test_supervisor.py",
    (
        "dead: what it held moves at once",
        "crew.giving_back.begin(child.hello, code)",
        "pass",
        "test_what_a_killed_process_held_moves_at_once[redis-8.6]",
    ),
)

GIVING_BACK = mutants(
    "supervisor/giving_back.py",
    "e2e/test_supervisor.py",
    (
        "dead: it is tried while redis is away",
        "            if time.monotonic() > until:\n                return None\n",
        "            return None\n",
        "test_what_died_while_redis_was_away_is_given_back_when_it_is_there_again",
    ),
)

CHILD = mutants(
    "supervisor/child.py",
    "e2e/test_supervisor.py",
    (
        "signal: a process group of its own",
        "                process_group=0,\n",
        "",
        "test_all_processes_serve_in_groups_of_their_own[redis-8.6]",
    ),
    (
        "standstill: what it has started is killed too",
        "self._signal(signal.SIGKILL, os.killpg)",
        "self._signal(signal.SIGKILL)",
        "test_what_a_process_that_stands_still_has_started_is_killed_with_it[redis-8.6]",
    ),
)

PARENT = mutants(
    "supervisor/parent.py",
    "unit/test_parent.py",
    (
        "a parent that is gone is noticed",
        "                gone()\n",
        "                pass\n",
        "test_it_hears_the_word_to_stop_now_and_the_end",
    ),
    (
        "signal: the word to stop now",
        "                now()\n",
        "                pass\n",
        "test_it_hears_the_word_to_stop_now_and_the_end",
    ),
)

RESTARTS = mutants(
    "supervisor/restarts.py",
    "unit/test_restarts.py",
    (
        "a refusal passes once one has worked",
        "(code in (FAILED, NO_REDIS) and not any_was_ready)",
        "code in (FAILED, NO_REDIS)",
        "test_what_another_start_cannot_mend_ends_all",
    ),
    (
        "a crash loop does not spin",
        "        self._deaths += 1\n",
        "",
        "test_the_first_replacement_comes_at_once_and_a_crash_loop_does_not_spin",
    ),
)

WORKING = mutants(
    "cli/working.py",
    "e2e/test_supervisor.py",
    (
        "signal: under a parent only its word hurries",
        "        if self.parent is None:\n            serve.Signals",
        "        if True:\n            serve.Signals",
        "test_who_signals_all_processes_at_once_is_heard_once[redis-8.6]",
    ),
    (
        "signal: the same wish is heard once",
        "        if self._stopping:\n            return\n",
        "",
        "test_who_signals_all_processes_at_once_is_heard_once[redis-8.6]",
    ),
)

SUPERVISE = mutants(
    "cli/supervise.py",
    "e2e/test_supervisor.py",
    (
        "signal: the third ends all",
        "supervisor.stop_now, supervisor.kill).install()",
        "supervisor.stop_now).install()",
        "test_the_third_signal_ends_what_does_not_listen[redis-8.6]",
    ),
)

ALL = [*SUPERVISOR, *CREW, *PLACE, *GIVING_BACK, *CHILD, *PARENT, *RESTARTS, *WORKING, *SUPERVISE]
