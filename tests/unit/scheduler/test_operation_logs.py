"""Reading logs through the scheduler, from workers that the test plays."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.longrunning.operations_pb2 import CancelOperationRequest, GetOperationRequest, Operation
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status

from reapi.core.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable
from reapi.core.log_name import parse_log_name
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ActionResult,
    ExecuteResponse,
)
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import ReadLogRequest, ReadLogResponse
from reapi.protos.reapi.worker.v1.worker_pb2 import (
    ConnectRequest,
    Lease,
    LogChunk,
    LogStream,
    ReadLog,
)
from reapi.scheduler import late_logs, log_reads
from tests.unit.scheduler.harness import (
    CALL,
    FakeWorker,
    JournalPlace,
    Scheduler,
    Stream,
    metadata_of,
    response_of,
    success,
)

STDOUT, STDERR = LogStream.LOG_STREAM_STDOUT, LogStream.LOG_STREAM_STDERR


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> JournalPlace:
    if request.param == "sqlite":
        return tmp_path / "scheduler.db"
    dsn: JournalPlace = request.getfixturevalue("postgresql_dsn")
    return dsn


class Reader:
    """One ReadLog call, which takes a reply only when the test does."""

    def __init__(self, scheduler: Scheduler, name: str, **fields: object) -> None:
        request = ReadLogRequest(name=name, **{"stream": STDOUT, **fields})  # type: ignore[arg-type]
        self._replies = scheduler.orders.read_log(request, CALL)
        self._next: asyncio.Task[ReadLogResponse] | None = None

    def begin(self) -> None:
        """Asks for the next reply, which `next` waits for."""
        self._next = asyncio.ensure_future(anext(self._replies))

    async def next(self) -> ReadLogResponse:
        if self._next is None:
            self.begin()
        assert self._next is not None
        reply = await self._next
        self._next = None
        return reply

    async def data(self) -> bytes:
        """Of the next reply, which must not be the last word."""
        reply = await self.next()
        assert not reply.HasField("stored")
        return reply.data

    async def end(self) -> None:
        with pytest.raises(StopAsyncIteration):
            await self.next()

    async def leave(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])
        await self._replies.aclose()


@dataclass
class Run:
    """An operation whose action the worker has."""

    scheduler: Scheduler
    worker: FakeWorker
    stream: Stream
    name: str
    lease: Lease

    def reader(self, **fields: object) -> Reader:
        return Reader(self.scheduler, self.name, **fields)

    async def asked(self) -> ReadLog:
        """What the worker hears next."""
        reply = await self.worker.next()
        assert reply.WhichOneof("message") == "read_log", reply
        return reply.read_log

    def tell(self, asked: ReadLog, data: bytes, **fields: object) -> None:
        chunk = LogChunk(
            key=asked.key,
            stream=asked.stream,
            offset=asked.offset,
            data=data,
            **{"is_all": True, **fields},  # type: ignore[arg-type]
        )
        self.worker.say(ConnectRequest(log_chunk=chunk))

    async def cancel(self) -> None:
        request = CancelOperationRequest(name=self.name)
        await self.scheduler.operations.cancel_operation(request, CALL)

    async def got(self) -> Operation:
        request = GetOperationRequest(name=self.name)
        return Operation.FromString(await self.scheduler.operations.get_operation(request, CALL))


async def begin(scheduler: Scheduler, **fields: object) -> Run:
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action(), **fields)
    name = (await stream.next()).name
    return Run(scheduler, worker, stream, name, await worker.lease())


@pytest.fixture
async def run(scheduler: Scheduler) -> Run:
    return await begin(scheduler)


def waiting(run: Run) -> int:
    """Readers for whom the scheduler waits for an answer."""
    return sum(asked.readers for asked in run.scheduler.dispatcher.log_reads._asked.values())


def result_with(scheduler: Scheduler, stdout: bytes) -> ActionResult:
    return ActionResult(stdout_digest=scheduler.blobs.add(stdout).to_message(), exit_code=137)


def cancelled(result: ActionResult | None = None) -> ExecuteResponse:
    return ExecuteResponse(status=Status(code=code_pb2.CANCELLED), result=result)


async def test_EX23_the_names_of_logs_stand_in_the_metadata_from_the_start(
    scheduler: Scheduler,
) -> None:
    operation = await scheduler.execute(scheduler.add_action(), instance_name="main").next()
    metadata = metadata_of(operation)
    for name, stream in (
        (metadata.stdout_stream_name, STDOUT),
        (metadata.stderr_stream_name, STDERR),
    ):
        assert parse_log_name(name) == ("main", operation.name, stream)


async def test_what_the_worker_tells_is_read_and_then_it_is_asked_for_more(run: Run) -> None:
    reader = run.reader()
    reader.begin()
    asked = await run.asked()
    assert (asked.key, asked.stream, asked.offset) == (run.lease.key, STDOUT, 0)
    run.tell(asked, b"one\n")
    assert await reader.data() == b"one\n"
    assert await reader.data() == b""  # that was all
    reader.begin()
    asked = await run.asked()
    assert (asked.offset, asked.at_once) == (4, False)
    run.tell(asked, b"two\n")
    assert await reader.data() == b"two\n"


async def test_one_who_only_wants_what_is_there_is_told_where_that_ends(run: Run) -> None:
    reader = run.reader()
    for data in (b"a" * 10, b"b" * 10):
        reader.begin()
        asked = await run.asked()
        assert asked.at_once
        run.tell(asked, data, is_all=False)
        assert await reader.data() == data
    reader.begin()
    run.tell(await run.asked(), b"")
    assert await reader.data() == b""


async def test_a_reader_of_a_queued_operation_waits_for_its_worker(scheduler: Scheduler) -> None:
    stream = scheduler.execute(scheduler.add_action())
    name = (await stream.next()).name
    reader = Reader(scheduler, name)
    assert await reader.data() == b""
    reader.begin()
    worker = FakeWorker(scheduler)
    await worker.connect()
    run = Run(scheduler, worker, stream, name, await worker.lease())
    run.tell(await run.asked(), b"one\n")
    assert await reader.data() == b"one\n"


async def test_readers_at_the_same_place_share_a_question(run: Run) -> None:
    readers = [run.reader() for _ in range(3)]
    asked = []
    for reader in readers:
        reader.begin()
        asked.append(await run.asked())  # at once, each of them
    run.tell(asked[0], b"one\n")
    for reader in readers:
        assert await reader.data() == b"one\n"
        assert await reader.data() == b""
        reader.begin()
    for _ in range(10):
        await asyncio.sleep(0)  # they get as far as they can
    assert waiting(run) == len(readers)
    run.tell(await run.asked(), b"two\n")
    for reader in readers:
        assert await reader.data() == b"two\n"
    run.worker.complete(run.lease)  # so nothing else was asked
    assert (await run.worker.next()).HasField("completion_received")


async def test_a_slow_reader_holds_up_nobody_and_nothing_is_kept_for_it(run: Run) -> None:
    slow, fast = run.reader(), run.reader()
    for reader in (slow, fast):
        reader.begin()
        run.tell(await run.asked(), b"0", is_all=False)
        assert await reader.data() == b"0"
    for number in range(1, 20):
        fast.begin()
        asked = await run.asked()
        assert asked.offset == number
        run.tell(asked, b"x", is_all=False)
        assert await fast.data() == b"x"
    assert not waiting(run)
    slow.begin()
    asked = await run.asked()
    assert asked.offset == 1
    run.tell(asked, b"all at once", is_all=False)
    assert await slow.data() == b"all at once"


async def test_of_a_reader_who_has_gone_nothing_is_left_and_the_answer_is_dropped(
    run: Run,
) -> None:
    leaving, staying = run.reader(), run.reader(stream=STDERR)
    for reader in (leaving, staying):
        reader.begin()
    first, second = await run.asked(), await run.asked()
    await leaving.leave()
    for asked in (first, second):
        run.tell(asked, b"one\n")
    assert await staying.data() == b"one\n"
    await staying.leave()
    assert not waiting(run)


async def test_who_leaves_does_not_take_the_answer_from_others_at_the_same_place(
    run: Run,
) -> None:
    leaving, staying = run.reader(), run.reader()
    for reader in (leaving, staying):
        reader.begin()
        run.tell(await run.asked(), b"one\n")
        assert await reader.data() == b"one\n"
        assert await reader.data() == b""
    leaving.begin()
    asked = await run.asked()
    staying.begin()
    for _ in range(10):
        await asyncio.sleep(0)  # they get as far as they can
    assert waiting(run) == 2
    await leaving.leave()
    run.tell(asked, b"two\n")
    assert await staying.data() == b"two\n"


async def test_an_answer_of_a_worker_that_was_not_asked_is_dropped(run: Run) -> None:
    other = FakeWorker(run.scheduler, "w2")
    await other.connect()
    reader = run.reader()
    reader.begin()
    asked = await run.asked()
    Run(run.scheduler, other, run.stream, run.name, run.lease).tell(asked, b"forged")
    other.drain()
    run.tell(asked, b"one\n")
    assert await reader.data() == b"one\n"


async def test_a_worker_that_comes_back_is_asked_again(run: Run) -> None:
    reader = run.reader()
    reader.begin()
    first = await run.asked()
    await run.worker.leave()
    await run.worker.connect(run.lease.key)
    again = await run.asked()
    assert (again.key, again.offset) == (first.key, first.offset)
    run.tell(again, b"one\n")
    assert await reader.data() == b"one\n"


async def test_after_a_lost_worker_reading_goes_on_with_the_next_at_its_offset(run: Run) -> None:
    reader = run.reader()
    reader.begin()
    run.tell(await run.asked(), b"one\n")
    assert await reader.data() == b"one\n"
    assert await reader.data() == b""
    reader.begin()
    await run.asked()
    await run.worker.leave()
    # A new session: what it ran is lost.
    worker = FakeWorker(run.scheduler, session_id="s2")
    await worker.connect()
    again = Run(run.scheduler, worker, run.stream, run.name, await worker.lease())
    asked = await again.asked()
    assert (asked.key, asked.offset) == (again.lease.key, 4)
    assert asked.key.epoch > run.lease.key.epoch
    again.tell(asked, b"two\n")
    assert await reader.data() == b"two\n"


@pytest.mark.parametrize("status", [code_pb2.OK, code_pb2.DEADLINE_EXCEEDED])
async def test_the_end_of_an_operation_is_the_blob_with_all_of_it(run: Run, status: int) -> None:
    """Also for one whose worker is too old to know what it is asked."""
    watching = run.reader()
    watching.begin()
    await run.asked()
    result = result_with(run.scheduler, b"one\n")
    run.worker.complete(run.lease, ExecuteResponse(result=result, status=Status(code=status)))
    for reader in (watching, run.reader()):
        last = await reader.next()
        assert (last.stored, last.data) == (result.stdout_digest, b"")
        await reader.end()
    await run.reader(stream=STDERR).end()


async def test_when_a_worker_has_no_more_to_tell_the_end_of_the_operation_is_waited_for(
    run: Run,
) -> None:
    reader = run.reader()
    reader.begin()
    run.tell(await run.asked(), b"", is_over=True)
    assert await reader.data() == b""
    reader.begin()
    result = result_with(run.scheduler, b"one\n")
    run.worker.complete(run.lease, ExecuteResponse(result=result))
    assert (await run.worker.next()).HasField("completion_received")
    assert (await reader.next()).stored == result.stdout_digest


async def test_logs_of_a_cancelled_operation_are_there_when_its_worker_has_spoken(
    place: JournalPlace,
) -> None:
    """Its end is told at once, without them; a reader waits, and a successor knows them, too."""
    async with Scheduler(place) as scheduler:
        await _check_logs_of_cancelled(scheduler)


async def _check_logs_of_cancelled(scheduler: Scheduler) -> None:
    run = await begin(scheduler)
    watching, later = run.reader(), run.reader()
    watching.begin()
    await run.asked()
    await run.cancel()
    last = response_of(await run.stream.last())
    assert last.status.code == code_pb2.CANCELLED
    assert not last.HasField("result")
    assert (await run.worker.next()).HasField("cancel")
    later.begin()
    result = result_with(scheduler, b"one\n")
    await run.worker.run(run.lease, cancelled(result))
    for reader in (watching, later):
        assert (await reader.next()).stored == result.stdout_digest
        await reader.end()
    async with scheduler.successor() as successor:
        for one in (scheduler, successor):
            got = response_of(await Run(one, run.worker, run.stream, run.name, run.lease).got())
            assert got.status == last.status
            assert got.result == result
            assert (await Reader(one, run.name).next()).stored == result.stdout_digest


async def test_a_cancelled_operation_whose_worker_says_nothing_has_no_logs(run: Run) -> None:
    await run.cancel()
    reader = run.reader()
    reader.begin()
    assert (await run.worker.next()).HasField("cancel")
    await run.worker.run(run.lease, cancelled())
    await reader.end()
    assert not response_of(await run.got()).HasField("result")


async def test_a_worker_that_was_away_when_its_lease_was_cancelled_is_not_waited_for(
    run: Run,
) -> None:
    await run.worker.leave()
    await run.cancel()
    reader = run.reader()
    reader.begin()
    welcome = await run.worker.connect(run.lease.key)
    assert list(welcome.registered.revoked) == [run.lease.key]
    await reader.end()


async def test_a_worker_that_never_speaks_again_is_waited_for_in_bounded_time(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_logs, "_PATIENCE_SECONDS", 0.01)
    await run.cancel()
    await run.reader().end()


async def test_one_of_two_who_wait_for_an_action_can_cancel_without_waiting_for_logs(
    run: Run,
) -> None:
    other = run.scheduler.execute(run.scheduler.add_action())
    await other.next()
    await run.cancel()
    await run.reader().end()


async def test_a_stale_completion_changes_nothing_that_did_not_wait_for_it(run: Run) -> None:
    result = result_with(run.scheduler, b"one\n")
    await run.worker.run(run.lease, ExecuteResponse(result=result))
    final = await run.got()
    await run.worker.run(run.lease, cancelled(result_with(run.scheduler, b"other\n")))
    assert await run.got() == final


async def test_logs_are_known_in_the_instance_of_their_operation_alone(
    scheduler: Scheduler,
) -> None:
    run = await begin(scheduler, instance_name="main")
    for finished in (False, True):
        if finished:
            await run.worker.run(run.lease, success())
            await run.reader(instance_name="main").end()
        for instance_name in ("", "buck2"):
            with pytest.raises(NotFound):
                await run.reader(instance_name=instance_name).next()


async def test_an_operation_without_a_run_has_no_logs(scheduler: Scheduler) -> None:
    action = scheduler.add_action()
    await scheduler.action_cache.put("", action, ActionResult())
    cached = await scheduler.execute(action).last()
    assert not metadata_of(cached).stdout_stream_name
    for name in (cached.name, "operations/unknown", ""):
        with pytest.raises(NotFound):
            await Reader(scheduler, name).next()


async def test_a_stream_that_is_neither_is_invalid(run: Run) -> None:
    for stream in (0, 3):
        with pytest.raises(InvalidArgument, match="not stdout or stderr"):
            await run.reader(stream=stream).next()


async def test_readers_are_bounded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reads, "_MOST_READERS", 1)
    first = run.reader()
    first.begin()
    await run.asked()
    with pytest.raises(ResourceExhausted) as caught:
        await run.reader(stream=STDERR).next()
    assert caught.value.retry_after_seconds
    await first.leave()
    again = run.reader()
    again.begin()
    await run.asked()


async def test_a_scheduler_that_ends_says_so_to_readers(tmp_path: Path) -> None:
    async with Scheduler(tmp_path / "journal.db") as scheduler:
        run = await begin(scheduler)
        reader = run.reader()
        reader.begin()
        await run.asked()
    with pytest.raises(Unavailable):
        await reader.next()


async def test_a_quiet_stream_gives_signs_of_life(tmp_path: Path) -> None:
    async with Scheduler(tmp_path / "journal.db", update_interval_seconds=0.01) as scheduler:
        name = (await scheduler.execute(scheduler.add_action()).next()).name
        reader = Reader(scheduler, name)
        assert [await reader.data() for _ in range(3)] == [b""] * 3
        await reader.leave()
