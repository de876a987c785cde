"""Results that the scheduler has not acknowledged: kept on disk, delivered by the next life."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reapi.clients.schedulers import Schedulers
from reapi.executor import held_leases, scheduler_link
from reapi.executor import worker as worker_module
from reapi.executor.completion_files import CompletionFiles
from reapi.executor.config import ExecutorConfig
from reapi.executor.worker import Worker
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.reapi.worker.v1.worker_pb2 import Completion, Lease
from tests.fakes.memory_store import MemoryBlobStore
from tests.unit.executor.fake_scheduler import FakeScheduler, Stream
from tests.unit.executor.harness import add_lease


class Life:
    """A worker that runs, until it is killed or has drained."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.running = asyncio.create_task(worker.run())


class Keeping(logging.Handler):
    """Tells when one more result is on disk, as the log does."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self.kept = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.startswith("keeping the result"):
            self._loop.call_soon_threadsafe(self.kept.set)


class Bed:
    """A directory in which one worker after the other lives, and its scheduler."""

    def __init__(self, scheduler: FakeScheduler, path: Path) -> None:
        self.scheduler = scheduler
        self.path = path
        self.store = MemoryBlobStore()
        self.keeping = Keeping()
        self.release = path / "release"
        os.mkfifo(self.release)
        self.release.chmod(0o666)

    @asynccontextmanager
    async def life(self, *, delivery_seconds: float = 1000) -> AsyncIterator[Life]:
        config = ExecutorConfig(
            worker_id="worker-1",
            cache_dir=self.path / "cache",
            slots=1,
            delivery_seconds=delivery_seconds,
            sandbox="none",  # the FIFO is one of the host
        )
        async with (
            Schedulers(self.scheduler.address, tool_name="test") as schedulers,
            Worker(config, schedulers, lambda _: self.store) as worker,
        ):
            life = Life(worker)
            yield life
            life.running.cancel()
            await asyncio.wait((life.running,))

    async def stream(self) -> tuple[Stream, list[int]]:
        """The next one, and the epochs of the leases that its worker holds."""
        stream = await self.scheduler.stream()
        register = (await stream.next("register")).register
        return stream, [key.epoch for key in register.held]

    def lease(self, epoch: int) -> Lease:
        """An action that ends when something is written to `release`."""
        command = re_pb2.Command(arguments=["sh", "-c", f"cat {self.release}"])
        lease = add_lease(self.store, command, {})
        lease.key.epoch = epoch
        return lease

    async def ends_while_the_scheduler_is_away(self, lease: Lease) -> None:
        stream, _ = await self.stream()
        stream.welcome()
        stream.lease(lease)
        await stream.next("progress")
        stream.break_off()
        await self.stream()
        await asyncio.to_thread(self.release.write_text, "done\n")

    def kept(self) -> list[Path]:
        return list((self.path / "cache" / "completions").iterdir())


@pytest.fixture
async def bed(reachable_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Bed]:
    logger = logging.getLogger(held_leases.__name__)
    caplog.set_level(logging.INFO, logger.name)
    async with FakeScheduler() as scheduler:
        bed = Bed(scheduler, reachable_path)
        logger.addHandler(bed.keeping)
        yield bed
        logger.removeHandler(bed.keeping)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that part at once from a scheduler that does not answer."""
    monkeypatch.setattr(scheduler_link, "_PARTING_SECONDS", 0.0)


async def test_what_ends_while_the_scheduler_is_away_is_delivered_by_the_next_life(
    bed: Bed,
) -> None:
    lease = bed.lease(epoch=7)
    async with bed.life() as life:
        await bed.ends_while_the_scheduler_is_away(lease)
        life.worker.drain()
        await bed.keeping.kept.wait()
        assert len(bed.kept()) == 1
        assert not life.running.done()
    async with bed.life():
        stream, held = await bed.stream()
        assert held == [7]
        stream.welcome()
        completion = (await stream.next("completion")).completion
        assert completion.key == lease.key
        assert completion.response.result.stdout_digest.size_bytes == len("done\n")
        stream.acknowledge(lease.key)
        stream.lease(bed.lease(epoch=8))
        await stream.next("progress")
        assert bed.kept() == []
    async with bed.life():
        _, held = await bed.stream()
        assert held == []


