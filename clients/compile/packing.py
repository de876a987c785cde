"""Texts that repeat themselves, as they are kept and sent: compressed, with their length before."""

from reapi.core.compression import compress_blob, decompress_blob
from reapi.core.errors import InvalidArgument

_LENGTH_BYTES = 8


def pack(text: bytes) -> bytes:
    """A text in few bytes."""
    return len(text).to_bytes(_LENGTH_BYTES, "big") + compress_blob(text)


def unpack(packed: bytes, largest_bytes: int) -> bytes:
    """The text; raises InvalidArgument for what is damaged, or longer than that."""
    size_bytes = int.from_bytes(packed[:_LENGTH_BYTES], "big")
    if len(packed) < _LENGTH_BYTES or size_bytes > largest_bytes:
        raise InvalidArgument("what was packed is damaged, or too long")
    return decompress_blob(packed[_LENGTH_BYTES:], size_bytes)
