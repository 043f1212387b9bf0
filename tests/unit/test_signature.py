"""Signatures: what a call may carry, and what the worker's function is given after the wire."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError
from typing_extensions import TypedDict

from streamtask.signature import Signature

ZERO = UUID(int=0)


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass
class Reading:
    value: float
    raw: bytes


@dataclass
class Tree:
    children: list["Tree"]  # noqa: UP037 - the string is what is tested


class User(BaseModel):
    id: int
    name: str = "?"


class Options(TypedDict, total=False):
    deep: bool


def takes_much(
    number: int,
    day: date,
    point: Point,
    user: User,
    options: Options,
    colour: Colour = Colour.RED,
    *,
    amount: Decimal = Decimal("0.10"),
    id: UUID = ZERO,
    where: Path = Path("/"),
    raw: bytes = b"",
) -> None: ...


def called(signature: Signature, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """What the function is called with in the worker: all by name."""
    positional, named = signature.load(signature.dump("t", signature.bind(args, kwargs)))
    assert positional == ()
    return named


@given(
    st.integers(),
    st.dates(),
    st.builds(Point, st.integers(), st.integers()),
    st.builds(User, id=st.integers(), name=st.text("ab")),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.uuids(),
    st.binary(),
)
def test_arguments_arrive_as_what_they_were(
    number: int, day: date, point: Point, user: User, amount: Decimal, id: UUID, raw: bytes
) -> None:
    signature = Signature(takes_much, "t")
    arrived = called(signature, number, day, point, user, {"deep": True}, amount=amount, id=id, raw=raw)
    assert arrived == {
        "number": number, "day": day, "point": point, "user": user, "options": {"deep": True}, "colour": Colour.RED,
        "amount": amount, "id": id, "where": Path("/"), "raw": raw,
    }  # fmt: skip


def test_only_what_the_caller_passed_travels() -> None:
    """A default that changes in a deploy changes for the messages that wait, too."""

    def greet(name: str, greeting: str = "hello", *, times: int = 1) -> None: ...

    signature = Signature(greet, "t")
    assert signature.bind(("ada",), {}) == {"name": "ada"}
    assert signature.bind(("ada", "hi"), {"times": 2}) == {"name": "ada", "greeting": "hi", "times": 2}
    assert signature.bind((), {"name": "ada", "times": 1}) == {"name": "ada", "times": 1}
    assert signature.defaults == {"greeting": "hello", "times": 1}


def test_text_becomes_what_the_annotation_says_before_it_is_sent() -> None:
    def remind(day: date, count: int = 0) -> None: ...

    assert Signature(remind, "t").bind(("2026-11-21",), {"count": "3"}) == {"day": date(2026, 11, 21), "count": 3}


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), (("x",), {}), ((1, 2, 3), {}), ((1,), {"number": 1}), ((1,), {"colour": "red"}), ((None,), {})],
    ids=["missing", "wrong type", "too many", "twice", "unknown name", "none"],
)
def test_a_wrong_argument_is_refused_before_redis_is_asked(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    def double(number: int, by: int = 2) -> None: ...

    with pytest.raises(ValidationError, match=r"double\(\)"):
        Signature(double, "double").bind(args, kwargs)


@pytest.mark.parametrize("args", [b"{}", b'{"number":"x"}', b'{"number":1,"colour":2}', b"[", b'{"number":null}'])
def test_arguments_of_strangers_are_checked_in_the_worker_too(args: bytes) -> None:
    def double(number: int) -> None: ...

    with pytest.raises(ValidationError):
        Signature(double, "t").load(args)


def test_a_renamed_parameter_keeps_its_old_name_by_an_alias() -> None:
    def send(address: Annotated[str, Field(alias="mail")]) -> None: ...

    signature = Signature(send, "t")
    assert signature.load(b'{"mail":"a@b"}') == ((), {"address": "a@b"})
    assert signature.load(b'{"address":"a@b"}') == ((), {"address": "a@b"})
    assert signature.bind((), {"mail": "a@b"}) == {"address": "a@b"}


def test_without_annotations_json_goes_in_and_comes_out() -> None:
    def old(a, b=2):  # type: ignore[no-untyped-def]
        ...

    signature = Signature(old, "t")
    assert called(signature, {"x": [1, None]}) == {"a": {"x": [1, None]}, "b": 2}
    assert signature.load_result(signature.dump_result({"x": (1, 2)})) == {"x": [1, 2]}


class Row:
    """What an ORM gives out."""

    def __init__(self) -> None:
        self.pk = 7


def test_what_is_not_json_is_named_with_the_way_out() -> None:
    def old(a, b=2):  # type: ignore[no-untyped-def]
        ...

    signature = Signature(old, "old")
    with pytest.raises(TypeError, match=r"argument 'b' of t: Row is not JSON; pass row\.pk"):
        called(signature, 1, Row())
    with pytest.raises(TypeError, match="argument 'a' of t: object is not JSON; pass its id"):
        called(signature, object())


@pytest.mark.parametrize("value", [float("inf"), float("nan"), b"\xff\x00"], ids=str)
def test_odd_values_without_annotation_still_are_json(value: Any) -> None:
    def old(a):  # type: ignore[no-untyped-def]
        ...

    signature = Signature(old, "t")
    assert isinstance(called(signature, value)["a"], str)


def test_floats_keep_their_odd_values() -> None:
    def measure(value: float) -> None: ...

    signature = Signature(measure, "t")
    assert called(signature, float("-inf")) == {"value": float("-inf")}


# -- results --------


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 5),
        (Point, Point(1, 2)),
        (User, User(id=1)),
        (list[Point], [Point(1, 2)]),
        (datetime, datetime(2026, 11, 21, tzinfo=UTC)),
        (dict[str, Decimal], {"a": Decimal("1.10")}),
        (tuple[int, str], (1, "a")),
        (bytes, b"\xff"),
        (float, float("inf")),
        (Reading, Reading(float("-inf"), b"\xff")),
        (list[Reading], [Reading(1.0, b"")]),
        (Tree, Tree([Tree([])])),
        (None, None),
        (int | None, None),
        (Any, {"a": [1]}),
    ],
    ids=str,
)
def test_a_result_comes_back_as_the_annotation_says(annotation: Any, value: Any) -> None:
    def task() -> None: ...

    task.__annotations__["return"] = annotation
    signature = Signature(task, "t")
    assert signature.load_result(signature.dump_result(value)) == value


def test_a_coroutine_function_returns_what_it_awaits_to() -> None:
    async def task() -> Point: ...

    signature = Signature(task, "t")
    assert signature.load_result(signature.dump_result(Point(1))) == Point(1, 0)


def test_a_return_value_that_does_not_fit_is_an_error_of_the_task() -> None:
    def task() -> int: ...

    with pytest.raises(ValueError, match="does not fit its annotation"):
        Signature(task, "t").dump_result("five")


def test_an_unannotated_result_that_is_not_json_is_an_error_of_the_task() -> None:
    def task():  # type: ignore[no-untyped-def]
        ...

    with pytest.raises(ValueError, match="does not fit"):
        Signature(task, "t").dump_result(object())


# -- what cannot be a task --------


def _starred(*names: str) -> None: ...


def _keywords(**names: str) -> None: ...


def _positional(name: str, /) -> None: ...


def _unknown_type(row: Row) -> None: ...


def _unknown_result() -> Row: ...


def _undefined(row: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (_starred, r"takes \*names: .* take a list parameter instead"),
        (_keywords, r"takes \*\*names: .* take a dict parameter instead"),
        (_positional, "takes name, which is positional-only: .* remove the `/`"),
        (_unknown_type, "annotate them with types that pydantic knows"),
        (_unknown_result, "annotate them with types that pydantic knows"),
        (_undefined, "annotate them with types that pydantic knows"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_function_that_cannot_be_a_task_is_refused_at_import(fn: Any, why: str) -> None:
    with pytest.raises(TypeError, match=why) as refused:
        Signature(fn, "t")
    assert f"{fn.__module__}.{fn.__qualname__}" in str(refused.value)
