"""Large files leave the page cache a while after they were written; all are whole."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reapi.cas.objects import disk, incoming_file, page_cache
from reapi.cas.objects.disk import DiskObjects
from reapi.cas.objects.incoming_file import IncomingFile
from reapi.cas.objects.page_cache import RecentFiles
from reapi.core.digest import digest_of

MIB = 1 << 20
STAYING, LEAVING, STEP = 4 * MIB, 8 * MIB, MIB
"""What the tests have in place of hundreds of MiB."""

Advice = list[tuple[str, int, int]]


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_cache, "LARGE_BYTES", MIB)
    monkeypatch.setattr(disk, "LARGE_BYTES", MIB)
    monkeypatch.setattr(page_cache, "STAYING_BYTES", STAYING)
    monkeypatch.setattr(page_cache, "LEAVING_BYTES", LEAVING)
    monkeypatch.setattr(incoming_file, "_STEP_BYTES", STEP)


@pytest.fixture
def advice(monkeypatch: pytest.MonkeyPatch) -> Advice:
    """What the kernel was told to forget: the name of a file, where it begins and how much."""
    told: Advice = []
    advise = os.posix_fadvise

    def note(descriptor: int, start: int, length: int, what: int) -> None:
        assert what == os.POSIX_FADV_DONTNEED
        told.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")).name, start, length))
        advise(descriptor, start, length, what)

    monkeypatch.setattr(page_cache.os, "posix_fadvise", note)
    return told


def content(size_bytes: int) -> bytes:
    return bytes(range(251)) * (size_bytes // 251) + bytes(size_bytes % 251)


def write(path: Path, data: bytes, chunk_bytes: int, *, leaves_cache: bool) -> None:
    file = IncomingFile(path, leaves_cache=leaves_cache)
    try:
        for start in range(0, len(data), chunk_bytes):
            file.write(memoryview(data)[start : start + chunk_bytes])
    finally:
        file.close()


def add_files(recent: RecentFiles, folder: Path, count: int) -> None:
    for number in range(count):
        path = folder / str(number)
        path.write_bytes(bytes(MIB))
        recent.add(path, MIB)


@pytest.mark.parametrize("leaves_cache", [True, False])
@pytest.mark.parametrize("chunk_bytes", [100_003, STEP, 3 * STEP + 1])
def test_all_that_was_written_is_there(
    tmp_path: Path, chunk_bytes: int, leaves_cache: bool
) -> None:
    data = content(2 * LEAVING + 7)
    write(tmp_path / "file", data, chunk_bytes, leaves_cache=leaves_cache)
    assert (tmp_path / "file").read_bytes() == data


def test_a_disk_that_takes_a_part_is_given_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_in_full = os.write

    def write_a_part(descriptor: int, data: Any) -> int:
        return write_in_full(descriptor, memoryview(data)[:100_000])

    monkeypatch.setattr(incoming_file.os, "write", write_a_part)
    data = content(LEAVING + 7)
    write(tmp_path / "file", data, STEP, leaves_cache=True)
    assert (tmp_path / "file").read_bytes() == data


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(incoming_file.os, "write", refuse)
    with pytest.raises(OSError, match="no space"):
        write(tmp_path / "file", b"data", 4, leaves_cache=True)


def test_the_end_of_a_long_file_stays_and_what_is_further_back_is_named_several_times(
    tmp_path: Path, advice: Advice
) -> None:
    size_bytes = 2 * LEAVING
    write(tmp_path / "file", content(size_bytes), STEP, leaves_cache=True)
    assert max(start + length for _, start, length in advice) == size_bytes - STAYING
    for middle in range(STEP // 2, size_bytes - LEAVING, STEP):
        named = sum(start <= middle < start + length for _, start, length in advice)
        assert named == (LEAVING - STAYING) // STEP


def test_a_file_that_is_to_stay_does(tmp_path: Path, advice: Advice) -> None:
    write(tmp_path / "file", content(2 * LEAVING), STEP, leaves_cache=False)
    assert advice == []


def test_the_files_before_the_last_ones_are_named_until_they_are_far_behind(
    tmp_path: Path, advice: Advice
) -> None:
    recent = RecentFiles()
    add_files(recent, tmp_path, 12)
    names = [name for name, start, length in advice if (start, length) == (0, 0)]
    assert len(names) == len(advice)
    assert [names.count(str(number)) for number in range(12)] == [5] * 4 + [4, 3, 2, 1] + [0] * 4


def test_files_that_compression_made_small_are_not_remembered(
    tmp_path: Path, advice: Advice
) -> None:
    recent = RecentFiles()
    for number in range(100):
        path = tmp_path / str(number)
        path.touch()
        recent.add(path, MIB - 1)
    assert (advice, len(recent._files)) == ([], 0)


def test_a_file_that_was_evicted_is_no_error(tmp_path: Path, advice: Advice) -> None:
    recent = RecentFiles()
    add_files(recent, tmp_path, 4)
    (tmp_path / "0").unlink()
    last = tmp_path / "last"
    last.touch()
    recent.add(last, 2 * MIB)
    assert [name for name, _, _ in advice] == ["1"]


def test_a_file_that_cannot_be_opened_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, advice: Advice
) -> None:
    recent = RecentFiles()
    add_files(recent, tmp_path, 4)

    def refuse(path: Path, flags: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(page_cache.os, "open", refuse)
    recent.add(tmp_path / "last", MIB)
    assert advice == []


@pytest.mark.parametrize("survives_power_loss", [True, False])
@pytest.mark.parametrize(
    ("size_bytes", "is_cache", "leaves"),
    [(MIB, False, True), (MIB - 1, False, False), (MIB, True, False)],
)
async def test_a_store_lets_large_objects_leave_unless_it_is_a_cache(
    tmp_path: Path,
    advice: Advice,
    size_bytes: int,
    is_cache: bool,
    leaves: bool,
    survives_power_loss: bool,
) -> None:
    data = content(size_bytes)
    digest = digest_of(data)
    with ThreadPoolExecutor(1) as threads:
        store = DiskObjects(
            tmp_path, threads, is_cache=is_cache, survives_power_loss=survives_power_loss
        )
        for _ in range(6):
            writer = await store.create(digest)
            await writer.write([data], digest.function.new())
            await writer.publish()
    assert bool(advice) is leaves
