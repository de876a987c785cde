"""Requests that are an instance name and many digests, taken apart without an object for each.

Clients all send the same plain form: `instance_name` is field 1, the digests are field 2, and at
most the digest function follows. Any other form is for the ordinary parser, with the same answer.
"""

import re
from collections.abc import Sequence

from reapi.core.digest import EMPTY_HASHES, SHA256, Digest

_FIELD = re.compile(rb"\x12[\x44-\x4a]\x0a\x40.{64}\x10[\x80-\xff]{0,6}[\x01-\x7f]", re.DOTALL)
"""Field 2: a Digest of 64 characters and a size from 1 to 2**49."""

_INSTANCE_NAME_TAG = 0x0A
_LONGEST_SHORT_LENGTH = 0x7F
_SIZE_START = 69
_EMPTY_HASH = EMPTY_HASHES[SHA256].encode()

HASH_START = 4
HASH_END = 68


def split_request(request: bytes, trailer: bytes) -> tuple[str, list[bytes]] | None:
    """Instance name and digest fields, tag and length included, of a request in plain form.

    `trailer` is the one field that may follow the digests.
    """
    start = 0
    instance_name = b""
    if request and request[0] == _INSTANCE_NAME_TAG:
        if len(request) < 2 or request[1] > _LONGEST_SHORT_LENGTH:
            return None
        start = 2 + request[1]
        instance_name = request[2:start]
        if len(instance_name) < request[1]:
            return None
    end = len(request) - len(trailer) if request.endswith(trailer) else len(request)
    body = request[start:end]
    fields = _FIELD.findall(body)
    if b"".join(fields) != body or not instance_name.isascii():
        return None
    return instance_name.decode(), fields


def are_well_formed(fields: Sequence[bytes]) -> bool:
    """Whether the lengths and hashes are right, and no field names the empty blob."""
    for field in fields:
        if field[1] != len(field) - 2:
            return False
    hashes = b"".join([field[HASH_START:HASH_END] for field in fields])
    return not hashes.translate(None, b"0123456789abcdef") and _EMPTY_HASH not in hashes


def digest_of_field(field: bytes) -> Digest:
    """The digest of a field that is well-formed."""
    size = 0
    for index, byte in enumerate(field[_SIZE_START:]):
        size |= (byte & 0x7F) << 7 * index
    return Digest(field[HASH_START:HASH_END].decode(), size)
