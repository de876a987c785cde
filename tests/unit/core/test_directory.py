"""Directories from outside: nothing unsafe passes (IN13, IN14, reliability B12)."""

import pytest

from reapi.core.digest import digest_of
from reapi.core.directory import parse_directory
from reapi.core.errors import InvalidArgument
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Directory

DIGEST = digest_of(b"x").to_message()
UNSAFE_NAMES = ["", ".", "..", "a/b", "/", "a\0b", "n" * 256, "é" * 128]


def parse(directory: Directory) -> Directory:
    data = directory.SerializeToString()
    return parse_directory(data, digest_of(data))


def test_a_good_directory_is_read() -> None:
    directory = Directory(
        files=[{"name": "b", "digest": DIGEST}, {"name": "a" * 255, "digest": DIGEST}],
        directories=[{"name": "...", "digest": DIGEST}],
        symlinks=[{"name": "link", "target": "../anywhere"}],
    )
    assert parse(directory) == directory
    assert parse(Directory()) == Directory()


@pytest.mark.parametrize("name", UNSAFE_NAMES, ids=repr)
def test_reliability_B12_IN13_unsafe_names_are_invalid_in_every_list(name: str) -> None:
    node = {"name": name, "digest": DIGEST}
    for directory in (
        Directory(files=[node]),
        Directory(directories=[node]),
        Directory(symlinks=[{"name": name, "target": "x"}]),
    ):
        with pytest.raises(InvalidArgument, match="safe name"):
            parse(directory)


def test_reliability_B12_IN13_names_are_unique_across_the_lists() -> None:
    node = {"name": "same", "digest": DIGEST}
    link = {"name": "same", "target": "x"}
    for directory in (
        Directory(files=[node, node]),
        Directory(files=[node], directories=[node]),
        Directory(directories=[node], symlinks=[link]),
    ):
        with pytest.raises(InvalidArgument, match="twice"):
            parse(directory)


def test_D5_digests_inside_are_of_the_same_function() -> None:
    for digest in ({}, {"hash": "0" * 40, "size_bytes": 1}, {"hash": "?" * 64, "size_bytes": 1}):
        with pytest.raises(InvalidArgument, match="'f'"):
            parse(Directory(files=[{"name": "f", "digest": digest}]))


@pytest.mark.parametrize("target", ["", "a\0", "t" * 4096])
def test_a_symlink_needs_a_usable_target(target: str) -> None:
    with pytest.raises(InvalidArgument, match="target"):
        parse(Directory(symlinks=[{"name": "link", "target": target}]))


@pytest.mark.parametrize(
    "data", [b"\xff", b"\x0a\x03\x0a\x01\xff"], ids=["no message", "not UTF-8"]
)
def test_reliability_B12_bytes_that_are_no_directory_are_invalid(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="not a Directory"):
        parse_directory(data, digest_of(data))


def test_reliability_B12_a_duplicate_among_very_many_is_found() -> None:
    directory = Directory(files=[{"name": str(n), "digest": DIGEST} for n in range(100_000)])
    directory.files.add(name="0", digest=DIGEST)
    with pytest.raises(InvalidArgument, match="twice"):
        parse(directory)
