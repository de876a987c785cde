"""ByteStream resource names."""

import pytest

from reapi.core.digest import (
    BLAKE3,
    DIGEST_FUNCTIONS,
    SHA1,
    SHA256,
    SHA512,
    DigestFunction,
    digest_of,
)
from reapi.core.errors import InvalidArgument
from reapi.core.resource_name import (
    LONGEST_NAME,
    RESERVED_SEGMENTS,
    parse_read_name,
    parse_write_name,
    read_name,
    write_name,
)
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Compressor
from tests.fakes.instances import INSTANCES

DIGEST = digest_of(b"x")


@pytest.mark.parametrize("instance_name", ["", "main", "a/b/c", "..", "with space"])
def test_BS1_names_round_trip(instance_name: str) -> None:
    for compressor in (Compressor.IDENTITY, Compressor.ZSTD):
        name = read_name(instance_name, DIGEST, compressor)
        assert parse_read_name(name) == (instance_name, DIGEST, compressor)
        name = write_name(instance_name, "id", DIGEST, compressor)
        assert parse_write_name(name) == (instance_name, "id", DIGEST, compressor)


def test_BS1_an_empty_instance_has_no_slash() -> None:
    assert read_name("", DIGEST) == f"blobs/{DIGEST}"
    assert write_name("", "id", DIGEST) == f"uploads/id/blobs/{DIGEST}"
    assert read_name("", DIGEST, Compressor.ZSTD) == f"compressed-blobs/zstd/{DIGEST}"


def test_BS2_anything_may_follow_a_write_name_but_not_a_read_name() -> None:
    for blob in (f"blobs/{DIGEST}", f"compressed-blobs/zstd/{DIGEST}"):
        assert parse_write_name(f"uploads/id/{blob}/any/thing//").digest == DIGEST
        with pytest.raises(InvalidArgument):
            parse_read_name(f"{blob}/any")


@pytest.mark.parametrize("function", DIGEST_FUNCTIONS, ids=lambda function: function.name)
def test_D3_names_of_every_function_round_trip(function: DigestFunction) -> None:
    digest = digest_of(b"x", function)
    assert parse_read_name(read_name("main", digest)).digest == digest
    assert parse_write_name(write_name("main", "id", digest)).digest == digest


@pytest.mark.parametrize("function", [SHA256, SHA1, SHA512], ids=lambda function: function.name)
def test_D3_a_redundant_function_is_taken_and_never_given(function: DigestFunction) -> None:
    digest = digest_of(b"x", function)
    segment = function.name.lower()
    assert parse_read_name(f"blobs/{segment}/{digest}").digest == digest
    assert parse_write_name(f"uploads/id/blobs/{segment}/{digest}/x").digest == digest
    assert segment not in read_name("", digest)


@pytest.mark.parametrize("segment", ["md5", "gitsha1", "vso", "murmur3"])
def test_D4_a_function_that_is_not_served_is_named(segment: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{segment.upper()} is not served"):
        parse_read_name(f"blobs/{segment}/{DIGEST}")


@pytest.mark.parametrize("segment", ["SHA256", "unknown", "sha-256"])
def test_D3_a_segment_that_is_no_function_is_malformed(segment: str) -> None:
    with pytest.raises(InvalidArgument, match="malformed"):
        parse_read_name(f"blobs/{segment}/{DIGEST}")


def test_D3_a_hash_of_another_function_than_stated_is_invalid() -> None:
    with pytest.raises(InvalidArgument, match="SHA1"):
        parse_read_name(f"blobs/sha1/{DIGEST}")


def test_Q_BUCK5_an_instance_says_what_a_hash_is_of() -> None:
    assert parse_read_name(f"buck2/blobs/{DIGEST}", INSTANCES).digest.function is BLAKE3
    name = f"buck2/uploads/id/blobs/{DIGEST}"
    assert parse_write_name(name, INSTANCES).digest.function is BLAKE3
    assert parse_read_name(f"main/blobs/{DIGEST}", INSTANCES).digest.function is SHA256
    with pytest.raises(InvalidArgument, match="SHA256 is not served"):
        parse_read_name(f"buck2/blobs/sha256/{DIGEST}", INSTANCES)


def test_G6_an_instance_that_is_not_served_is_invalid() -> None:
    for parse, name in (
        (parse_read_name, f"other/blobs/{DIGEST}"),
        (parse_write_name, f"other/uploads/id/blobs/{DIGEST}"),
    ):
        with pytest.raises(InvalidArgument, match="no instance 'other'"):
            parse(name, INSTANCES)


def test_D3_a_redundant_function_is_taken_in_compressed_names_too() -> None:
    assert parse_read_name(f"compressed-blobs/zstd/sha256/{DIGEST}").digest == DIGEST


@pytest.mark.parametrize("word", sorted(RESERVED_SEGMENTS - {"blobs", "uploads"}))
def test_G7_a_reserved_word_ends_the_instance_name(word: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_read_name(f"main/{word}/blobs/{DIGEST}")


@pytest.mark.parametrize("compressor", ["deflate", "brotli", "identity", "ZSTD", "zst", ""])
def test_BS4_a_compressor_that_is_not_served_is_named_with_those_that_are(compressor: str) -> None:
    for parse, prefix in ((parse_read_name, ""), (parse_write_name, "uploads/id/")):
        with pytest.raises(InvalidArgument, match=f"'{compressor}' is not served; it serves zstd"):
            parse(f"{prefix}compressed-blobs/{compressor}/{DIGEST}")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "blobs",
        "a//blobs/" + str(DIGEST),
        f"/blobs/{DIGEST}",
        f"blobs/{DIGEST.hash}",
        f"blobs/{DIGEST.hash}/",
        f"blobs/{DIGEST.hash}/+1",
        f"blobs/{DIGEST.hash}/\u0661",
        f"blobs/{DIGEST.hash}/" + "1" * 100,
        f"compressed-blobs/{DIGEST}",
        "compressed-blobs",
        "compressed-blobs/zstd",
        f"compressed-blobs/zstd/{DIGEST.hash}",
        f"compressed-blobs/zstd/blobs/{DIGEST}",
        f"uploads/id/compressed-blobs/zstd/{DIGEST.hash}",
        f"uploads/blobs/{DIGEST}",
        f"uploads//blobs/{DIGEST}",
        "x" * (LONGEST_NAME + 1),
    ],
)
def test_reliability_B7_BS5_malformed_names_are_invalid(name: str) -> None:
    for parse in (parse_read_name, parse_write_name):
        with pytest.raises(InvalidArgument):
            parse(name)
