"""A file holds what was written, whether it went through the page cache or past it."""

import errno
import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reapi.cas.objects import disk_writer, incoming_file
from reapi.cas.objects.disk import DiskObjects
from reapi.cas.objects.incoming_file import BUFFER_BYTES, IncomingFile
from reapi.core.digest import Digest


def content(size_bytes: int) -> bytes:
    return bytes(range(251)) * (size_bytes // 251) + bytes(size_bytes % 251)


def write(path: Path, data: bytes, chunk_bytes: int, *, direct: bool = True) -> None:
    file = IncomingFile(path, direct=direct)
    try:
        for start in range(0, len(data), chunk_bytes):
            file.write(memoryview(data)[start : start + chunk_bytes])
        file.finish()
    finally:
        file.close()


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("chunk_bytes", [1 << 16, 100_003, BUFFER_BYTES, 3 * BUFFER_BYTES + 1])
@pytest.mark.parametrize("over", [-1, 0, 1, 511, 4096])
def test_all_that_was_written_is_there(
    open_path: Path, over: int, chunk_bytes: int, direct: bool
) -> None:
    data = content(2 * BUFFER_BYTES + over)
    write(open_path / "file", data, chunk_bytes, direct=direct)
    assert (open_path / "file").read_bytes() == data


def test_a_file_system_that_cannot_do_it_is_written_to_as_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, command: int, argument: int = 0) -> int:
        if argument & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no direct input and output here")
        return 0

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    data = content(BUFFER_BYTES + 1)
    write(tmp_path / "file", data, 1 << 16)
    assert (tmp_path / "file").read_bytes() == data


def test_a_part_that_ends_within_a_block_is_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is one where the file system has let us begin, and takes nothing."""
    write_in_full = os.write
    parts = iter((BUFFER_BYTES, 100))

    def write_a_part(descriptor: int, data: Any) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            part = next(parts, 0)
            if not part:
                raise OSError(errno.EINVAL, "not at the beginning of a block")
            before = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, before & ~os.O_DIRECT)
            written = write_in_full(descriptor, memoryview(data)[:part])
            fcntl.fcntl(descriptor, fcntl.F_SETFL, before)
            return written
        return write_in_full(descriptor, data)

    monkeypatch.setattr(incoming_file.os, "write", write_a_part)
    data = content(3 * BUFFER_BYTES + 7)
    write(tmp_path / "file", data, 100_003)
    assert (tmp_path / "file").read_bytes() == data


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(incoming_file.os, "write", refuse)
    with pytest.raises(OSError, match="no space"):
        write(tmp_path / "file", content(BUFFER_BYTES), 1 << 16)


@pytest.mark.parametrize(
    ("size_bytes", "survives_power_loss", "is_direct"),
    [(16 << 20, True, True), ((16 << 20) - 1, True, False), (16 << 20, False, False)],
)
async def test_large_blobs_go_past_the_page_cache_where_the_disk_is_waited_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size_bytes: int,
    survives_power_loss: bool,
    is_direct: bool,
) -> None:
    made = []

    def make(path: Path, *, direct: bool) -> IncomingFile:
        made.append(direct)
        return IncomingFile(path, direct=direct)

    monkeypatch.setattr(disk_writer, "IncomingFile", make)
    with ThreadPoolExecutor(1) as threads:
        store = DiskObjects(tmp_path, threads, survives_power_loss=survives_power_loss)
        digest = Digest("0" * 64, size_bytes)
        writer = await store.create(digest)
        await writer.write([b"its beginning"], digest.function.new())
        await writer.discard()
    assert made == [is_direct]
