"""The message classes of the hub's procedures, built at run time from the .proto files beside this module.

No code that a protoc generated is shipped: such code runs only with the protobuf runtime that it was made for, and two
packages that want different ones cannot be in one process. What stands in our two files is little (messages of plain
fields, maps, services of unary procedures), so that reading it takes less than a page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from protobuf import Message, Registry
from protobuf.wkt import FileDescriptorProto, FileDescriptorSet
from protobuf.wkt.google.protobuf import descriptor_pb as pb
from protobuf.wkt.google.protobuf import struct_pb, timestamp_pb

#: The files, by the names under which clients import them.
FILES = ("services/mqhub/v1/mqhub.proto", "services/streamtask/v1/hub.proto")
_IMPORTS = {file.desc().name: file.desc().proto for file in (struct_pb, timestamp_pb)}

_Field = pb.FieldDescriptorProto
_SCALARS = {
    name: getattr(_Field.Type, name.upper())
    for name in ("string", "bytes", "bool", "int32", "int64", "float", "double")
}
_BLOCK = re.compile(r"(message|service)\s+(\w+)\s*\{([^}]*)\}")
_FIELD = re.compile(r"(repeated\s+)?(map<\s*(\w+)\s*,\s*(\w+)\s*>|[\w.]+)\s+(\w+)\s*=\s*(\d+)")
_RPC = re.compile(r"rpc\s+(\w+)\s*\(\s*([\w.]+)\s*\)\s*returns\s*\(\s*([\w.]+)\s*\)")


class Procedure(NamedTuple):
    """A unary procedure: `service` is the full name of its service."""

    service: str
    name: str
    request: type[Message[Any]]
    response: type[Message[Any]]

    @property
    def path(self) -> str:
        """Where it is called."""
        return f"/{self.service}/{self.name}"


def source(name: str) -> str:
    """The text of one of `FILES`."""
    return resources.files(__package__).joinpath("proto", *name.split("/")).read_text("utf-8")


@cache
def registry() -> Registry:
    """All descriptors."""
    files = [*_IMPORTS.values(), *(parse(name, source(name)) for name in FILES)]
    return FileDescriptorSet(file=files).to_registry()


def message(name: str) -> Any:
    """The class of a message, by its full name."""
    found = registry().message(name)
    assert found is not None, f"no message {name} in {FILES}"
    return found.type


def procedures() -> Iterator[Procedure]:
    """The procedures of all services."""
    for name in FILES:
        file = registry().file(name)
        assert file is not None, name
        for service in file.services:
            for method in service.methods:
                yield Procedure(service.type_name, method.name, method.input.type, method.output.type)


def parse(name: str, text: str) -> FileDescriptorProto:
    """The descriptor of a .proto file that holds no more than ours do; ValueError for what is not understood."""
    text = re.sub(r"//[^\n]*", "", text)
    package = _only(r"package\s+([\w.]+)\s*;", text)
    file = pb.FileDescriptorProto(
        name=name, package=package, syntax=_only(r'syntax\s*=\s*"(\w+)"\s*;', text),
        dependency=re.findall(r'import\s+"([^"]+)"\s*;', text),
    )  # fmt: skip
    for kind, title, body in _BLOCK.findall(text):
        statements = [statement.strip() for statement in body.split(";") if statement.strip()]
        if kind == "message":
            file.message_type.append(_message(package, title, statements))
        else:
            methods = [_method(package, statement) for statement in statements]
            file.service.append(pb.ServiceDescriptorProto(name=title, method=methods))
    return file


def _message(package: str, title: str, statements: list[str]) -> Any:
    made = pb.DescriptorProto(name=title)
    for statement in statements:
        repeated, kind, key, value, name, number = _match(_FIELD, statement)
        label = _Field.Label.REPEATED if repeated or key else _Field.Label.OPTIONAL
        field = _field(package, name, int(number), label, kind)
        if key:
            entry = f"{name.title().replace('_', '')}Entry"
            parts = [_field(package, part, n, _Field.Label.OPTIONAL, of) for part, n, of in _pair(key, value)]
            options = pb.MessageOptions(map_entry=True)
            made.nested_type.append(pb.DescriptorProto(name=entry, field=parts, options=options))
            field.type, field.type_name = _Field.Type.MESSAGE, f".{package}.{title}.{entry}"
        made.field.append(field)
    return made


def _pair(key: str, value: str) -> list[tuple[str, int, str]]:
    return [("key", 1, key), ("value", 2, value)]


def _field(package: str, name: str, number: int, label: Any, kind: str) -> Any:
    head, *rest = name.split("_")
    camel = head + "".join(map(str.capitalize, rest))
    if kind in _SCALARS:
        return _Field(name=name, json_name=camel, number=number, label=label, type=_SCALARS[kind])
    return _Field(
        name=name, json_name=camel, number=number, label=label, type=_Field.Type.MESSAGE, type_name=_full(package, kind)
    )


def _method(package: str, statement: str) -> Any:
    name, request, response = _match(_RPC, statement)
    return pb.MethodDescriptorProto(name=name, input_type=_full(package, request), output_type=_full(package, response))


def _full(package: str, name: str) -> str:
    return f".{name}" if "." in name else f".{package}.{name}"


def _match(pattern: re.Pattern[str], statement: str) -> tuple[str, ...]:
    found = pattern.fullmatch(statement)
    if found is None:
        raise ValueError(f"not understood: {statement!r}")
    return found.groups()


def _only(pattern: str, text: str) -> str:
    (found,) = re.findall(pattern, text)
    return str(found)
