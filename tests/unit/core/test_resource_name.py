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

DIGEST = digest_of(b"x")


@pytest.mark.parametrize("instance_name", ["", "main", "a/b/c", "..", "with space"])
def test_BS1_names_round_trip(instance_name: str) -> None:
    assert parse_read_name(read_name(instance_name, DIGEST)) == (instance_name, DIGEST)
    name = write_name(instance_name, "id", DIGEST)
    assert parse_write_name(name) == (instance_name, "id", DIGEST)


def test_BS1_an_empty_instance_has_no_slash() -> None:
    assert read_name("", DIGEST) == f"blobs/{DIGEST}"
    assert write_name("", "id", DIGEST) == f"uploads/id/blobs/{DIGEST}"


def test_BS2_anything_may_follow_a_write_name_but_not_a_read_name() -> None:
    assert parse_write_name(f"uploads/id/blobs/{DIGEST}/any/thing//").digest == DIGEST
    with pytest.raises(InvalidArgument):
        parse_read_name(f"blobs/{DIGEST}/any")


def test_D3_a_redundant_function_is_taken_and_an_unknown_one_is_not() -> None:
    assert parse_read_name(f"blobs/sha256/{DIGEST}").digest == DIGEST
    with pytest.raises(InvalidArgument):
        parse_read_name(f"blobs/blake3/{DIGEST}")


@pytest.mark.parametrize("word", sorted(RESERVED_SEGMENTS - {"blobs", "uploads"}))
def test_G7_a_reserved_word_ends_the_instance_name(word: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_read_name(f"main/{word}/blobs/{DIGEST}")


def test_BS4_compressed_names_say_which_compressor_is_not_served() -> None:
    with pytest.raises(InvalidArgument, match="zstd"):
        parse_read_name(f"compressed-blobs/zstd/{DIGEST}")
    with pytest.raises(InvalidArgument, match="zstd"):
        parse_write_name(f"uploads/id/compressed-blobs/zstd/{DIGEST}")


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
        f"uploads/blobs/{DIGEST}",
        f"uploads//blobs/{DIGEST}",
        "x" * (LONGEST_NAME + 1),
    ],
)
def test_BS5_malformed_names_are_invalid(name: str) -> None:
    for parse in (parse_read_name, parse_write_name):
        with pytest.raises(InvalidArgument):
            parse(name)
