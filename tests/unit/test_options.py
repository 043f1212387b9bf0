"""Options: what may be written on a task and a call, and what wins where it is written twice."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtask import CallOptions, RetryPolicy, StreamTask, TaskOptions
from streamtask.options import CallOptionsDict, TaskOptionsDict


def test_the_defaults_are_the_documented_ones() -> None:
    options = TaskOptions()
    assert (options.queue, options.max_retries, options.max_deliveries, options.result) == ("default", 3, 3, True)
    assert (options.timeout, options.expires, options.unique, options.idempotent) == (None, None, None, True)
    assert (options.result_ttl, options.unknown_grace, options.retry) == (900.0, None, RetryPolicy())


@pytest.mark.parametrize(
    ("typo", "meant"), [("max_retry", "max_retries"), ("time_out", "timeout"), ("queu", "queue"), ("uniq", "unique")]
)
def test_a_typo_fails_at_import_and_names_the_option(typo: str, meant: str) -> None:
    with pytest.raises(TypeError, match=f"no option '{typo}'; did you mean '{meant}'"):
        StreamTask("shop").task(**{typo: 1})  # type: ignore[call-overload]


def test_an_option_that_resembles_none_lists_them() -> None:
    with pytest.raises(TypeError, match="known: countdown, eta, expires, queue, message_id, headers"):
        CallOptions(zzz=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("queue", "a b"),
        ("queue", ""),
        ("queue", "x" * 65),
        ("queue", "{q}"),
        ("queue", None),
        ("name", 5),
        ("max_retries", -1),
        ("max_retries", True),
        ("max_retries", 1.5),
        ("max_deliveries", 0),
        ("max_deliveries", None),
        ("timeout", -1),
        ("timeout", "5 weeks"),
        ("expires", float("nan")),
        ("result_ttl", None),
        ("retry", 5),
        ("unique", 5),
        ("result", "no"),
        ("idempotent", None),
        ("log_args", 1),
        ("max_memory", "512"),
        ("max_memory", 0),
        ("max_memory", 0.5),
        ("max_memory", True),
        ("max_memory", "lots"),
    ],
)
def test_a_bad_value_names_its_option(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"a task, {option}: "):
        TaskOptions(**{option: value})


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("countdown", -1, "is no duration"),
        ("eta", datetime(2026, 11, 21, 12), "has no time zone; write"),  # noqa: DTZ001 - that is the mistake
        ("eta", "2026-11-21T12:00:00Z", "is no datetime"),
        ("message_id", "", "is no message id"),
        ("message_id", "a b", "is no message id"),
        ("message_id", "x" * 129, "is no message id"),
        ("headers", {"a": 1}, "are no headers"),
        ("headers", ["a"], "are no headers"),
        ("queue", "a b", "is no queue name"),
    ],
)
def test_a_bad_value_of_a_call_names_its_option(option: str, value: Any, why: str) -> None:
    with pytest.raises(ValueError, match=f"a call, {option}: .*{why}"):
        CallOptions(**{option: value})


def test_durations_may_be_numbers_timedeltas_and_text() -> None:
    assert TaskOptions(timeout=timedelta(minutes=1)).timeout == 60.0
    assert TaskOptions(expires=2).expires == 2.0
    assert CallOptions(countdown=0.5).countdown == 0.5


def test_sizes_may_be_bytes_and_text_with_a_unit() -> None:
    assert TaskOptions().max_memory is TaskOptions(max_memory=None).max_memory is None
    sizes = [1, 2**30, "512MiB", "1.5GiB", "500 MB", "20kb", " 7B "]
    found = [TaskOptions(max_memory=size).max_memory for size in sizes]
    assert found == [1, 2**30, 512 * 2**20, 1536 * 2**20, 500_000_000, 20_000, 7]
    with pytest.raises(ValueError, match="a task, max_memory: '512' is no size; write a number and its unit: 512MiB"):
        TaskOptions(max_memory="512")


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_memory_limit_is_refused_where_it_could_not_be_kept(asynchronous: bool) -> None:
    async def fetch() -> None: ...

    def render() -> None: ...

    app = StreamTask("shop")
    refused = "t: max_memory='512 MiB' is for tasks in a child process, .* add process=True, or leave max_memory out"
    with pytest.raises(TypeError, match=refused):
        app.task(name="t", max_memory="512MiB")(fetch if asynchronous else render)
    assert app.tasks == {}


def test_among_an_apps_defaults_a_memory_limit_is_for_its_process_tasks() -> None:
    app = StreamTask("shop", defaults=TaskOptions(max_memory="1GiB"))
    fetch = app.task(name="fetch")(lambda: None)
    render = app.task(name="render", process=True)(lambda: None)
    free = app.task(name="free", process=True, max_memory=None)(lambda: None)
    assert (fetch.kind, render.task_options.max_memory, free.task_options.max_memory) == ("thread", 2**30, None)


def test_options_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        TaskOptions().queue = "x"  # type: ignore[misc]


def test_countdown_and_eta_exclude_each_other_also_one_after_the_other() -> None:
    soon = datetime.now(UTC)
    with pytest.raises(ValueError, match="not both"):
        CallOptions(countdown=1, eta=soon)
    with pytest.raises(ValueError, match="not both"):
        CallOptions(eta=soon).over(CallOptions(countdown=1))


_CHOICES: dict[str, list[Any]] = {
    "queue": ["a", "b"],
    "max_retries": [None, 0, 7],
    "timeout": [None, 1.0, 60.0],
    "max_deliveries": [1, 5],
    "result": [True, False],
    "max_memory": [None, 2**20, 2**30],
    "idempotent": [True, False],
    "unknown_grace": [None, 5.0],
}
written = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in _CHOICES.items()})


@given(written, written)
def test_a_task_option_beats_the_apps_and_that_beats_the_default(app: TaskOptionsDict, task: TaskOptionsDict) -> None:
    effective = TaskOptions(**task).over(TaskOptions(**app))
    for name in _CHOICES:
        if name in ("max_retries", "max_deliveries") and not effective.idempotent:
            continue  # the next test
        expected = task.get(name, app.get(name, getattr(TaskOptions(), name)))
        assert getattr(effective, name) == expected, name


@given(written, written)
def test_at_most_once_is_one_delivery_and_no_retry_unless_asked_for(
    app: TaskOptionsDict, task: TaskOptionsDict
) -> None:
    effective = TaskOptions(**(task | {"idempotent": False})).over(TaskOptions(**app))
    assert effective.max_deliveries == task.get("max_deliveries", 1)
    assert effective.max_retries == task.get("max_retries", 0)


@given(written, written, written)
def test_it_does_not_matter_in_which_order_layers_are_put_together(
    a: TaskOptionsDict, b: TaskOptionsDict, c: TaskOptionsDict
) -> None:
    options = {"idempotent": True}
    low, middle, high = (TaskOptions(**(layer | options)) for layer in (a, b, c))
    assert high.over(middle).over(low) == high.over(middle.over(low))


calls = st.fixed_dictionaries(
    {},
    optional={
        "countdown": st.sampled_from([None, 1.0, 2.0]),
        "queue": st.sampled_from([None, "a", "b"]),
        "message_id": st.sampled_from([None, "x"]),
        "headers": st.sampled_from([None, {"a": "b"}]),
    },
)


@given(calls, calls)
def test_a_later_call_option_wins_also_with_none(first: CallOptionsDict, second: CallOptionsDict) -> None:
    both = CallOptions(**second).over(CallOptions(**first))
    assert both == CallOptions(**(first | second))
    assert both.given == first.keys() | second.keys()
