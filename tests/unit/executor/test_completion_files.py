"""Completions on disk: whole or not at all, bounded, and of no more use after a while."""

import os
from pathlib import Path

import pytest

from reapi.core.errors import ResourceExhausted
from reapi.executor import completion_files
from reapi.executor.completion_files import CompletionFiles
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ExecuteResponse
from reapi.protos.reapi.worker.v1.worker_pb2 import Completion, LeaseKey


def completion(number: int, message: str = "") -> Completion:
    key = LeaseKey(operation_name=f"operations/shard/{number}", epoch=number)
    return Completion(key=key, response=ExecuteResponse(message=message))


def test_what_was_written_is_loaded_by_the_next_life_until_it_is_removed(tmp_path: Path) -> None:
    files = CompletionFiles(tmp_path)
    assert files.load() == []
    for number in range(3):
        files.write(completion(number))
    files.write(completion(1, "a second time"))
    files.remove(completion(0).key)
    files.remove(LeaseKey(operation_name="operations/unknown", epoch=1))
    again = CompletionFiles(tmp_path)
    loaded = again.load()
    assert sorted(one.key.epoch for one in loaded) == [1, 2]
    assert not any(one.response.message for one in loaded)
    for one in loaded:
        again.remove(one.key)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "empty", "other name", "flipped", "unfinished"])
def test_what_is_damaged_is_dropped_and_the_rest_is_there(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    files = CompletionFiles(tmp_path)
    files.write(completion(1, "x" * 100))
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-10])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other name":
        path.rename(path.with_name("0" * 64))
    elif damage == "flipped":
        content[-1] ^= 1
        path.write_bytes(content)
    else:
        path.rename(path.with_suffix(".unfinished"))
    files.write(completion(2))
    assert CompletionFiles(tmp_path).load() == [completion(2)]
    assert len(list(tmp_path.iterdir())) == 1
    assert ("damaged" in caplog.text) == (damage != "unfinished")


def test_a_result_that_is_too_old_is_dropped(tmp_path: Path) -> None:
    files = CompletionFiles(tmp_path)
    files.write(completion(1))
    (path,) = tmp_path.iterdir()
    os.utime(path, (1_000_000, 1_000_000))
    assert CompletionFiles(tmp_path).load() == []
    assert not path.exists()


@pytest.mark.parametrize("bound", ["_MOST_FILES", "_MOST_BYTES", "_LARGEST_FILE_BYTES"])
def test_number_and_size_are_bounded(
    tmp_path: Path, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = CompletionFiles(tmp_path)
    files.write(completion(1))
    monkeypatch.setattr(completion_files, bound, 1)
    with pytest.raises(ResourceExhausted, match="too much is kept"):
        files.write(completion(2))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_takes_nothing_leaves_nothing_half_written(tmp_path: Path) -> None:
    files = CompletionFiles(tmp_path)
    (tmp_path / f"{completion_files._name(completion(1).key)}.unfinished").mkdir()
    with pytest.raises(ResourceExhausted, match="cannot write"):
        files.write(completion(1))
    files.remove(completion(1).key)
    files.write(completion(2))
