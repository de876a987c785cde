"""ByteStream resource names."""

import pytest

from reapi.core.digest import digest_of
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


def test_D3_a_redundant_function_is_taken_and_an_unknown_one_is_not() -> None:
    assert parse_read_name(f"blobs/sha256/{DIGEST}").digest == DIGEST
    assert parse_read_name(f"compressed-blobs/zstd/sha256/{DIGEST}").digest == DIGEST
    with pytest.raises(InvalidArgument):
        parse_read_name(f"blobs/blake3/{DIGEST}")


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
def test_BS5_malformed_names_are_invalid(name: str) -> None:
    for parse in (parse_read_name, parse_write_name):
        with pytest.raises(InvalidArgument):
            parse(name)
