"""What a worker says of the logs of its commands, to a scheduler that the test plays."""

import asyncio

import pytest
from google.rpc import code_pb2

from reapi.core.digest import parse_digest
from reapi.executor import watched_logs
from reapi.executor.watched_logs import CHUNK_BYTES
from reapi.protos.reapi.worker.v1.worker_pb2 import Lease, LogChunk, LogStream, ReadLog
from tests.unit.executor.fake_scheduler import Stream
from tests.unit.executor.test_worker import Bed, bed

__all__ = ["bed"]

STDOUT, STDERR = LogStream.LOG_STREAM_STDOUT, LogStream.LOG_STREAM_STDERR
FOREVER = "exec sleep 1000"


def ask(
    stream: Stream,
    lease: Lease,
    offset: int = 0,
    *,
    log: LogStream = STDOUT,
    at_once: bool = False,
) -> None:
    read_log = ReadLog(key=lease.key, stream=log, offset=offset, at_once=at_once)
    stream.send(read_log=read_log)


async def told(stream: Stream) -> LogChunk:
    return (await stream.next("log_chunk")).log_chunk


async def read(stream: Stream, lease: Lease, offset: int = 0, **more: object) -> LogChunk:
    ask(stream, lease, offset, **more)  # type: ignore[arg-type]
    return await told(stream)


async def test_what_a_command_prints_is_told_while_it_runs(bed: Bed) -> None:
    stream = await bed.registered()
    lease = bed.sh(f"echo one; echo two >&2; {FOREVER}")
    stream.lease(lease)
    chunk = await read(stream, lease)
    assert (chunk.key, chunk.stream, chunk.offset) == (lease.key, STDOUT, 0)
    assert (chunk.data, chunk.is_all, chunk.is_over) == (b"one\n", True, False)
    assert (await read(stream, lease, log=STDERR)).data == b"two\n"
    assert (await read(stream, lease, 2)).data == b"e\n"


async def test_a_slot_that_was_used_before_tells_nothing_of_that(bed: Bed) -> None:
    """Asked before the command runs; its log file is the one of the command before."""
    stream = await bed.registered()
    leases = [bed.sh("echo former") for _ in range(2)]
    for lease in leases:
        stream.lease(lease)
        await stream.next("completion")
        stream.acknowledge(lease.key)
    lease = bed.sh(f"echo mine; {FOREVER}")
    stream.lease(lease)
    assert (await read(stream, lease)).data == b"mine\n"


async def test_a_question_waits_until_more_is_printed(bed: Bed) -> None:
    stream = await bed.registered()
    lease = bed.sh(f"echo one; sleep 0.2; echo two; {FOREVER}")
    stream.lease(lease)
    assert (await read(stream, lease)).data == b"one\n"
    assert (await read(stream, lease, 4)).data == b"two\n"


async def test_one_that_asks_at_once_is_told_even_that_there_is_nothing(bed: Bed) -> None:
    stream = await bed.registered()
    lease = bed.sh(f"echo one; {FOREVER}")
    stream.lease(lease)
    await read(stream, lease)
    chunk = await read(stream, lease, 4, at_once=True)
    assert (chunk.data, chunk.is_all, chunk.is_over) == (b"", True, False)


