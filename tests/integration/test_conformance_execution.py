"""Conformance of Execute: streams, the cache, merging and metadata (conformance 1.7)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.longrunning.operations_pb2 import Operation
from google.rpc import code_pb2

from reapi.clients.methods import FIND_MISSING_BLOBS, UPDATE_ACTION_RESULT
from reapi.core.digest import digest_of
from reapi.core.errors import NotFound
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.raw_client import RawService
from tests.integration.system import Gate, Notes, System, checked, sh
from tests.unit.scheduler.harness import metadata_of, response_of

EXECUTING = re_pb2.ExecutionStage.EXECUTING
QUEUED = re_pb2.ExecutionStage.QUEUED


class Runs:
    """Each run of a command leaves a line, so that runs can be counted."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self.script = f"echo run >'{notes.path}'"

    @property
    def count(self) -> int:
        return len(self._notes.lines())


@pytest.fixture
def runs(notes: Notes) -> Runs:
    return Runs(notes)


class TestStream:
    async def test_EX1_EX2_EX3_Q_ANY_the_stream_ends_with_its_one_done_operation(
        self, system: System, gate: Gate
    ) -> None:
        """See also `checked`, which looks at every stream of these tests."""
        action = await system.add(sh(gate.script()))
        operations = []
        async for operation in system.stream(action):
            operations.append(operation)
            if metadata_of(operation).stage == EXECUTING:
                gate.open()
        checked(operations)
        assert len(operations) >= 2
        assert {metadata_of(one).stage for one in operations[:-1]} <= {QUEUED, EXECUTING}

    async def test_EX5_EX6_a_failing_command_is_a_success_of_the_operation(
        self, system: System
    ) -> None:
        response = await system.sh("echo no >&2; exit 7")
        assert response.status.code == code_pb2.OK
        assert response.result.exit_code == 7
        assert await system.read(response.result.stderr_digest) == b"no\n"

    async def test_EX6_a_command_without_any_output_has_a_result(self, system: System) -> None:
        """Also Q-META: the result of such a command has its metadata set."""
        response = await system.sh("true")
        assert response.HasField("result")
        assert response.result.HasField("execution_metadata")
        assert not response.cached_result

    async def test_G8_request_metadata_of_any_kind_never_fails_the_call(
        self, system: System
    ) -> None:
        key = "build.bazel.remote.execution.v2.requestmetadata-bin"
        action = await system.add(sh("true"))
        good = re_pb2.RequestMetadata(tool_invocation_id="i", action_mnemonic="CppCompile")
        request = re_pb2.ExecuteRequest(action_digest=action.to_message(), skip_cache_lookup=True)
        async with grpc.aio.insecure_channel(system.address) as channel:
            execution = RawService(channel, re_pb2.DESCRIPTOR.services_by_name["Execution"])
            for value in (good.SerializeToString(), b"", b"\xff\xff\xff"):
                operations = checked(await execution.Execute(request, metadata=((key, value),)))
                assert response_of(operations[-1]).status.code == code_pb2.OK
            assert checked(await execution.Execute(request))

    async def test_G9_a_routing_header_changes_nothing(self, system: System) -> None:
        key = "build.bazel.remote.execution.v2.resource-name"
        action = await system.add(sh("true"))
        request = re_pb2.ExecuteRequest(action_digest=action.to_message())
        async with grpc.aio.insecure_channel(system.address) as channel:
            execution = RawService(channel, re_pb2.DESCRIPTOR.services_by_name["Execution"])
            assert checked(await execution.Execute(request, metadata=((key, "blobs/x"),)))


