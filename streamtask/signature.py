"""A task function's parameters and return type, as pydantic sees them: JSON in and out in one pass of its Rust core."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

from pydantic import ConfigDict, PydanticUserError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic.experimental.arguments_schema import generate_arguments_schema
from pydantic_core import (
    ArgsKwargs,
    CoreConfig,
    PydanticSerializationError,
    SchemaSerializer,
    SchemaValidator,
    from_json,
    to_json,
)

#: JSON has neither bytes nor infinity: both ways they are base64 and text, for arguments as for results.
_CONFIG = ConfigDict(
    validate_by_name=True,
    validate_by_alias=True,
    val_json_bytes="base64",
    ser_json_bytes="base64",
    ser_json_inf_nan="strings",
)
_CORE_CONFIG = CoreConfig(val_json_bytes="base64", ser_json_bytes="base64", ser_json_inf_nan="strings")
_REFUSED = {
    inspect.Parameter.VAR_POSITIONAL: "*{0}: a message carries arguments by name; take a list parameter instead",
    inspect.Parameter.VAR_KEYWORD: "**{0}: a message carries arguments by name; take a dict parameter instead",
    inspect.Parameter.POSITIONAL_ONLY: "{0}, which is positional-only: arguments travel by name; remove the `/`",
}


class Signature:
    """How a function's arguments and result cross the wire.

    Raises TypeError at construction for parameters that cannot travel by name and for types unknown to pydantic.
    """

    def __init__(self, fn: Callable[..., Any], name: str) -> None:
        parameters = _parameters(fn)
        self.names = tuple(parameters)
        self._by_position = [n for n, p in parameters.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        #: What parameters are when the caller leaves them out.
        self.defaults = {n: p.default for n, p in parameters.items() if p.default is not inspect.Parameter.empty}
        try:
            schema = generate_arguments_schema(fn, schema_type="arguments", config=_CONFIG)
            self._validator = SchemaValidator(schema, CoreConfig(title=f"{name}()", **_CORE_CONFIG))
            returns = get_type_hints(fn, include_extras=True).get("return", Any)
            self._returns = None if returns in (Any, None, type(None)) else _Value(returns)
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError, NameError) as error:
            hint = "task arguments and results travel as JSON, so annotate them with types that pydantic knows"
            raise TypeError(f"{fn.__module__}.{fn.__qualname__}: {hint} ({str(error).splitlines()[0]})") from None

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Validate a call and give what the caller passed, by parameter name.

        Raises pydantic's ValidationError; defaults that the caller left out do not travel.
        """
        if not args:
            call = ArgsKwargs((), dict(kwargs))
        elif len(args) <= len(self._by_position) and (not kwargs or kwargs.keys() <= set(self.names[len(args) :])):
            by_name = dict(zip(self.names, args, strict=False))
            call = ArgsKwargs((), by_name | dict(kwargs) if kwargs else by_name)  # so that errors name them
        else:
            call = ArgsKwargs(tuple(args), dict(kwargs))
        positional, named = self._validator.validate_python(call)
        values: dict[str, Any] = dict(zip(self.names, positional, strict=False)) | named if positional else named
        if len(args) + len(kwargs) < len(values):
            given = {*self.names[: len(args)], *kwargs}
            if given <= values.keys():  # an alias among the keywords: then all that was validated travels
                values = {name: value for name, value in values.items() if name in given}
        return values

    def dump(self, task: str, values: Mapping[str, Any]) -> bytes:
        """Arguments as a JSON object; raises TypeError that names what cannot travel."""
        return dump_arguments(task, values)

    def load(self, args: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What to call the function with; raises pydantic's ValidationError."""
        call: tuple[tuple[Any, ...], dict[str, Any]] = self._validator.validate_json(args)
        return call

    def dump_result(self, value: Any) -> bytes:
        """The return value as JSON; raises ValueError when it does not fit the annotation."""
        try:
            if self._returns is None:
                return to_json(value, bytes_mode="base64", inf_nan_mode="strings")
            return self._returns.dump(value)
        except PydanticSerializationError as error:
            raise ValueError(f"the return value does not fit its annotation: {error}") from None

    def load_result(self, raw: bytes) -> Any:
        """The return value, rebuilt by its annotation."""
        return from_json(raw) if self._returns is None else self._returns.load(raw)


class _Value:
    """One value of a type, to JSON and back.

    Not pydantic's TypeAdapter: that takes no config for dataclasses, and at its first use pydantic reads the metadata
    of all installed packages, in search of plugins. The schema is that of the one parameter of a function made for it.
    """

    def __init__(self, of: Any) -> None:
        def takes(value: Any) -> None: ...

        takes.__annotations__["value"] = of
        schema = generate_arguments_schema(takes, schema_type="arguments", config=_CONFIG)
        if schema["type"] == "definitions":
            value_schema: Any = {**schema, "schema": _only_parameter(schema["schema"])}
        else:
            value_schema = _only_parameter(schema)
        self._validator = SchemaValidator(value_schema, _CORE_CONFIG)
        self._serializer = SchemaSerializer(value_schema, _CORE_CONFIG)

    def dump(self, value: Any) -> bytes:
        return self._serializer.to_json(value, warnings="error")

    def load(self, raw: bytes) -> Any:
        return self._validator.validate_json(raw)


def _only_parameter(schema: Any) -> Any:
    return schema["arguments_schema"][0]["schema"]


def dump_arguments(task: str, values: Mapping[str, Any]) -> bytes:
    """Arguments as a JSON object; raises TypeError that names what cannot travel."""
    try:
        return to_json(values, bytes_mode="base64", inf_nan_mode="strings")
    except PydanticSerializationError:
        for name, value in values.items():
            _check_json(f"argument {name!r} of {task}", value)
        raise


def _parameters(fn: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    parameters = inspect.signature(fn).parameters
    for parameter in parameters.values():
        if parameter.kind in _REFUSED:
            name = f"{fn.__module__}.{fn.__qualname__}"
            raise TypeError(f"{name} takes {_REFUSED[parameter.kind].format(parameter.name)}")
    return parameters


def _check_json(what: str, value: Any) -> None:
    try:
        to_json(value, bytes_mode="base64", inf_nan_mode="strings")
    except PydanticSerializationError:
        kind = type(value).__name__
        hint = (
            f"; pass {kind.lower()}.pk" if hasattr(value, "pk") else "; pass its id, or a dataclass or pydantic model"
        )
        raise TypeError(f"{what}: {kind} is not JSON{hint}") from None
