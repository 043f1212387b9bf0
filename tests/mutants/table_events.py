"""Mutants of events outside of the scripts: the envelope, handlers, publishing, batches, turns, once, strays."""

from __future__ import annotations

from tests.mutants.kit import mutants

ENVELOPE = mutants(
    "envelope.py",
    "unit/test_envelope.py",
    ("UTC is Z", 'return f"{text[:-6]}Z" if', "return text if", "test_a_time_is_rfc_3339_with_three_decimals"),
    (
        "three decimals",
        'timespec="milliseconds"',
        'timespec="microseconds"',
        "test_the_fields_are_those_of_the_contract",
    ),
    ("no seconds in a zone", "elif offset % _MINUTE:", "elif False:", "test_a_time_is_rfc_3339_with_three_decimals"),
    ("an empty payload is absent", "    if payload:\n", "    if True:\n", "test_the_fields_are_those_of_the_contract"),
    (
        "bad metadata is none",
        "    if not isinstance(found, dict):\n        return {}\n",
        "",
        "test_metadata_that_is_no_object_is_none",
    ),
    (
        "the entry id serves as id",
        'values.get(_ID, b"")) or entry_id',
        'values.get(_ID, b""))',
        "test_what_is_missing_is_empty_and_the_entry_id_serves_as_id",
    ),
    (
        "what looks like ours in a topic is not",
        "    if not own:\n",
        '    if not own and b"meta" not in flat:\n',
        "test_from_the_topic_its_id_is_the_entrys_whatever_fields_it_has",
    ),
    (
        "only a subscription puts something there",
        'if len(flat) < 4 or flat[-4] != b"id" or flat[-2] != b"meta":',
        "if len(flat) < 4:",
        "test_what_no_subscription_has_put_there_is_unreadable",
    ),
    (
        "a retry keeps all fields",
        'return [*self.raw, "id"',
        'return [*self.raw[:8], "id"',
        "test_from_the_groups_own_queue_it_is_known_as_before",
    ),
)

EVENT = mutants(
    "event.py",
    "unit/test_event.py",
    ("meta is no field", 'if "meta" in cls.model_fields:', "if False:", "test_a_field_cannot_hide_the_envelope"),
    (
        "the type is not inherited",
        "name = cls.__name__ if type is None",
        "name = (above.type if above is not None else cls.__name__) if type is None",
        "test_a_class_says_its_topic_type_and_source_and_those_below_inherit_all_but_the_type",
    ),
)

SUBSCRIPTION = mutants(
    "subscription.py",
    "unit/test_subscription.py",
    (
        "one handler for a type",
        "if before is not None and not _same(before, handler):",
        "if False:",
        "test_two_functions_for_the_same_events_of_a_group_contradict",
    ),
    (
        "a group begins at one place",
        "elif subscription.start != wished.start:",
        "elif False:",
        "test_a_group_begins_at_one_place",
    ),
    (
        "a type before all types",
        "return self.handlers.get(event_type) or self.rest",
        "return self.rest or self.handlers.get(event_type)",
        "test_a_raw_topic_takes_the_types_that_nobody_else_takes",
    ),
    (
        "options that mean nothing",
        "        if name not in _OPTIONS:",
        "        if False:",
        "test_options_that_mean_nothing_for_an_event_are_refused",
    ),
    (
        "a time is before its own millisecond",
        'return f"{ms - 1}-{_LARGEST}"',
        'return f"{ms}-{_LARGEST}"',
        "test_a_time_is_before_each_entry_of_its_millisecond_and_behind_all_others",
    ),
    (
        "no result",
        "options = TaskOptions(result=False).over(",
        "options = TaskOptions().over(",
        "test_options_are_the_handlers_then_the_apps_and_a_result_is_never_kept",
    ),
)

KEYS = mutants(
    "broker/keys.py",
    "unit/test_keys.py",
    (
        "topic: a group's own stream lies beside it",
        'return f"{tag(topic)}:{group}"',
        'return f"{topic}:{group}"',
        "test_all_keys_of_a_topic_and_its_groups_lie_in_one_slot",
    ),
    (
        "topic: leases of the two streams are apart",
        'keys["conf"] = f"{prefix}:topic-conf"',
        "pass",
        "test_a_topic_and_its_groups_keys_are_called_as_the_contract_says",
    ),
    (
        "topic: one read serves both",
        'return _keys(own_stream(topic, group), own_stream(topic, group), group, "task")',
        'return _keys(own_stream(topic, group), own_stream(topic, group), GROUP, "task")',
        "test_a_topic_and_its_groups_keys_are_called_as_the_contract_says",
    ),
)

