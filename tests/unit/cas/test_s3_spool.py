"""Bytes go through a ring of a file: whole, in order, and without a trace afterwards."""

import hashlib
import os
from pathlib import Path

import pytest

from reapi.cas.objects.s3_spool import Spool
from reapi.core.errors import Unavailable


def _read(spool: Spool, position: int, size_bytes: int) -> bytes:
    data = bytearray(size_bytes)
    spool.read(position, memoryview(data))
    return bytes(data)


def test_bytes_come_out_as_they_went_in_round_and_round(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    hasher = hashlib.sha256()
    data = os.urandom(10_000)
    for start in range(0, len(data), 700):
        chunk = data[start : start + 700]
        spool.write(start, [chunk[:100], memoryview(chunk)[100:]], hasher)
        assert _read(spool, start, len(chunk)) == chunk
    assert hasher.digest() == hashlib.sha256(data).digest()


def test_nothing_is_to_be_seen_of_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    spool.write(0, [b"x" * 1000], None)
    assert list(tmp_path.iterdir()) == []
    spool.clear()


def test_a_spool_that_lost_its_bytes_gives_none(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    spool.write(0, [b"x" * 10], None)
    spool.clear()
    with pytest.raises(EOFError):
        _read(spool, 0, 10)


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nowhere"):
        Spool(tmp_path / "nowhere", 1000)
