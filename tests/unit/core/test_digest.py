"""Digests and digest functions."""

import hashlib

import pytest

from reapi.core.digest import (
    BLAKE3,
    DIGEST_FUNCTIONS,
    EMPTY_HASHES,
    SHA1,
    SHA256,
    SHA256TREE,
    SHA384,
    SHA512,
    Digest,
    DigestFunction,
    digest_of,
    digest_of_key,
    function_named,
    functions_led_by,
    make_digest,
    parse_digest,
    parse_digest_text,
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
def test_reliability_B3_B5_G2_G4_what_cannot_be_a_digest_is_invalid(
    hash_text: str, size_bytes: int
) -> None:
    with pytest.raises(InvalidArgument):
        make_digest(hash_text, size_bytes)


def test_the_empty_digest_is_valid() -> None:
    assert make_digest(EMPTY_HASH, 0) == digest_of(b"")


@pytest.mark.parametrize("function", DIGEST_FUNCTIONS, ids=lambda function: function.name)
class TestEveryFunction:
    def test_D1_hashes_have_the_length_of_their_function(self, function: DigestFunction) -> None:
        digest = digest_of(DATA, function)
        lengths = {"SHA1": 40, "SHA384": 96, "SHA512": 128}
        assert len(digest.hash) == lengths.get(function.name, 64)
        assert parse_digest(digest.to_message(), function) == digest
        for wrong in (digest.hash[2:], digest.hash + "00"):
            with pytest.raises(InvalidArgument, match=function.name):
                make_digest(wrong, 10, function)

    def test_any_bytes_like_object_is_hashed(self, function: DigestFunction) -> None:
        hasher = function.new()
        for part in (b"some", bytearray(b" "), memoryview(b"bytes")):
            hasher.update(part)
        assert hasher.hexdigest() == hasher.digest().hex() == digest_of(DATA, function).hash

    def test_G3_the_empty_blob_alone_has_the_empty_hash(self, function: DigestFunction) -> None:
        empty = digest_of(b"", function)
        assert empty.hash == EMPTY_HASHES[function]
        assert make_digest(empty.hash, 0, function) == empty
        with pytest.raises(InvalidArgument):
            make_digest(empty.hash, 1, function)

    def test_D3_only_functions_that_are_not_inferred_stand_in_subjects(
        self, function: DigestFunction
    ) -> None:
        digest = digest_of(DATA, function)
        segment = {"BLAKE3": "blake3/", "SHA256TREE": "sha256tree/"}.get(function.name, "")
        assert digest.subject == f"blobs/{segment}{digest.hash}/10"

    def test_D11_the_key_tells_the_function(self, function: DigestFunction) -> None:
        digest = digest_of(DATA, function)
        assert digest.key[0] == function.number
        assert digest_of_key(digest.key, 10) == digest

    def test_it_is_found_by_name_and_by_number(self, function: DigestFunction) -> None:
        assert function_named(function.name) is function_named(function.name.lower()) is function
        assert parse_function(function.number) is function

    def test_text_is_read_in_the_light_of_the_default(self, function: DigestFunction) -> None:
        digest = digest_of(DATA, function)
        assert parse_digest_text(str(digest), function) == digest


def test_D2_a_function_is_inferred_from_the_length_or_is_the_default() -> None:
    unknown = re_pb2.DigestFunction.UNKNOWN
    inferred = {length: parse_function(unknown, length) for length in (40, 64, 96, 128)}
    assert inferred == {40: SHA1, 64: SHA256, 96: SHA384, 128: SHA512}
    assert parse_function(unknown) is SHA256
    for length in (0, 32, 63, 66):
        with pytest.raises(InvalidArgument, match="SHA256, BLAKE3"):
            parse_function(unknown, length)


def test_Q_BUCK5_a_default_is_meant_by_hashes_of_its_length() -> None:
    served = functions_led_by(BLAKE3)
    assert parse_function(0, 64, served) is parse_function(0, None, served) is BLAKE3
    assert parse_function(0, 40, served) is SHA1
    assert parse_function(SHA256TREE.number, 64, served) is SHA256TREE
    with pytest.raises(InvalidArgument, match="BLAKE3"):
        parse_function(SHA256.number, 64, served)


def test_every_function_can_be_served_unless_the_default_hides_it() -> None:
    assert functions_led_by(SHA256) == DIGEST_FUNCTIONS
    assert functions_led_by(SHA512)[0] is SHA512
    assert set(functions_led_by(SHA512)) == set(DIGEST_FUNCTIONS)
    assert set(DIGEST_FUNCTIONS) - set(functions_led_by(BLAKE3)) == {SHA256}


@pytest.mark.parametrize("name", ["MD5", "VSO", "MURMUR3", "GITSHA1"])
def test_reliability_B6_D4_a_function_that_is_not_announced_is_invalid(name: str) -> None:
    """Also D8: GITSHA1 is not served."""
    with pytest.raises(InvalidArgument, match=f"{name} .* SHA256, BLAKE3"):
        parse_function(re_pb2.DigestFunction.Value.Value(name), 64)


def test_G10_the_number_of_a_newer_function_is_invalid() -> None:
    with pytest.raises(InvalidArgument, match=r"99 .* SHA256, BLAKE3"):
        parse_function(99, 64)


def test_an_unknown_name_is_answered_by_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match=r"'md5' .* SHA256, BLAKE3"):
        function_named("md5")


@pytest.mark.parametrize("text", ["", HASH, f"{HASH}/", f"{HASH}/x", f"{HASH}/1/2", f"/{HASH}/1"])
def test_text_that_is_no_digest_is_invalid(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_digest_text(text)
