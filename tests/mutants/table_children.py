"""Mutants of child processes: their memory, and what becomes of an attempt that takes too much of it."""

from __future__ import annotations

from tests.mutants.kit import mutants

FAMILY = mutants(
    "memory.py",
    "unit/test_memory.py",
    (
        "family: orphans of the group",
        "if process.group == of}",
        "if False}",
        "test_a_family_is_a_group_and_all_that_was_started_in_it",
    ),
    (
        "family: what has left the group",
        "if process.parent in fresh} - found",
        "if False}",
        "test_a_family_is_a_group_and_all_that_was_started_in_it",
    ),
)

WATCH = mutants(
    "worker/memory.py",
    "worker/test_children_memory.py",
    (
        "what is shared counts once",
        "if used > allowed and len(pids) > 1:",
        "if False:",
        "test_what_a_pool_of_forks_shares_counts_once[valkey-8.1]",
    ),
)

CHILDREN = mutants(
    "worker/children.py",
    "worker/test_children_memory.py",
    (
        "memory: a failure of the task, no death",
        "            delivery.stopped_as = over\n",
        "            pass\n",
        "test_the_last_attempt_that_eats_memory_makes_a_dead_letter[valkey-8.1]",
    ),
    (
        "memory: what has left the group is killed, too",
        "child.kill(family)",
        "child.kill()",
        "test_a_task_that_eats_memory_is_killed_with_what_it_started_and_tried_again[valkey-8.1-stranger]",
    ),
    (
        "worn: one at a time",
        'if self.slots["child"] < self.size:',
        "if False:",
        "test_two_that_are_worn_at_once_are_replaced_one_after_the_other[valkey-8.1]",
    ),
    (
        "worn: the next one's turn comes",
        "                self._resume(self._waiting.popleft())\n            self._renew()\n",
        "                self._resume(self._waiting.popleft())\n",
        "test_two_that_are_worn_at_once_are_replaced_one_after_the_other[valkey-8.1]",
    ),
    (
        "memory: the limit ends with the call",
        "        self._memory.remove(delivery)\n",
        "        pass\n",
        "test_nobody_looks_while_nothing_is_limited[valkey-8.1]",
    ),
)

POLLS = """\
        while (code := self._process.poll()) is None:  # noqa: ASYNC110 - the kernel sets no event
            await asyncio.sleep(LOOK)
"""
CHILD = mutants(
    "worker/child.py",
    "worker/test_children_replaced.py",
    (
        "end: seen without the loop's threads",
        POLLS,
        "        code = await asyncio.get_running_loop().run_in_executor(None, self._process.wait)\n",
        "test_a_child_is_replaced_also_when_tasks_have_all_threads_of_the_loops_pool[valkey-8.1]",
    ),
    (
        "end: of all that it started",
        "        self.kill()\n        self._code = code\n",
        "        self._code = code\n",
        "test_what_a_child_has_started_ends_with_it[valkey-8.1]",
    ),
    (
        "end: no zombies in the first process",
        "            await self._reap(self._process.pid)\n",
        "            pass\n",
        "test_in_the_first_process_of_a_container_nothing_stays_behind_as_a_zombie[valkey-8.1]",
    ),
)

ALL = [*FAMILY, *WATCH, *CHILDREN, *CHILD]
