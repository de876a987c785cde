"""Conformance of how actions end that cannot, or not soon, be run: platforms, time, losses."""

import uuid
from pathlib import Path

import pytest
from google.rpc import code_pb2

from reapi.core.errors import InvalidArgument, NotFound, ResourceExhausted
from tests.integration.system import Gate, Notes, System, open_system, sh, violations
from tests.unit.executor.harness import processes_of
from tests.unit.scheduler.harness import response_of


async def test_EX18_Q_SISO1_a_timeout_ends_the_whole_process_tree(
    system: System, notes: Notes
) -> None:
    """A child in a session of its own that ignores signals and holds stdout ends as well."""
    name = f"child-{uuid.uuid4()}"
    script = (
        "echo partial; echo err >&2; "
        f"setsid sh -c 'trap \"\" TERM INT; echo begun >{notes.path}; sleep 600; :' {name} & wait"
    )
    action = await system.add(sh(script), action={"timeout": {"seconds": 1}})
    response = await system.run_action(action)
    assert response.status.code == code_pb2.DEADLINE_EXCEEDED
    assert response.status.message == "execution timeout exceeded"
    assert not response.status.details
    assert await system.read(response.result.stdout_digest) == b"partial\n"
    assert await system.read(response.result.stderr_digest) == b"err\n"
    metadata = response.result.execution_metadata
    assert metadata.virtual_execution_duration.ToMilliseconds() >= 1000
    assert metadata.HasField("worker_completed_timestamp")
    assert notes.lines() == ["begun"]
    assert not processes_of(name)
    with pytest.raises(NotFound):
        await system.cached(action)


async def test_EX18_the_timeout_does_not_count_the_time_in_the_queue(
    idle_system: System, open_path: Path
) -> None:
    """The action waits for a slot for longer than its command may take."""
    busy = idle_system.stream(await idle_system.add(sh("sleep 0.6")))
    await anext(busy)
    action = await idle_system.add(sh("true"), action={"timeout": {"nanos": 500_000_000}})
    stream = idle_system.stream(action)
    await anext(stream)
    async with idle_system.worker(slots=1):
        assert [operation async for operation in busy][-1].done
        response = response_of([operation async for operation in stream][-1])
    assert response.status.code == code_pb2.OK


async def test_EX19_G5_a_full_queue_is_said_with_the_time_to_retry(
    open_path: Path,
) -> None:
    async with open_system(open_path, scheduler={"max_queued": 1}) as system:
        stream = system.stream(await system.add(sh("echo first")))
        await anext(stream)
        with pytest.raises(ResourceExhausted) as caught:
            await system.execute(await system.add(sh("echo second")))
        assert caught.value.retry_after_seconds
        async with system.worker():
            assert [operation async for operation in stream][-1].done


async def test_EX20_EX19_Q_DETAIL_a_property_that_no_worker_offers_is_named(system: System) -> None:
    """Also B16. Names and values are compared as they are; the call itself succeeds."""
    for name, value in (("Pool", "gpu"), ("OSFamily", "Linux"), ("osfamily", "linux")):
        platform = {"properties": [{"name": name, "value": value}]}
        action = await system.add(sh("true"), action={"platform": platform})
        response = await system.run_action(action)
        (violation,) = violations(response.status)
        assert violation.subject == f"{name}={value}"
        assert f"{name}={value}" in response.status.message


async def test_EX21_the_platform_of_the_action_wins_when_present(system: System) -> None:
    bad = {"properties": [{"name": "Pool", "value": "gpu"}]}
    good = {"properties": [{"name": "OSFamily", "value": "linux"}]}
    for of_command, of_action, code in (
        (bad, good, code_pb2.OK),
        (bad, {}, code_pb2.OK),
        (good, bad, code_pb2.FAILED_PRECONDITION),
        (good, None, code_pb2.OK),
        (bad, None, code_pb2.FAILED_PRECONDITION),
    ):
        fields = {} if of_action is None else {"platform": of_action}
        action = await system.add(sh("true", platform=of_command), action=fields)
        assert (await system.run_action(action)).status.code == code


async def test_EX19_an_action_whose_worker_dies_runs_on_another_one(
    open_path: Path, gate: Gate
) -> None:
    """Back from EXECUTING to QUEUED, as EX3 allows; nothing of it is the client's trouble."""
    async with open_system(open_path, scheduler={"worker_timeout_seconds": 0.4}) as system:
        action = await system.add(sh(gate.script("echo done")))
        stream = system.stream(action)
        async with system.worker() as running:
            operations = [await anext(stream)]
            await gate.begun()
            running.cancel()
        async with system.worker("worker-2"):
            await gate.begun()
            gate.open()
            operations += [operation async for operation in stream]
    response = response_of(operations[-1])
    assert response.status.code == code_pb2.OK
    assert response.result.execution_metadata.worker == "worker-2"


async def test_EX17_an_action_without_timeout_gets_the_servers(open_path: Path) -> None:
    settings = {"default_timeout_seconds": 1, "max_timeout_seconds": 2}
    async with open_system(open_path, scheduler=settings) as system, system.worker():
        assert (await system.sh("sleep 600")).status.code == code_pb2.DEADLINE_EXCEEDED
        action = await system.add(sh("true"), action={"timeout": {"seconds": 3}})
        with pytest.raises(InvalidArgument, match="maximum"):
            await system.execute(action)
        action = await system.add(sh("true"), action={"timeout": {"seconds": 2}})
        assert (await system.run_action(action)).status.code == code_pb2.OK