async def test_a_question_is_answered_after_a_while_though_nothing_is_printed(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that nothing looks at the file for ever for a reader who has gone."""
    monkeypatch.setattr(watched_logs, "_PATIENCE_SECONDS", 0.01)
    stream = await bed.registered()
    lease = bed.sh(FOREVER)
    stream.lease(lease)
    chunk = await read(stream, lease)
    assert (chunk.data, chunk.is_over) == (b"", False)


async def test_much_is_told_in_bounded_chunks_and_only_as_it_is_asked_for(bed: Bed) -> None:
    """After the first answer nobody asks: the next that comes is the completion."""
    stream = await bed.registered()
    size = 5 * CHUNK_BYTES
    lease = bed.sh(f"yes | head -c {size}; echo end >&2; {FOREVER}")
    stream.lease(lease)
    await read(stream, lease, log=STDERR)
    chunks = [await read(stream, lease, n * CHUNK_BYTES) for n in range(2)]
    assert [len(chunk.data) for chunk in chunks] == [CHUNK_BYTES] * 2
    assert not chunks[0].is_all
    assert b"".join(chunk.data for chunk in chunks) == b"y\n" * CHUNK_BYTES
    stream.cancel(lease.key)
    await stream.next("completion")


async def test_asking_twice_for_the_same_is_asking_once(bed: Bed) -> None:
    stream = await bed.registered()
    lease = bed.sh(f"sleep 0.2; echo one; {FOREVER}")
    stream.lease(lease)
    ask(stream, lease)
    ask(stream, lease)
    assert (await told(stream)).data == b"one\n"
    stream.cancel(lease.key)
    await stream.next("completion")


async def test_the_end_of_a_lease_is_the_end_of_its_logs(bed: Bed) -> None:
    stream = await bed.registered()
    lease = bed.sh("echo one; sleep 0.2")
    stream.lease(lease)
    await read(stream, lease)
    ask(stream, lease, 4)
    chunk = await told(stream)
    assert (chunk.offset, chunk.data, chunk.is_over) == (4, b"", True)
    await stream.next("completion")
    assert (await read(stream, lease)).is_over


async def test_the_log_of_a_lease_that_is_not_held_is_over(bed: Bed) -> None:
    stream = await bed.registered()
    assert (await read(stream, bed.sh("true"))).is_over


async def test_more_than_is_kept_is_not_told(bed: Bed) -> None:
    bed.worker._logs._log_size_bytes = 3
    stream = await bed.registered()
    lease = bed.sh(f"echo one; {FOREVER}")
    stream.lease(lease)
    assert (await read(stream, lease)).data == b"one"
    assert (await read(stream, lease, 3)).is_over


async def test_a_cancelled_command_completes_with_what_it_printed(bed: Bed) -> None:
    stream = await bed.registered()
    lease = bed.sh(f"echo one; echo two >&2; {FOREVER}")
    stream.lease(lease)
    await read(stream, lease)
    await read(stream, lease, log=STDERR)
    stream.cancel(lease.key)
    response = (await stream.next("completion")).completion.response
    assert response.status.code == code_pb2.CANCELLED
    stdout = bed.store.blobs[parse_digest(response.result.stdout_digest)]
    assert (stdout, response.result.exit_code) == (b"one\n", 137)
    assert bed.store.blobs[parse_digest(response.result.stderr_digest)] == b"two\n"


async def test_a_cancelled_command_that_never_ran_has_no_logs_of_the_one_before(bed: Bed) -> None:
    stream = await bed.registered()
    earlier = bed.sh("echo earlier")
    stream.lease(earlier)
    await stream.next("completion")
    later = bed.sh("echo later")
    bed.store.blobs.clear()  # so that it cannot be staged
    blocked = asyncio.Event()

    async def read_many(_: object) -> dict[object, bytes]:
        stream.cancel(later.key)
        await blocked.wait()
        return {}

    bed.store.read_many = read_many  # type: ignore[method-assign, assignment]
    stream.lease(later)
    response = (await stream.next("completion")).completion.response
    assert response.status.code == code_pb2.CANCELLED
    assert not response.HasField("result")


async def test_logs_that_cannot_be_stored_soon_do_not_keep_a_slot(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reapi.executor.action._CANCELLED_LOGS_SECONDS", 0.01)

    async def write_many(_: object) -> dict[object, Exception]:
        return await asyncio.get_running_loop().create_future()

    bed.store.write_many = write_many  # type: ignore[method-assign, assignment]
    stream = await bed.registered()
    lease = bed.sh(f"echo one; {FOREVER}")
    stream.lease(lease)
    await read(stream, lease)
    stream.cancel(lease.key)
    response = (await stream.next("completion")).completion.response
    assert response.status.code == code_pb2.CANCELLED
    assert not response.HasField("result")


async def test_stopping_while_somebody_watches_says_nothing_more(bed: Bed) -> None:
    stream = await bed.registered()
    lease = bed.sh(f"echo one; {FOREVER}")
    stream.lease(lease)
    await read(stream, lease)
    ask(stream, lease, 4)
    ask(stream, bed.sh("true"))
    assert (await told(stream)).is_over  # and so the question before it has arrived
    bed.running.cancel()
    await asyncio.wait((bed.running,))
    assert bed.running.cancelled()
