"""Messages from bytes and to bytes, for bytes that anybody may send.

protobuf-py 0.7 follows JSON that does not fit its message to any depth, and some ten thousand brackets end the process:
so JSON is looked at first, by a parser that stops in time. What is said of a message that is none is kept short, for
protobuf-py repeats what it was given.
"""

from __future__ import annotations

from typing import Any

from connectrpc.code import Code
from connectrpc.codec import Codec, proto_binary_codec, proto_json_codec
from connectrpc.errors import ConnectError
from pydantic_core import from_json

#: Brackets that JSON may have without a look at how deep they stand.
SHALLOW = 90
#: Characters of what is said.
SAID = 200


class Careful(Codec[Any, Any]):
    """A codec of connectrpc with these two rules."""

    def __init__(self, inner: Codec[Any, Any]) -> None:
        self._inner, self._json = inner, inner.name() == "json"

    def name(self) -> str:
        """As content types call it."""
        return self._inner.name()

    def encode(self, message: Any) -> bytes:
        """To bytes."""
        return self._inner.encode(message)

    def decode(self, data: bytes | bytearray, message_class: type[Any]) -> Any:
        """From bytes; ConnectError for what is no message."""
        try:
            if self._json and data.count(b"[") + data.count(b"{") > SHALLOW:
                from_json(bytes(data))
            return self._inner.decode(data, message_class)
        except Exception as error:  # noqa: BLE001 - of any kind, and all of them mean the same
            raise ConnectError(Code.INVALID_ARGUMENT, f"unmarshal message: {error!s:.{SAID}}") from None


def codecs() -> list[Codec[Any, Any]]:
    """Those of the hub."""
    return [Careful(proto_binary_codec()), Careful(proto_json_codec())]
