"""WriteRequests as they come off the wire, without copies of their data."""

from typing import NamedTuple

from google.protobuf.message import DecodeError

from reapi.core.errors import InvalidArgument
from reapi.protos.google.bytestream.bytestream_pb2 import WriteRequest

from .wire import read_varint

_NAME_TAG, _OFFSET_TAG, _FINISH_TAG, _DATA_TAG = 0x0A, 0x10, 0x18, 0x52
_WORTH_BYTES = 4096
"""Messages below this are copied faster than they are looked through."""


class WriteChunk(NamedTuple):
    """The fields of a WriteRequest; `data` may share the memory of the message."""

    resource_name: str
    write_offset: int
    finish_write: bool
    data: bytes | memoryview


def parse_write_request(message: bytes) -> WriteChunk:
    """Reads a serialized WriteRequest; InvalidArgument when it is none."""
    split = _split(message) if len(message) >= _WORTH_BYTES else None
    head = message if split is None else message[: split[0]]
    try:
        request = WriteRequest.FromString(head)
    except DecodeError as error:
        raise InvalidArgument("a request is not a google.bytestream.WriteRequest") from error
    data = request.data if split is None else memoryview(message)[split[1] :]
    return WriteChunk(request.resource_name, request.write_offset, request.finish_write, data)


def _split(message: bytes) -> tuple[int, int] | None:
    """Where the fields before the data end, and where its bytes begin, which are all the rest.

    None when the message looks otherwise, as it may.
    """
    position = 0
    while position < len(message):
        tag = message[position]
        value, after = read_varint(message, position + 1)
        if tag == _DATA_TAG:
            return (position, after) if after + value == len(message) else None
        if tag == _NAME_TAG:
            position = after + value
        elif tag in (_OFFSET_TAG, _FINISH_TAG):
            position = after
        else:
            return None
    return None