class TestCache:
    async def test_EX9_a_cached_result_needs_no_worker(self, idle_system: System) -> None:
        action = await idle_system.add(sh("cat out", output_paths=["out"]))
        await idle_system.add_blobs(b"made elsewhere")
        result = re_pb2.ActionResult(
            output_files=[{"path": "out", "digest": digest_of(b"made elsewhere").to_message()}]
        )
        request = re_pb2.UpdateActionResultRequest(
            action_digest=action.to_message(), action_result=result
        )
        await idle_system.channel.unary(UPDATE_ACTION_RESULT, request)
        response = await idle_system.run_action(action)
        assert response.cached_result
        assert response.result.output_files == result.output_files
        assert response.result.HasField("execution_metadata")  # Q-META

    async def test_EX9_EX24_the_second_run_is_answered_with_the_first_one_and_its_times(
        self, system: System, runs: Runs
    ) -> None:
        action = await system.add(sh(f"{runs.script}; echo hi", output_paths=["out"]))
        first, second = await system.run_action(action), await system.run_action(action)
        assert (first.cached_result, second.cached_result) == (False, True)
        assert second.result == first.result == await system.cached(action)
        assert runs.count == 1

    async def test_EX9_AC2_an_incomplete_result_is_not_a_hit(
        self, system: System, open_path: Path, runs: Runs
    ) -> None:
        large = "head -c 100000 /dev/zero >out"
        action = await system.add(sh(f"{runs.script}; {large}", output_paths=["out"]))
        await system.run_action(action)
        for file in (open_path / "data" / "blobs").glob("*/*"):
            file.write_bytes(b"damaged")
        await system.blobs.read_many([digest_of(bytes(100_000))])  # notices the damage
        response = await system.run_action(action)
        assert not response.cached_result
        assert runs.count == 2
        assert await system.read(response.result.output_files[0].digest) == bytes(100_000)

    async def test_EX10_skip_cache_lookup_runs_again_and_overwrites(
        self, system: System, runs: Runs
    ) -> None:
        script = f"{runs.script}; cat /proc/sys/kernel/random/uuid >out"
        action = await system.add(sh(script, output_paths=["out"]))
        first = await system.run_action(action)
        second = await system.run_action(action, skip_cache_lookup=True)
        assert not second.cached_result
        assert second.result.output_files != first.result.output_files
        third = await system.run_action(action)
        assert third.cached_result
        assert third.result == second.result
        assert runs.count == 2

    async def test_EX11_do_not_cache_is_neither_stored_nor_looked_up_nor_merged(
        self, system: System, runs: Runs, gate: Gate
    ) -> None:
        """Also AC9."""
        command = sh(gate.script(runs.script))
        action = await system.add(command, action={"do_not_cache": True})
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(system.execute(action)) for _ in range(2)]
            for _ in calls:
                await gate.begun()
            gate.open()
            gate.open()
        assert runs.count == 2
        assert len({call.result()[-1].name for call in calls}) == 2
        with pytest.raises(NotFound):
            await system.cached(action)

    @pytest.mark.parametrize("script", ["exit 1", "kill -9 $$"])
    async def test_AC9_a_failed_command_is_not_cached(self, system: System, script: str) -> None:
        action = await system.add(sh(script))
        assert (await system.run_action(action)).result.exit_code
        with pytest.raises(NotFound):
            await system.cached(action)
        assert not (await system.run_action(action)).cached_result

    async def test_G11_results_and_inputs_are_there_for_the_next_call(self, system: System) -> None:
        """All that a finished action names is present, large or small."""
        script = "mkdir d; echo a >d/a; head -c 300000 /dev/urandom >out; cat out; echo e >&2"
        action = await system.add(sh(script, output_paths=["out", "d"]), {"in": b"input"})
        result = (await system.run_action(action)).result
        digests = [action.to_message(), result.stdout_digest, result.stderr_digest]
        digests += [file.digest for file in result.output_files]
        digests += [directory.tree_digest for directory in result.output_directories]
        digests += [digest_of(b"input").to_message(), digest_of(b"a\n").to_message()]
        assert len(digests) == 7
        request = re_pb2.FindMissingBlobsRequest(blob_digests=digests)
        reply = await system.channel.unary(FIND_MISSING_BLOBS, request)
        assert not reply.missing_blob_digests


class TestMerging:
    async def test_EX12_equal_actions_in_flight_run_once(
        self, system: System, runs: Runs, gate: Gate
    ) -> None:
        """The joined calls survive the one that started it; skip_cache_lookup may join (EX10)."""
        action = await system.add(sh(gate.script(f"{runs.script}; echo once")))
        first = system.stream(action)
        name = (await anext(first)).name
        await gate.begun()
        async with asyncio.TaskGroup() as group:
            joined = []
            for skip in (False, True):
                stream = system.stream(action, skip_cache_lookup=skip)
                operation = await anext(stream)
                assert metadata_of(operation).stage == EXECUTING
                joined.append(group.create_task(_last(stream)))
            await first.aclose()  # whoever began it may go
            gate.open()
        for call in joined:
            assert await system.stdout(call.result()) == "once\n"
        assert await system.stdout(response_of((await system.wait(name))[-1])) == "once\n"
        assert runs.count == 1

    async def test_EX12_actions_of_different_instances_are_not_merged(
        self, system: System, runs: Runs, gate: Gate
    ) -> None:
        action = await system.add(sh(gate.script(runs.script)))
        async with asyncio.TaskGroup() as group:
            for instance_name in ("", "main"):
                group.create_task(system.execute(action, instance_name=instance_name))
                await gate.begun()
            gate.open()
            gate.open()
        assert runs.count == 2


async def _last(stream: AsyncIterator[Operation]) -> re_pb2.ExecuteResponse:
    return response_of([operation async for operation in stream][-1])