PUBLISHING = mutants(
    "broker/publishing.py",
    "redis/test_publish.py",
    (
        "idempotent: published twice on purpose it is there twice",
        "ttl, pid, self.id]",
        "ttl, pid, self.event_id]",
        "test_the_same_event_published_twice_on_purpose_is_there_twice",
    ),
    (
        "remembered: published twice on purpose it is there twice",
        'f"id:{self.id}"',
        'f"id:{self.event_id}"',
        "test_the_same_event_published_twice_on_purpose_is_there_twice",
    ),
    (
        "a lost answer doubles nothing",
        'names.published(self.topic, f"id:{self.id}"), REMEMBERED * 1000)',
        "None, 0)",
        "test_what_was_not_answered_is_published_again_and_is_there_once",
    ),
    ("full is told", "if status < 0:", "if False:", "test_a_full_topic_refuses_and_the_error_says_what_to_look_at"),
)

SENDING = mutants(
    "broker/sending.py",
    "redis/test_publish.py",
    (
        "full after a lost answer is no certain refusal",
        "for i in self.again:",
        "for i in ():",
        "test_a_refusal_after_a_lost_answer_is_no_certain_one",
    ),
)

CONVERSATIONS = mutants(
    "broker/events.py",
    "redis/test_publish.py",
    (
        "wait_for: an unknown group first",
        "        if group not in known:\n",
        "        if False:\n",
        "test_a_group_that_is_not_there_is_told_before_anything_is_published",
    ),
    (
        "wait_for: all of them",
        "        if not left:\n",
        "        if len(left) < len(groups):\n",
        "test_waiting_ends_when_each_group_has_done_with_it",
    ),
    (
        "wait_for: a dead letter is told",
        '    if state[:1] != b"{":\n        return bool(state == b"done")\n',
        '    return bool(state == b"done")\n',
        "test_waiting_tells_what_a_group_buried",
    ),
)

VERDICTS = mutants(
    "worker/verdicts.py",
    "unit/test_event_verdicts.py",
    (
        "event: a retry never goes into the topic",
        "delay = max(1, delay)",
        "pass",
        "test_a_retry_at_once_never_goes_into_the_topic",
    ),
    (
        "event: the own queue is tidied up",
        'return delivery.queue.keys.kind == "topic" and delivery.once is None',
        "return delivery.once is None",
        "test_only_what_leaves_nothing_is_done_the_cheap_way",
    ),
    (
        "event: what is handled once is remembered",
        'return delivery.queue.keys.kind == "topic" and delivery.once is None',
        'return delivery.queue.keys.kind == "topic"',
        "test_only_what_leaves_nothing_is_done_the_cheap_way",
    ),
    (
        "once: a success keeps it shut",
        'return "" if done else delivery.once or ""',
        'return delivery.once or ""',
        "test_a_success_shuts_the_lock_for_good_and_keeps_no_result",
    ),
    (
        "once: every other end opens it",
        'return "" if done else delivery.once or ""',
        'return ""',
        "test_every_other_end_opens_it",
        "test_a_retry_keeps_it",
    ),
)

BROKER = mutants(
    "broker/broker.py",
    "worker/test_events.py",
    (
        "topic: done is acknowledged only",
        "(keys.group, self.consumer, keys.kind, ackdel, *tokens)",
        '(keys.group, self.consumer, "task", ackdel, *tokens)',
        "test_each_group_handles_each_event_once_and_the_topic_keeps_them[redis-8.6]",
    ),
    (
        "topic: settled it stays",
        "(keys.group, self.consumer, keys.kind, *items))\n\n    def release_call",
        '(keys.group, self.consumer, "task", *items))\n\n    def release_call',
        "test_a_group_that_fails_retries_alone_and_buries_in_its_own_dead_letters[redis-8.6]",
    ),
)

DELIVERY = mutants(
    "worker/delivery.py",
    "unit/test_queue_state.py",
    (
        "group: what is held comes again",
        "return min((just_before(id.decode()) for id in self.held), key=parts, default=self.last_seen)",
        "return self.last_seen",
        "test_one_that_was_seen_goes_on_behind_it_or_before_what_is_not_done",
    ),
    (
        "group: what is done does not come again",
        'if self.keys.kind == "task" or not self.last_seen:',
        "if True:",
        "test_one_that_was_seen_goes_on_behind_it_or_before_what_is_not_done",
    ),
    (
        "group: ids are compared as numbers",
        "if not self.last_seen or parts(entry_id) > parts(self.last_seen):",
        "if entry_id > self.last_seen:",
        "test_the_newest_that_was_seen_is_kept",
    ),
)

