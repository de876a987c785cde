"""What a lease brings to the worker."""

from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2

from reapi.core.digest import digest_of
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Action,
    Directory,
    DirectoryNode,
)
from tests.unit.scheduler.harness import FakeWorker, Scheduler, response_of


async def test_the_lease_brings_action_command_and_directories(scheduler: Scheduler) -> None:
    leaf = Directory()
    leaf.symlinks.add(name="link", target="target")
    leaf_digest = scheduler.blobs.add(leaf.SerializeToString())
    root = Directory(directories=[DirectoryNode(name="a", digest=leaf_digest.to_message())])
    digest = scheduler.add_action("cc", root=root)
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(digest, inline_stdout=True)
    await stream.next()
    lease = await worker.lease()
    assert lease.action.SerializeToString() == scheduler.blobs.blobs[digest]
    assert lease.action_digest == digest.to_message()
    assert lease.inline_stdout
    assert lease.queued_timestamp.seconds
    assert {blob.digest.hash for blob in lease.blobs} == {
        lease.action.command_digest.hash,
        lease.action.input_root_digest.hash,
        leaf_digest.hash,
    }
    for blob in lease.blobs:
        assert digest_of(blob.data).to_message() == blob.digest
    await stream.close()


async def test_directories_beyond_the_bound_are_left_to_the_worker(tmp_path: Path) -> None:
    async with Scheduler(tmp_path / "scheduler.db", lease_max_directories=1) as scheduler:
        leaf = Directory()
        leaf.symlinks.add(name="link", target="target")
        leaf_digest = scheduler.blobs.add(leaf.SerializeToString())
        root = Directory(directories=[DirectoryNode(name="a", digest=leaf_digest.to_message())])
        worker = FakeWorker(scheduler)
        await worker.connect()
        stream = scheduler.execute(scheduler.add_action("cc", root=root))
        await stream.next()
        assert len((await worker.lease()).blobs) == 2
        await stream.close()


async def test_EX17_the_lease_has_the_stated_or_the_default_timeout(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler, slots=2)
    await worker.connect()
    stated = scheduler.add_action(action=Action(timeout=Duration(seconds=7)))
    streams = [scheduler.execute(stated), scheduler.execute(scheduler.add_action())]
    timeouts = []
    for stream in streams:
        await stream.next()
        timeouts.append((await worker.lease()).timeout.seconds)
    assert timeouts == [7, 3600]


async def test_EX7_a_command_that_vanishes_while_the_action_waits(scheduler: Scheduler) -> None:
    """A restart loses what was at hand, so that the lease must be made of what is stored."""
    first = await scheduler.execute(scheduler.add_action("gone")).next()
    scheduler.blobs.blobs.clear()
    async with scheduler.successor() as successor:
        worker = FakeWorker(successor)
        await worker.connect()
        status = response_of(await successor.wait(first.name).last()).status
        assert status.code == code_pb2.FAILED_PRECONDITION
        assert len(status.details) == 1
        # The slot is free again.
        stream = successor.execute(successor.add_action("other"))
        await worker.run(await worker.lease())
        assert (await stream.last()).done
