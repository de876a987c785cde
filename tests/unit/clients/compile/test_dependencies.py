"""The compiler's own word on what it reads."""

import asyncio
import os
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from reapi.clients.compile import dependencies
from reapi.clients.compile.dependencies import find_dependencies
from reapi.clients.compile.model import Family
from reapi.core.errors import FailedPrecondition, ResourceExhausted

ENVIRONMENT = dict(os.environ)


async def test_paths_are_told_as_the_compiler_names_them_each_once(
    family: Family, tmp_path: Path
) -> None:
    for name in ("a b.h", "c#$d.h"):
        (tmp_path / name).touch()
    text = "".join(f'#include "{name}"\n' for name in ("a b.h", "c#$d.h", "./a b.h", "a b.h"))
    (tmp_path / "main.c").write_text(text)
    argv = [family, "-nostdinc", "-M", "main.c"]
    found = await find_dependencies(argv, str(tmp_path), ENVIRONMENT)
    assert found.failure is None
    assert list(dict.fromkeys(map(os.path.normpath, found.paths))) == ["main.c", "a b.h", "c#$d.h"]


async def test_a_compiler_that_fails_says_why(family: Family, tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text('#include "absent.h"\n')
    found = await find_dependencies([family, "-M", "main.c"], str(tmp_path), ENVIRONMENT)
    assert found.paths == ()
    assert found.failure is not None
    assert found.failure.exit_code == 1
    assert b"absent.h" in found.failure.stderr


async def test_a_program_that_cannot_be_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="cannot run"):
        await find_dependencies(["/nowhere/gcc"], str(tmp_path), ENVIRONMENT)


async def test_a_program_that_prints_without_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "_LARGEST_OUTPUT_BYTES", 100_000)
    with pytest.raises(ResourceExhausted, match="yes"):
        await find_dependencies(["yes"], str(tmp_path), ENVIRONMENT)


async def test_a_program_is_killed_with_more_in_its_pipe_than_anybody_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "_LARGEST_OUTPUT_BYTES", 100_000)
    script = (
        "import fcntl, os\nfcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20)\nos.write(1, bytes(1 << 20))"
    )
    with pytest.raises(ResourceExhausted, match="prints more"):
        await find_dependencies([sys.executable, "-c", script], str(tmp_path), ENVIRONMENT)


async def test_cancelling_kills_all_that_was_started(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "started")
    script = 'sh -c "echo \\$\\$ > started; exec sleep 1000" & wait'
    argv = ["sh", "-c", script]
    task = asyncio.create_task(find_dependencies(argv, str(tmp_path), ENVIRONMENT))
    pid = int(await asyncio.to_thread((tmp_path / "started").read_text))
    descriptor = os.pidfd_open(pid)
    try:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        is_over = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, is_over.set)
        await is_over.wait()
        asyncio.get_running_loop().remove_reader(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("steps", range(12))
async def test_cancelling_at_any_moment_of_the_start_leaves_nothing(
    tmp_path: Path, steps: int
) -> None:
    argv = ["sh", "-c", "sleep 1000 & wait"]
    task = asyncio.create_task(find_dependencies(argv, str(tmp_path), ENVIRONMENT))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    left = [
        pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_in(tmp_path, pid)
    ]
    for pid in left:
        await asyncio.to_thread(wait_for_end, pid)


def is_in(directory: Path, pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(directory)
    except OSError:
        return False


def wait_for_end(pid: int) -> None:
    """A killed process may take a moment."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            assert select.select([descriptor], [], [], 10)[0], "it was not killed"
        finally:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)
