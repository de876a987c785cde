"""Closures as rows hold them."""

import struct

import pytest

from reapi.cas.closure import pack_closure, unpack_closure
from reapi.core.digest import DIGEST_FUNCTIONS, DigestFunction, digest_of


@pytest.mark.parametrize("function", DIGEST_FUNCTIONS, ids=lambda function: function.name)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_closure_of_any_function_round_trips(function: DigestFunction, count: int) -> None:
    closure = [digest_of(bytes(number + 1), function) for number in range(count)]
    assert unpack_closure(pack_closure(closure)) == closure


def test_records_of_sha256_stay_as_they_were() -> None:
    """41 bytes: number of the function, hash, size."""
    digest = digest_of(b"some bytes")
    record = struct.pack(">B32sQ", 1, bytes.fromhex(digest.hash), 10)
    assert pack_closure([digest]) == record
    assert unpack_closure(record * 2) == [digest, digest]