async def test_what_nobody_wants_any_more_is_forgotten(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = bed.lease(epoch=7)
    with monkeypatch.context() as impatient:
        impatient.setattr(scheduler_link, "_PARTING_SECONDS", 0.0)
        async with bed.life(delivery_seconds=0) as life:
            await bed.ends_while_the_scheduler_is_away(lease)
            life.worker.drain()
            await life.running
    async with bed.life() as life:
        stream, _ = await bed.stream()
        stream.welcome(lease.key)
        life.worker.drain()
        await stream.next("drain")
        await stream.end()
        await life.running
    assert bed.kept() == []


@pytest.mark.usefixtures("impatient")
async def test_an_old_life_s_result_takes_no_slot_of_the_new_one(bed: Bed) -> None:
    async with bed.life(delivery_seconds=0) as life:
        await bed.ends_while_the_scheduler_is_away(bed.lease(epoch=7))
        life.worker.drain()
        await life.running
    async with bed.life():
        stream, _ = await bed.stream()
        stream.welcome()
        await stream.next("completion")
        stream.lease(bed.lease(epoch=8))
        await stream.next("progress")


@pytest.mark.parametrize("is_slow", [False, True])
async def test_only_what_is_not_acknowledged_soon_is_written(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, is_slow: bool
) -> None:
    monkeypatch.setattr(held_leases, "_ACKNOWLEDGED_SECONDS", 0.0 if is_slow else 1000.0)
    async with bed.life() as life:
        stream, _ = await bed.stream()
        stream.welcome()
        lease = bed.lease(epoch=7)
        stream.lease(lease)
        await stream.next("progress")
        await asyncio.to_thread(bed.release.write_text, "done\n")
        await stream.next("completion")
        if is_slow:
            await bed.keeping.kept.wait()
        assert len(bed.kept()) == is_slow
        stream.acknowledge(lease.key)
        life.worker.drain()
        await stream.next("drain")
        await stream.end()
        await life.running
    assert bed.kept() == []


@pytest.mark.usefixtures("impatient")
async def test_draining_waits_only_so_long_for_a_scheduler_that_does_not_take_results(
    bed: Bed,
) -> None:
    """It has a stream, and welcomes nobody on it."""
    async with bed.life(delivery_seconds=0.01) as life:
        await bed.ends_while_the_scheduler_is_away(bed.lease(epoch=7))
        life.worker.drain()
        await life.running
    assert len(bed.kept()) == 1


async def test_a_worker_that_is_stopped_keeps_what_was_not_acknowledged_yet(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_leases, "_ACKNOWLEDGED_SECONDS", 1000.0)
    async with bed.life():
        stream, _ = await bed.stream()
        stream.welcome()
        stream.lease(bed.lease(epoch=7))
        await stream.next("progress")
        await asyncio.to_thread(bed.release.write_text, "done\n")
        await stream.next("completion")
        assert bed.kept() == []
    assert len(bed.kept()) == 1


async def test_what_is_acknowledged_while_it_is_written_is_not_kept(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, acknowledged = threading.Event(), threading.Event()

    class SlowFiles(CompletionFiles):
        def write(self, completion: Completion) -> None:
            begun.set()
            acknowledged.wait()
            super().write(completion)

    monkeypatch.setattr(worker_module, "CompletionFiles", SlowFiles)
    monkeypatch.setattr(held_leases, "_ACKNOWLEDGED_SECONDS", 0.0)
    async with bed.life() as life:
        stream, _ = await bed.stream()
        stream.welcome()
        lease = bed.lease(epoch=7)
        stream.lease(lease)
        await stream.next("progress")
        await asyncio.to_thread(bed.release.write_text, "done\n")
        await stream.next("completion")
        await asyncio.to_thread(begun.wait)
        stream.acknowledge(lease.key)
        life.worker.drain()
        await stream.next("drain")
        await stream.end()
        acknowledged.set()
        await life.running
    assert bed.kept() == []
