"""Conformance of what an Operation tells beside its result (conformance 1.7: EX22 to EX25)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.longrunning.operations_pb2 import Operation
from prometheus_client import CollectorRegistry

from reapi.core.digest import SHA256
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.reapi.executor.v1.isolation_pb2 import Isolation
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import ExecutionState
from reapi.scheduler.config import SchedulerConfig
from reapi.server import scheduler_config
from tests.integration.system import Gate, Notes, System, open_system, sh
from tests.unit.executor.harness import needs_bubblewrap
from tests.unit.scheduler.harness import metadata_of, response_of

QUEUED = re_pb2.ExecutionStage.QUEUED
TIMES = (
    "queued",
    "worker_start",
    "input_fetch_start",
    "input_fetch_completed",
    "execution_start",
    "execution_completed",
    "output_upload_start",
    "output_upload_completed",
    "worker_completed",
)


async def test_EX23_D10_metadata_says_what_runs_and_by_which_function(
    system: System, gate: Gate
) -> None:
    action = await system.add(sh(gate.script()))
    stream = system.stream(action)
    operations = [await anext(stream)]
    await gate.begun()
    gate.open()
    operations += [operation async for operation in stream]
    for operation in operations:
        metadata = metadata_of(operation)
        assert metadata.action_digest == action.to_message()
        assert metadata.digest_function == SHA256.number
        assert metadata.stdout_stream_name.startswith("logstreams/")  # test_live_logs.py reads it
    result = response_of(operations[-1]).result
    told = metadata_of(operations[-1]).partial_execution_metadata
    assert told.auxiliary_metadata.pop().Is(ExecutionState.DESCRIPTOR)
    assert told == result.execution_metadata


async def test_EX23_progress_of_the_worker_is_in_the_metadata(
    open_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which messages repeat while the command runs (EX16)."""

    def often(**settings: Any) -> SchedulerConfig:
        return SchedulerConfig(**settings, update_interval_seconds=0.01)

    monkeypatch.setattr(scheduler_config, "SchedulerConfig", often)
    async with open_system(open_path) as system, system.worker():
        stream = system.stream(await system.add(sh(gate.script())))
        async for operation in stream:
            partial = metadata_of(operation).partial_execution_metadata
            if partial.HasField("execution_start_timestamp"):
                break
        assert partial.worker == "worker-1"
        assert not partial.HasField("execution_completed_timestamp")
        gate.open()
        last = [operation async for operation in stream][-1]
        final = response_of(last).result.execution_metadata
        assert final.execution_start_timestamp == partial.execution_start_timestamp


async def test_EX24_all_timestamps_are_set_and_in_order(system: System) -> None:
    response = await system.sh("sleep 0.02; echo x >out", {"in": b"x"}, output_paths=["out"])
    metadata = response.result.execution_metadata
    assert metadata.worker == "worker-1"
    assert all(metadata.HasField(f"{name}_timestamp") for name in TIMES)
    times = [getattr(metadata, f"{name}_timestamp").ToNanoseconds() for name in TIMES]
    assert times == sorted(times)
    assert metadata.virtual_execution_duration.ToMilliseconds() >= 20


async def test_EX22_more_urgent_actions_run_first(idle_system: System, notes: Notes) -> None:
    """Priorities of any size are taken, and results_cache_policy as well."""
    calls = []
    for priority in (7, 0, -(2**31), 2**31 - 1):
        action = await idle_system.add(sh(f"echo {priority} >'{notes.path}'"))
        stream = idle_system.stream(
            action,
            execution_policy={"priority": priority},
            results_cache_policy={"priority": priority},
        )
        assert metadata_of(await anext(stream)).stage == QUEUED
        calls.append(asyncio.create_task(_last(stream)))
    async with idle_system.worker(slots=1):
        await asyncio.gather(*calls)
    assert notes.lines() == [str(-(2**31)), "0", "7", str(2**31 - 1)]


@pytest.mark.parametrize("sandbox", [pytest.param("bubblewrap", marks=needs_bubblewrap), "none"])
async def test_the_sandbox_of_a_worker_is_in_its_metrics_and_results(
    idle_system: System, sandbox: Any
) -> None:
    registry = CollectorRegistry()
    async with idle_system.worker(sandbox=sandbox, registry=registry):
        response = await idle_system.sh("true")
    assert registry.get_sample_value("reapi_executor_sandbox", {"kind": sandbox}) == 1
    isolation = Isolation()
    told = response.result.execution_metadata.auxiliary_metadata
    assert any(message.Unpack(isolation) for message in told)
    assert isolation.sandbox == sandbox


async def test_EX25_a_response_names_no_log_that_cannot_be_read(system: System) -> None:
    """No server_logs are offered; stdout and stderr are the logs."""
    assert not (await system.sh("echo x")).server_logs


async def _last(stream: AsyncIterator[Operation]) -> re_pb2.ExecuteResponse:
    return response_of([operation async for operation in stream][-1])
