"""The lease loop against a scheduler that the test plays, over a real gRPC stream."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.rpc import code_pb2

from reapi.clients.schedulers import Schedulers
from reapi.executor.config import ExecutorConfig
from reapi.executor.worker import Worker
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.reapi.worker.v1.worker_pb2 import Lease
from tests.fakes.memory_store import MemoryBlobStore
from tests.unit.executor.fake_scheduler import FakeScheduler, Stream
from tests.unit.executor.harness import add_lease


class Bed:
    """A worker of two slots that runs, and the scheduler that it talks to."""

    def __init__(self, worker: Worker, scheduler: FakeScheduler, path: Path) -> None:
        self.worker = worker
        self.scheduler = scheduler
        self.store = MemoryBlobStore()
        self.path = path
        self.running: asyncio.Task[None]
        self._leases = 0

    def sh(self, script: str) -> Lease:
        self._leases += 1
        lease = add_lease(self.store, re_pb2.Command(arguments=["sh", "-c", script]), {})
        lease.key.operation_name = f"operations/{self._leases}"
        return lease

    def blocking(self) -> tuple[Lease, Path]:
        """A command that tells its pid through a FIFO and then runs until it is killed."""
        fifo = self.path / f"fifo-{self._leases}"
        os.mkfifo(fifo)
        fifo.chmod(0o666)
        return self.sh(f"echo $$ > {fifo}; exec sleep 1000"), fifo

    async def registered(self) -> Stream:
        stream = await self.scheduler.stream()
        await stream.next("register")
        stream.welcome()
        return stream


@pytest.fixture
async def bed(reachable_path: Path) -> AsyncIterator[Bed]:
    config = ExecutorConfig(
        worker_id="worker-1",
        cache_dir=reachable_path / "cache",
        slots=2,
        platform={"OSFamily": "linux", "ISA": "x86-64"},
        resources={"gpu": 1, "cpu": 2000},
        ordinal=1,
        sandbox="none",  # pids and FIFOs are those of the host
    )
    async with (
        FakeScheduler() as scheduler,
        Schedulers(scheduler.address, tool_name="test") as schedulers,
    ):
        stores: dict[str, MemoryBlobStore] = {}
        async with Worker(config, schedulers, lambda name: stores[name]) as worker:
            bed = Bed(worker, scheduler, reachable_path)
            stores[""] = bed.store
            bed.running = asyncio.create_task(worker.run())
            yield bed
            bed.running.cancel()
            await asyncio.wait((bed.running,))


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_it_registers_with_what_it_is_and_can_run(bed: Bed) -> None:
    stream = await bed.scheduler.stream()
    register = (await stream.next("register")).register
    assert (register.worker_id, register.slots) == ("worker-1", 2)
    assert register.session_id
    properties = [(p.name, p.value) for p in register.platform.properties]
    assert {("ISA", "x86-64"), ("OSFamily", "linux")} <= set(properties)
    assert properties == sorted(properties)
    assert not register.held
    assert [(one.name, one.amount) for one in register.resources] == [("cpu", 2000), ("gpu", 1)]
    assert register.ordinal == 1


async def test_a_lease_is_run_and_completed_with_its_result(bed: Bed) -> None:
    stream = await bed.registered()
    lease = bed.sh("echo hello; exit 4")
    stream.lease(lease)
    completion = (await stream.next("completion")).completion
    assert completion.key == lease.key
    assert completion.response.result.exit_code == 4
    assert b"hello\n" in bed.store.blobs.values()
    assert completion.response.result.execution_metadata.worker == "worker-1"


async def test_a_command_that_runs_for_a_while_is_reported_as_running(bed: Bed) -> None:
    stream = await bed.registered()
    lease, _ = bed.blocking()
    stream.lease(lease)
    progress = (await stream.next("progress")).progress
    assert progress.key == lease.key
    assert progress.metadata.HasField("execution_start_timestamp")
    assert not progress.metadata.HasField("execution_completed_timestamp")


async def test_both_slots_run_at_the_same_time(bed: Bed) -> None:
    stream = await bed.registered()
    leases = [bed.blocking(), bed.blocking()]
    for lease, _ in leases:
        stream.lease(lease)
    for _, fifo in leases:
        assert is_alive(int(await asyncio.to_thread(fifo.read_text)))


async def test_a_lease_more_than_there_are_slots_is_refused(bed: Bed) -> None:
    stream = await bed.registered()
    for lease, fifo in (bed.blocking(), bed.blocking()):
        stream.lease(lease)
        await asyncio.to_thread(fifo.read_text)
        await stream.next("progress")
    third = bed.sh("true")
    stream.lease(third)
    completion = (await stream.next("completion")).completion
    assert completion.key == third.key
    assert completion.response.status.code == code_pb2.RESOURCE_EXHAUSTED


async def test_a_cancelled_lease_is_killed_and_completed_as_cancelled(bed: Bed) -> None:
    stream = await bed.registered()
    lease, fifo = bed.blocking()
    stream.lease(lease)
    pid = int(await asyncio.to_thread(fifo.read_text))
    await stream.next("progress")
    stream.cancel(lease.key)
    completion = (await stream.next("completion")).completion
    assert completion.response.status.code == code_pb2.CANCELLED
    assert not is_alive(pid)


async def test_a_cancel_of_an_older_epoch_or_an_unknown_lease_is_ignored(bed: Bed) -> None:
    stream = await bed.registered()
    lease = bed.sh("echo still here")
    lease.key.epoch = 2
    older = type(lease.key)(operation_name=lease.key.operation_name, epoch=1)
    stream.cancel(older)
    stream.lease(lease)
    stream.cancel(older)
    assert not (await stream.next("completion")).completion.response.status.code


async def test_a_completion_is_repeated_on_each_new_stream_until_it_is_acknowledged(
    bed: Bed,
) -> None:
    stream = await bed.registered()
    lease = bed.sh("echo once")
    stream.lease(lease)
    first = (await stream.next("completion")).completion
    stream.break_off()

    stream = await bed.scheduler.stream()
    assert list((await stream.next("register")).register.held) == [lease.key]
    stream.welcome()
    assert (await stream.next("completion")).completion == first
    stream.acknowledge(lease.key)
    stream.lease(bed.sh("true"))
    await stream.next("completion")
    stream.break_off()

    stream = await bed.scheduler.stream()
    register = (await stream.next("register")).register
    assert lease.key not in register.held


async def test_a_lease_goes_on_over_a_lost_stream_and_completes_on_the_next(bed: Bed) -> None:
    stream = await bed.registered()
    lease, fifo = bed.blocking()
    release = bed.path / "release"
    os.mkfifo(release)
    release.chmod(0o666)
    lease = bed.sh(f"echo $$ > {fifo}; cat {release}")
    stream.lease(lease)
    await asyncio.to_thread(fifo.read_text)
    stream.break_off()
    stream = await bed.registered()
    await asyncio.to_thread(release.write_text, "done\n")
    completion = (await stream.next("completion")).completion
    assert completion.key == lease.key
    assert b"done\n" in bed.store.blobs.values()


async def test_a_revoked_lease_is_killed_and_never_spoken_of_again(bed: Bed) -> None:
    stream = await bed.registered()
    lease, fifo = bed.blocking()
    stream.lease(lease)
    pid = int(await asyncio.to_thread(fifo.read_text))
    await stream.next("progress")
    stream.break_off()
    stream = await bed.scheduler.stream()
    await stream.next("register")
    stream.welcome(lease.key)
    other = bed.sh("true")
    stream.lease(other)
    assert (await stream.next("completion")).completion.key == other.key
    stream.acknowledge(other.key)
    bed.worker.drain()
    await stream.next("drain")
    await stream.end()
    await bed.running
    assert not is_alive(pid)


async def test_heartbeats_come_at_the_interval_asked_for(bed: Bed) -> None:
    stream = await bed.scheduler.stream()
    await stream.next("register")
    stream.welcome(heartbeat_seconds=0.01)
    for _ in range(3):
        await stream.next("heartbeat")


async def test_draining_finishes_what_runs_and_leaves_when_it_is_acknowledged(bed: Bed) -> None:
    stream = await bed.registered()
    lease, fifo = bed.blocking()
    release = bed.path / "release"
    os.mkfifo(release)
    release.chmod(0o666)
    lease = bed.sh(f"echo $$ > {fifo}; cat {release}")
    stream.lease(lease)
    await asyncio.to_thread(fifo.read_text)
    await stream.next("progress")
    bed.worker.drain()
    await stream.next("drain")
    await asyncio.to_thread(release.write_text, "done\n")
    await stream.next("completion")
    assert not bed.running.done()
    stream.acknowledge(lease.key)
    await stream.end()
    await bed.running


async def test_an_idle_worker_that_drains_leaves_at_once(bed: Bed) -> None:
    stream = await bed.registered()
    bed.worker.drain()
    await stream.next("drain")
    await stream.end()
    await bed.running


async def test_stopping_kills_what_runs_and_reports_nothing(bed: Bed) -> None:
    stream = await bed.registered()
    lease, fifo = bed.blocking()
    stream.lease(lease)
    pid = int(await asyncio.to_thread(fifo.read_text))
    bed.running.cancel()
    await asyncio.wait((bed.running,))
    assert not is_alive(pid)


async def test_a_worker_that_was_cancelled_sends_nothing_more(bed: Bed) -> None:
    stream = await bed.registered()
    lease, fifo = bed.blocking()
    stream.lease(lease)
    await asyncio.to_thread(fifo.read_text)
    bed.running.cancel()
    await asyncio.wait((bed.running,))
    bed.worker.drain()
    assert bed.running.cancelled()


async def test_draining_ends_even_when_no_scheduler_is_there(reachable_path: Path) -> None:
    config = ExecutorConfig(worker_id="worker-1", cache_dir=reachable_path / "cache", slots=1)
    async with FakeScheduler() as scheduler:
        address = scheduler.address
    async with (
        Schedulers(address, tool_name="test") as schedulers,
        Worker(config, schedulers, lambda name: MemoryBlobStore()) as worker,
    ):
        running = asyncio.create_task(worker.run())
        worker.drain()
        await running
