"""What the processes of one data directory know together."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reapi.cas.shared_memory import SharedMemory
from reapi.core.digest import digest_of

STORED = digest_of(b"stored")
OTHER = digest_of(b"other")


@pytest.fixture
def members(tmp_path: Path) -> Iterator[list[SharedMemory]]:
    with SharedMemory(tmp_path / "m", 0, 2) as first, SharedMemory(tmp_path / "m", 1, 2) as second:
        yield [first, second]


def test_a_filter_that_is_not_complete_excludes_nothing(members: list[SharedMemory]) -> None:
    for member in members:
        assert member.filter.possible_keys([STORED.key]) == [STORED.key]
        assert member.filter.possible_texts([STORED.hash.encode()], 0) == [STORED.hash.encode()]


def test_what_one_process_adds_to_a_complete_filter_is_possible_for_all(
    members: list[SharedMemory],
) -> None:
    members[0].filter.complete()
    members[1].filter.add_keys([STORED.key])
    texts = [b"--" + OTHER.hash.encode(), b"--" + STORED.hash.encode()]
    for member in members:
        assert member.filter.possible_keys([OTHER.key, STORED.key]) == [STORED.key]
        assert member.filter.possible_texts(texts, 2) == texts[1:]


def test_keys_whose_bits_share_a_byte_are_told_apart(members: list[SharedMemory]) -> None:
    hash_filter = members[0].filter
    hash_filter.complete()
    keys = [b"\1\0\0\0" + bytes([nibble << 4]) + bytes(28) for nibble in range(16)]
    hash_filter.add_keys(keys[::2])
    assert hash_filter.possible_keys(keys) == keys[::2]


def test_changes_of_all_processes_count(members: list[SharedMemory]) -> None:
    seen = {members[0].version(STORED.key)}
    for member in members * 2:
        member.changed(STORED.key)
        versions = {each.version(STORED.key) for each in members}
        assert len(versions) == 1
        assert not versions & seen
        seen |= versions
    assert members[0].version(OTHER.key) == 0
    members[0].lost()
    members[1].lost()
    assert [member.losses for member in members] == [2, 2]


def test_room_reserved_by_a_killed_process_is_free_when_it_comes_back(
    tmp_path: Path, members: list[SharedMemory]
) -> None:
    members[0].reserve(5)
    members[1].reserve(7)
    assert members[0].reserved_bytes == 12
    with SharedMemory(tmp_path / "m", 1, 2) as again:
        assert again.reserved_bytes == members[0].reserved_bytes == 5


def test_the_filter_tells_hashes_apart_that_begin_alike(members: list[SharedMemory]) -> None:
    hash_filter = members[0].filter
    hash_filter.complete()
    stored = digest_of(b"stored").key
    alike = stored[:5] + bytes(byte ^ 0xFF for byte in stored[5:])
    hash_filter.add_keys([stored])
    assert hash_filter.possible_keys([stored, alike]) == [stored]


def test_the_filter_says_of_a_text_what_it_says_of_the_key(members: list[SharedMemory]) -> None:
    hash_filter = members[0].filter
    hash_filter.complete()
    keys = [digest_of(bytes([number])).key for number in range(200)]
    hash_filter.add_keys(keys[::2])
    texts = [b"--" + key[1:].hex().encode() for key in keys]
    assert hash_filter.possible_texts(texts, 2) == texts[::2]
