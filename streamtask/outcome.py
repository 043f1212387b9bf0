"""From a delivery's bytes to a call, and from a return value to an outcome."""

from __future__ import annotations

from typing import Any, TypeAlias

from pydantic import ValidationError

from streamtask.policy import Failure, Finish, Misfit, Returned
from streamtask.task import Task

#: The commonest outcome and its verdict, where no result is kept. They are frozen, so one object each will do.
RETURNED, DONE = Returned(), Finish("done")


#: What a function is called with: positional and keyword arguments.
Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


def arguments(task: Task[..., Any], source: Any) -> Call | Misfit:
    """A call's arguments, checked, of a message's JSON or an event; or what is wrong with them."""
    try:
        return task.signature.load(source)
    except ValidationError as error:
        return Misfit("arguments", arguments_failure(error))
    except Exception as error:  # noqa: BLE001 - a validator of the user's own broke
        return Misfit("arguments", Failure.of(error))


def returned(task: Task[..., Any], value: Any) -> Returned | Misfit:
    """The outcome of a function that returned; a value that its annotation does not allow is a failure (`result`)."""
    if not task.task_options.result:
        return RETURNED
    try:
        return Returned(task.signature.dump_result(value))
    except Exception as error:  # noqa: BLE001 - a serializer of the user's own may raise anything
        return Misfit("result", Failure("ResultError", str(error)[:1000]))


def arguments_failure(error: ValidationError) -> Failure:
    """What is wrong with a message's arguments, without the values (they are the user's)."""
    lines = [
        f"{'.'.join(map(str, line['loc'])) or 'arguments'}: {line['msg']}" for line in error.errors(include_url=False)
    ]
    return Failure("ValidationError", "; ".join(lines)[:1000])