BATCHES = mutants(
    "worker/batches.py",
    "unit/test_batching.py",
    (
        "an error for some",
        "if not isinstance(error, BatchError):",
        "if True:",
        "test_an_error_of_some_fails_those_and_the_rest_are_done",
    ),
    (
        "an error of one that is not there",
        "        if place >= count:\n",
        "        if place > count:\n",
        "test_an_error_that_names_an_item_that_is_not_there_fails_them_all",
    ),
    (
        "one result for each",
        "fits = isinstance(value, list) and len(value) == count",
        "fits = isinstance(value, list)",
        "test_anything_else_is_a_failure_of_each",
    ),
    (
        "an exception in the list",
        "Raised(one) if isinstance(one, Exception) else",
        "",
        "test_a_list_has_one_result_for_each",
    ),
    (
        "only what is surely ours starts",
        "items = [item for item in waiting if is_ours(item)]",
        "items = list(waiting)",
        "test_a_batch_starts_with_those_that_are_surely_ours",
    ),
    (
        "it goes on under the next one",
        "items = [item for item in leader.batch or () if item is not leader]",
        "items: list[Delivery] = []",
        "test_a_batch_goes_on_under_the_next_item",
    ),
    (
        "full is full",
        "if len(items) >= task.batching.size:",
        "if len(items) > task.batching.size:",
        "test_a_full_batch_is_ready_at_once_and_its_first_item_leads",
    ),
    (
        "no timer is left behind",
        "                self._timers.pop(task).cancel()",
        "                self._timers.pop(task)",
        "test_after_all_are_lost_the_next_one_waits_its_own_time",
    ),
)

ROOM = mutants(
    "worker/room.py",
    "unit/test_turns.py",
    (
        "turns: who waits longest comes first",
        "return found - sum(",
        "return found - 0 * sum(",
        "test_who_waits_longest_comes_first",
    ),
    (
        "turns: only who waits",
        "if self is other or not self.hungry or",
        "if self is other or",
        "test_with_room_for_all_nobody_minds",
    ),
    (
        "turns: another kind of slot",
        "or not self.kinds.intersection(kinds):",
        "or False:",
        "test_who_waits_for_another_kind_of_slot_takes_nothing_away",
    ),
    (
        "turns: reads that wait are ended when all is taken",
        "            self._turns.full(self)\n",
        "            pass\n",
        "test_when_the_last_slot_is_taken_reads_that_wait_are_ended",
    ),
    (
        "turns: what it did not take serves the others",
        "                self._turns.ring()",
        "                pass",
        "test_what_it_did_not_take_may_serve_the_others",
    ),
)

ONCE = mutants(
    "worker/once.py",
    "redis/test_once.py",
    (
        "a lock that nobody opens",
        'if answer not in ("", "done") and await',
        "if False and await",
        "test_a_lock_whose_holder_has_ended_without_opening_it_is_taken_over",
    ),
    (
        "a holder that is at work",
        'if answer not in ("", "done") and await broker.is_over(topic, queue.keys, answer):',
        'if answer not in ("", "done"):',
        "test_a_lock_whose_holder_has_ended_without_opening_it_is_taken_over",
        "test_a_holder_that_waits_for_its_retry_is_one",
    ),
    (
        "a duplicate waits",
        'elif said == "done":',
        "elif said:",
        "worker/test_events.py::test_events_of_one_id_are_handled_once[redis-8.6]",
    ),
)

QUEUES = mutants(
    "worker/queues.py",
    "worker/test_events.py",
    (
        "strays: handlers are announced",
        "await broker.handles(queue.keys, types)",
        "pass",
        "test_handlers_of_a_group_may_live_in_different_workers[redis-8.6]",
    ),
)

POLICY = mutants(
    "policy.py",
    "unit/test_decide.py",
    (
        "stray: the grace is the worker's",
        "return Ignore(outcome.type, facts.unknown_grace)",
        "return Ignore(outcome.type, 0)",
        "test_an_event_without_a_handler_here_is_ignored_unless_a_sibling_has_one",
    ),
)

ALL = [
    *ENVELOPE, *EVENT, *SUBSCRIPTION, *KEYS, *PUBLISHING, *SENDING, *CONVERSATIONS, *VERDICTS, *BROKER, *DELIVERY,
    *BATCHES, *ROOM, *ONCE, *QUEUES, *POLICY,
]  # fmt: skip
