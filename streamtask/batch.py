"""A batch task: calls and events come one at a time, and the function gets them by the hundred."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Generic, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from streamtask.options import Batching, TaskOptions
from streamtask.post import Post
from streamtask.signature import Signature
from streamtask.task import Task

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


class BatchTask(Task[[T], R], Generic[T, R]):
    """The sending half: `.delay(item)` sends one item. Calling it runs the function with a list, here and now.

    Each item is a message of its own, with its own id, attempts and dead letter. It is acknowledged after the function
    has returned.
    """

    def __init__(self, fn: Callable[..., Any], name: str, options: TaskOptions, post: Post, batching: Batching) -> None:
        if options.process:
            raise TypeError(f"{name}: process=True is not for batches; leave it out")
        self.batching = batching
        self.is_async = inspect.iscoroutinefunction(fn)
        self.kind = "coroutine" if self.is_async else "thread"
        super().__init__(fn, name, options, post)

    def __call__(self, items: list[T]) -> Any:
        """Run the function here and now, without Redis."""
        return self.fn(items)

    def _signature_of(self, fn: Callable[..., Any], name: str) -> Signature:
        """That of one item: its type is the list's, and its result one of the list that is returned."""

        def one(item: Any) -> Any: ...

        one.__module__, one.__qualname__ = fn.__module__, fn.__qualname__
        one.__annotations__ = {"item": item_type(fn, name), "return": _result_type(fn)}
        return Signature(one, name)


def item_type(fn: Callable[..., Any], name: str) -> Any:
    """What the function's one parameter is a list of; raises TypeError when it takes something else."""
    parameters = list(inspect.signature(fn).parameters)
    if len(parameters) != 1:
        raise TypeError(f"{name}: a batch function takes one list, `async def {fn.__name__}(items: list[...])`")
    hint = get_type_hints(fn, include_extras=True).get(parameters[0], Any)
    if hint in (Any, list):
        return Any
    if get_origin(hint) is not list:
        raise TypeError(f"{name}: a batch function takes a list, and {parameters[0]!r} is annotated as {hint}")
    return get_args(hint)[0]


def _result_type(fn: Callable[..., Any]) -> Any:
    hint = get_type_hints(fn, include_extras=True).get("return", Any)
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    lists = [option for option in options if option is not NoneType]
    if len(lists) == 1 and get_origin(lists[0]) is list:
        return get_args(lists[0])[0]
    return None if not lists else Any
