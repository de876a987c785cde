"""Requests that are an instance name and many digests, taken apart without an object for each.

Clients all send the same plain form: `instance_name` is field 1, the digests are field 2 and have
hashes of 32 bytes, and at most the digest function follows. Any other form is for the ordinary
parser, with the same answer.
"""

import re
from collections.abc import Sequence

from reapi.core.digest import DIGEST_FUNCTIONS, EMPTY_HASHES, Digest, DigestFunction
from reapi.core.errors import InvalidArgument
from reapi.core.instances import Instances

_FIELD = re.compile(rb"\x12[\x44-\x4a]\x0a\x40.{64}\x10[\x80-\xff]{0,6}[\x01-\x7f]", re.DOTALL)
"""Field 2: a Digest of 64 characters and a size from 1 to 2**49."""

_INSTANCE_NAME_TAG = 0x0A
_LONGEST_SHORT_LENGTH = 0x7F
_HASH_LENGTH = 64
_SIZE_START = 69

_EMPTY_HASHES = {
    function: EMPTY_HASHES[function].encode()
    for function in DIGEST_FUNCTIONS
    if 2 * function.hash_bytes == _HASH_LENGTH
}
"""By the functions whose digests have the plain form."""

_NUMBERS = frozenset(function.number for function in _EMPTY_HASHES)

HASH_START = 4
HASH_END = 68

DIGESTS_PER_STEP = 4000
"""Other calls get their turn after so many digests of one call, which are some milliseconds."""

_LARGEST_REQUEST_BYTES = 16 << 20
"""Four times what gRPC takes unless it is told otherwise, so what clients keep well below of."""


def check_request_size(request: bytes) -> None:
    """Raises InvalidArgument for more digests than one call may ask about (reliability B11)."""
    if len(request) > _LARGEST_REQUEST_BYTES:
        raise InvalidArgument(
            f"a request of {len(request)} bytes; {_LARGEST_REQUEST_BYTES} are allowed here: "
            "ask about fewer digests at a time"
        )


def split_request(
    request: bytes, function_tag: bytes, instances: Instances
) -> tuple[DigestFunction, list[bytes]] | None:
    """The digest function and the digest fields, tag and length included, of the plain form.

    Only the field `function_tag`, which states the function, may follow the digests. None for any
    other form, and for an instance or a function that is not served.
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
    number, end = 0, len(request)
    # No digest ends like this: the byte before the last one of a size is its tag or above 0x7f.
    if end >= start + 2 and request[-2:-1] == function_tag:
        number, end = request[-1], end - 2
        if number not in _NUMBERS:
            return None
    body = request[start:end]
    fields = _FIELD.findall(body)
    if b"".join(fields) != body or not instance_name.isascii():
        return None
    try:
        function = instances.parse_function(instance_name.decode(), number, _HASH_LENGTH)
    except InvalidArgument:
        return None  # The ordinary parser says why, after it has looked at the rest.
    return function, fields


def are_well_formed(function: DigestFunction, fields: Sequence[bytes]) -> bool:
    """Whether the lengths and hashes are right, and no field names the empty blob."""
    for field in fields:
        if field[1] != len(field) - 2:
            return False
    hashes = b"".join([field[HASH_START:HASH_END] for field in fields])
    return not hashes.translate(None, b"0123456789abcdef") and _EMPTY_HASHES[function] not in hashes


def digest_of_field(field: bytes, function: DigestFunction) -> Digest:
    """The digest of a field that is well-formed."""
    size = 0
    for index, byte in enumerate(field[_SIZE_START:]):
        size |= (byte & 0x7F) << 7 * index
    return Digest(field[HASH_START:HASH_END].decode(), size, function)
