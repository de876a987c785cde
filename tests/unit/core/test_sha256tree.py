"""SHA256TREE against its official vectors, and against its definition in the plainest words."""

import hashlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reapi.core.sha256tree import Sha256Tree, _nodes

VECTORS = [
    (int(length), hash_text)
    for length, hash_text in map(
        str.split, Path(__file__).with_name("sha256tree_vectors.txt").read_text().splitlines()
    )
]
"""Of remote-apis: the bytes 0 to 250, again and again, up to a length."""

PERIOD = bytes(range(251))


def content(length: int) -> bytes:
    return (PERIOD * (length // len(PERIOD) + 1))[:length]


def hash_of(data: bytes) -> str:
    hasher = Sha256Tree()
    hasher.update(data)
    return hasher.hexdigest()


@pytest.mark.parametrize(("length", "hash_text"), VECTORS)
def test_D9_the_official_vectors(length: int, hash_text: str) -> None:
    assert hash_of(content(length)) == hash_text


@pytest.mark.parametrize("length", [0, 1, 1023, 1024])
def test_D9_a_blob_of_one_chunk_is_hashed_by_plain_sha256(length: int) -> None:
    assert hash_of(content(length)) == hashlib.sha256(content(length)).hexdigest()


def test_a_hash_can_be_asked_for_on_the_way() -> None:
    hasher = Sha256Tree()
    for length, following in pairwise([0, *(length for length, _ in VECTORS)]):
        assert hasher.hexdigest() == hash_of(content(length))
        hasher.update(content(following)[length:])
    assert hasher.hexdigest() == VECTORS[-1][1]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_like_object_is_taken(kind: type) -> None:
    hasher = Sha256Tree()
    hasher.update(kind(content(5000)))
    assert hasher.digest().hex() == hash_of(content(5000))


def by_definition(data: bytes) -> bytes:
    """The tree from its root downwards (D9)."""
    if len(data) <= 1024:
        return hashlib.sha256(data).digest()
    left = 1024
    while 2 * left < len(data):
        left *= 2
    return _nodes(by_definition(data[:left]) + by_definition(data[left:]))


@given(st.integers(0, 600 * 1024), st.lists(st.integers(0, 600 * 1024), max_size=5))
@example(512 * 1024, [])
@example(512 * 1024 + 1, [512 * 1024])
@example(513 * 1024, [1, 1024, 1025])
@settings(deadline=None, max_examples=25, derandomize=True)
def test_D9_the_tree_is_that_of_the_definition_however_the_bytes_come(
    length: int, cuts: list[int]
) -> None:
    data = content(length)
    hasher = Sha256Tree()
    for start, end in pairwise(sorted({0, length, *(cut for cut in cuts if cut < length)})):
        hasher.update(data[start:end])
    assert hasher.digest() == by_definition(data)


def test_what_is_held_does_not_grow_with_the_blob() -> None:
    hasher = Sha256Tree()
    for _ in range(4):
        hasher.update(bytes(1 << 20))
    levels = hasher._levels
    assert len(levels) <= 5
    assert all(len(level) < 16 << 10 for level in levels)
