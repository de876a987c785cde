"""Persistent workers: real tools that stay warm between actions, and what ends them."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.rpc import code_pb2

from reapi.core.digest import Digest
from reapi.core.errors import error_of
from reapi.executor.action import TIMEOUT_MESSAGE
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes import persistent_tool
from tests.unit.executor.harness import Harness, Tool, add_lease, needs_root, open_harness

TOOL = Path(persistent_tool.__file__).read_bytes()
IDLE_SECONDS = 1000.0


@pytest.fixture
async def harness(reachable_path: Path) -> AsyncIterator[Harness]:
    async with open_harness(
        reachable_path, separate_uid=False, persistent_worker_idle_seconds=IDLE_SECONDS
    ) as opened:
        yield opened


async def _work(
    harness: Harness,
    *lines: str,
    key: str = "key",
    tool: bytes = TOOL,
    timeout_seconds: float = 30,
    extra: dict[str, bytes] | None = None,
    **command: object,
) -> re_pb2.ExecuteResponse:
    tree = {
        "tool.py": Tool(tool),
        "flags": "\n".join(lines).encode(),
        **(extra or {}),
    }
    return await harness.run(
        ["/usr/bin/env", "python3", "tool.py", "@flags"],
        tree,
        platform={"persistentWorkerKey": key},
        timeout_seconds=timeout_seconds,
        **command,
    )


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def _said(harness: Harness, *lines: str, **options: object) -> str:
    response = await _work(harness, *lines, **options)  # type: ignore[arg-type]
    assert response.status.code == code_pb2.OK
    return harness.stderr(response).strip()


async def test_actions_of_one_key_are_done_by_one_process(harness: Harness) -> None:
    counts = [await _said(harness, "count", f"say {number}") for number in range(3)]
    assert counts == ["1\n0", "2\n1", "3\n2"]


@needs_root
async def test_a_worker_in_bubblewrap_with_a_uid_of_its_own_stays_warm(
    reachable_path: Path,
) -> None:
    async with open_harness(
        reachable_path,
        separate_uid=True,
        sandbox="bubblewrap",
        persistent_worker_idle_seconds=IDLE_SECONDS,
    ) as harness:
        counts = [await _said(harness, "count", "write out x") for _ in range(3)]
        assert counts == ["1", "2", "3"]


async def test_what_it_says_writes_and_returns_is_the_result(harness: Harness) -> None:
    await _work(harness)
    response = await _work(harness, "say careful", "write out text", "exit 3", output_paths=["out"])
    assert response.result.exit_code == 3
    assert harness.stderr(response) == "careful\n"
    assert harness.stdout(response) == ""
    (file,) = response.result.output_files
    assert harness.store.blobs[Digest(file.digest.hash, file.digest.size_bytes)] == b"text"


async def test_outputs_of_one_action_are_not_there_for_the_next(harness: Harness) -> None:
    await _work(harness, "write out text", "count")
    assert "out" not in (await _said(harness, "inputs", "count")).split()
    response = await _work(harness, "count", output_paths=["out"])
    assert not response.result.output_files
    assert harness.stderr(response) == "3\n"


async def test_inputs_are_those_of_each_action(harness: Harness) -> None:
    await _work(harness, extra={"a": b"1"})
    said = await _said(harness, "inputs", "count", extra={"b": b"2"})
    assert said.split() == ["b", "flags", "tool.py", "2"]


@pytest.mark.parametrize(
    "options",
    [
        {"key": "other"},
        {"tool": TOOL + b"\n# a newer one\n"},
        {
            "environment_variables": [
                re_pb2.Command.EnvironmentVariable(name="LANG", value="C.UTF-8")
            ]
        },
    ],
    ids=["key", "tool", "environment"],
)
async def test_another_kind_of_action_has_a_worker_of_its_own(
    harness: Harness, options: dict[str, object]
) -> None:
    await _work(harness)
    assert await _said(harness, "count", **options) == "1"
    assert await _said(harness, "count") == "1"


async def test_any_other_action_ends_the_worker_of_its_slot(harness: Harness) -> None:
    pid = int(await _said(harness, "pid"))
    assert _exists(pid)
    await harness.run(["true"])
    assert not _exists(pid)


async def test_a_slot_that_closes_leaves_no_worker(reachable_path: Path) -> None:
    async with open_harness(
        reachable_path, separate_uid=False, persistent_worker_idle_seconds=IDLE_SECONDS
    ) as harness:
        pid = int(await _said(harness, "pid"))
    assert not _exists(pid)


async def test_an_idle_worker_ends_after_its_time(reachable_path: Path) -> None:
    async with open_harness(
        reachable_path, separate_uid=False, persistent_worker_idle_seconds=1e-6
    ) as harness:
        pid = int(await _said(harness, "pid"))
        reaper = harness.slot.persistent_workers._reaper
        assert reaper is not None
        await reaper
        assert not _exists(pid)
        assert await _said(harness, "count") == "1"


async def test_without_idle_time_there_are_no_workers(reachable_path: Path) -> None:
    async with open_harness(reachable_path, separate_uid=False) as harness:
        assert await _said(harness, "count") == "0"


@pytest.mark.parametrize("word", ["die", "garbage", "twice"])
async def test_a_worker_that_fails_is_replaced_by_an_ordinary_run(
    harness: Harness, word: str
) -> None:
    response = await _work(harness, "write out text", "count", word, output_paths=["out"])
    assert response.result.exit_code == 0
    assert harness.stderr(response) == "0\n"
    assert len(response.result.output_files) == 1
    assert await _said(harness, "count") == "1"


async def test_a_kind_of_worker_that_always_fails_is_not_started_again(harness: Harness) -> None:
    for _ in range(3):
        await _work(harness, "die")
    assert await _said(harness, "count") == "0"
    assert await _said(harness, "count", key="other") == "1"


async def test_a_command_without_a_flag_file_runs_as_any_other(harness: Harness) -> None:
    response = await harness.run(["echo", "hello"], platform={"persistentWorkerKey": "key"})
    assert harness.stdout(response) == "hello\n"


async def test_a_tool_that_is_not_there_is_said_as_for_any_command(harness: Harness) -> None:
    response = await harness.run(
        ["./absent", "@flags"], {"flags": b""}, platform={"persistentWorkerKey": "key"}
    )
    assert response.result.exit_code == 127


async def test_a_timeout_ends_the_worker_and_is_said_as_always(harness: Harness) -> None:
    pid = int(await _said(harness, "pid"))
    response = await _work(harness, "hang", timeout_seconds=0.2)
    assert response.status.code == code_pb2.DEADLINE_EXCEEDED
    assert error_of(response.status).message == TIMEOUT_MESSAGE
    assert not _exists(pid)
    assert await _said(harness, "count") == "1"


async def test_a_cancelled_action_ends_the_worker(harness: Harness, tmp_path: Path) -> None:
    pid = int(await _said(harness, "pid"))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = re_pb2.Command(arguments=["/usr/bin/env", "python3", "tool.py", "@flags"])
    tree = {"tool.py": Tool(TOOL), "flags": f"touch_fifo {fifo}\nhang".encode()}
    platform = {"persistentWorkerKey": "key"}
    action = harness.action(add_lease(harness.store, command, tree, platform=platform))
    running = asyncio.create_task(action.run(harness.slot, lambda: None))
    await asyncio.to_thread(fifo.read_text)
    running.cancel()
    await asyncio.wait((running,))
    await harness.slot.restore(action.started_ns)
    assert running.cancelled()
    assert not _exists(pid)
    assert await _said(harness, "count") == "1"


async def test_workers_of_two_instances_are_two(harness: Harness) -> None:
    command = re_pb2.Command(arguments=["/usr/bin/env", "python3", "tool.py", "@flags"])
    tree = {"tool.py": Tool(TOOL), "flags": b"count"}
    for instance_name in ("one", "two"):
        lease = add_lease(harness.store, command, tree, platform={"persistentWorkerKey": "key"})
        lease.instance_name = instance_name
        assert harness.stderr(await harness.run_lease(lease)) == "1\n"
