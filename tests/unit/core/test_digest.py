"""Digests and digest functions."""

import hashlib

import pytest

from reapi.core.digest import (
    SHA256,
    Digest,
    digest_of,
    make_digest,
    parse_digest,
    parse_digest_text,
    parse_digests,
    parse_function,
)
from reapi.core.errors import InvalidArgument
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2

DATA = b"some bytes"
HASH = hashlib.sha256(DATA).hexdigest()
EMPTY_HASH = hashlib.sha256(b"").hexdigest()


def test_a_digest_is_hash_size_and_function() -> None:
    assert digest_of(DATA) == Digest(HASH, 10, SHA256)
    assert digest_of(memoryview(DATA)) == digest_of(bytearray(DATA)) == digest_of(DATA)


def test_D3_neither_text_nor_subject_names_an_inferred_function() -> None:
    assert str(digest_of(DATA)) == f"{HASH}/10"
    assert digest_of(DATA).subject == f"blobs/{HASH}/10"


def test_D11_the_index_key_begins_with_the_function() -> None:
    assert digest_of(DATA).key == bytes([re_pb2.DigestFunction.SHA256]) + bytes.fromhex(HASH)


def test_the_wire_form_round_trips() -> None:
    assert parse_digest(digest_of(DATA).to_message()) == digest_of(DATA)


@pytest.mark.parametrize(
    ("hash_text", "size_bytes"),
    [
        (HASH.upper(), 10),
        (HASH[1:], 10),
        (HASH + "0", 10),
        (HASH[:-1] + "g", 10),
        (HASH[:-1] + "\n", 10),
        (HASH[:-1] + "\u0661", 10),
        ("", 0),
        (HASH, -1),
        (HASH, 2**53 + 1),
        (HASH, 0),
        (EMPTY_HASH, 103),
    ],
)
def test_G2_G4_what_cannot_be_a_digest_is_invalid(hash_text: str, size_bytes: int) -> None:
    """Also reliability B3 and B5."""
    with pytest.raises(InvalidArgument):
        make_digest(hash_text, size_bytes)


def test_the_empty_digest_is_valid() -> None:
    assert make_digest(EMPTY_HASH, 0) == digest_of(b"")


def test_D2_a_function_is_inferred_from_the_length_or_is_the_default() -> None:
    assert parse_function(re_pb2.DigestFunction.UNKNOWN, 64) is SHA256
    assert parse_function(re_pb2.DigestFunction.UNKNOWN) is SHA256
    assert parse_function(re_pb2.DigestFunction.SHA256) is SHA256
    with pytest.raises(InvalidArgument):
        parse_function(re_pb2.DigestFunction.UNKNOWN, 40)


@pytest.mark.parametrize("number", [re_pb2.DigestFunction.MD5, re_pb2.DigestFunction.BLAKE3, 99])
def test_D4_a_function_that_is_not_announced_is_invalid(number: int) -> None:
    with pytest.raises(InvalidArgument, match="SHA256"):
        parse_function(number, 64)


def test_D5_digests_of_one_request_share_a_function() -> None:
    messages = [digest_of(DATA).to_message(), re_pb2.Digest(hash="0" * 40, size_bytes=1)]
    assert parse_digests(messages[:1], 0) == [digest_of(DATA)]
    with pytest.raises(InvalidArgument):
        parse_digests(messages, 0)


@pytest.mark.parametrize("text", ["", HASH, f"{HASH}/", f"{HASH}/x", f"{HASH}/1/2", f"/{HASH}/1"])
def test_text_that_is_no_digest_is_invalid(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_digest_text(text)
