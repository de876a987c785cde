"""The scheduler and its journal while PostgreSQL is away, and when another scheduler takes over."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from reapi.clients.methods import WATCH_HEALTH
from reapi.core.digest import digest_of
from reapi.core.errors import FailedPrecondition, ReapiError, Unavailable
from reapi.core.postgresql.dsn import Dsn
from reapi.core.postgresql.pool import PostgresqlPool
from reapi.core.resource_name import read_name
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import ReadRequest
from reapi.scheduler import postgresql_journal
from reapi.scheduler.events import WaiterJoined
from reapi.scheduler.journal import Journal
from reapi.scheduler.journal_store import EventRow
from reapi.scheduler.postgresql_journal import PostgresqlJournal
from reapi.scheduler.state import Limits
from tests.fakes.raw_client import RawService, details_of, failure_of, raw_client
from tests.integration.production import Production
from tests.integration.system import System, open_system, sh
from tests.minio import S3Server, new_bucket
from tests.postgresql import PostgresqlServer
from tests.unit.scheduler.harness import FakeWorker, Scheduler

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class TestJournal:
    async def test_F9_the_journal_keeps_all_events_in_order_over_an_outage(
        self, postgresql_server: PostgresqlServer, postgresql_dsn: Dsn
    ) -> None:
        async with PostgresqlPool(postgresql_dsn) as pool:
            async with PostgresqlJournal(pool) as journal:
                for number in range(1, 1001):
                    journal.append(EventRow(number, f"{number}"))
                    first = journal.commit()
                    if number % 10 == 0:
                        await asyncio.sleep(0)
                    if number == 500:
                        await first
                        journal._patience_seconds = 0
                        postgresql_server.kill()
                with pytest.raises(Unavailable):
                    await journal.commit()
                with pytest.raises(Unavailable):
                    journal.check()
                postgresql_server.start()
                journal._patience_seconds = 60
                await _until_committed(journal)
                journal.check()
                assert [row.sequence for row in (await journal.load()).events] == [*range(1, 1001)]
            async with PostgresqlJournal(pool) as successor:
                assert len((await successor.load()).events) == 1000

    async def test_F9_a_scheduler_without_its_database_takes_no_action_and_loses_none(
        self,
        postgresql_server: PostgresqlServer,
        postgresql_dsn: Dsn,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("reapi.scheduler.dispatcher._RETRY_COMMIT_SECONDS", 0.01)
        async with Scheduler(postgresql_dsn) as scheduler:
            worker = FakeWorker(scheduler)
            await worker.connect()
            running = scheduler.execute(scheduler.add_action("runs"))
            name = (await running.next()).name
            lease = await worker.lease()
            assert isinstance(scheduler.journal, PostgresqlJournal)
            scheduler.journal._patience_seconds = 0
            postgresql_server.kill()
            worker.complete(lease)
            with pytest.raises(Unavailable):
                await scheduler.journal.commit()
            with pytest.raises(Unavailable):
                await scheduler.execute(scheduler.add_action("refused")).next()
            with pytest.raises(Unavailable):
                await scheduler.wait("operations/of the past").next()
            assert not (await scheduler.wait(name).next()).done
            scheduler.journal._patience_seconds = 60
            postgresql_server.start()
            last = await running.last()
            async with scheduler.successor() as successor:
                assert await successor.wait(name).last() == last
                assert not successor.dispatcher._queue.executions

    async def test_a_second_scheduler_is_refused_until_the_first_has_ended(
        self, postgresql_dsn: Dsn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("reapi.scheduler.postgresql_journal._LOCK_WAIT", "10ms")
        async with PostgresqlPool(postgresql_dsn) as pool:
            async with PostgresqlJournal(pool):
                with pytest.raises(FailedPrecondition, match="another scheduler is active"):
                    async with PostgresqlJournal(pool):
                        pass
            async with PostgresqlJournal(pool):
                pass

    async def test_reliability_F9_an_idle_scheduler_notices_an_outage_and_its_end(
        self, postgresql_server: PostgresqlServer, postgresql_dsn: Dsn
    ) -> None:
        async with PostgresqlPool(postgresql_dsn) as pool, PostgresqlJournal(pool) as journal:
            told: asyncio.Queue[ReapiError | None] = asyncio.Queue()
            journal.add_listener(told.put_nowait)
            journal._patience_seconds = 0
            postgresql_server.kill()
            problem = await told.get()
            assert isinstance(problem, Unavailable)
            with pytest.raises(Unavailable):
                journal.check()
            journal._patience_seconds = 60
            postgresql_server.start()
            assert await told.get() is None
            journal.check()

    async def test_a_scheduler_that_was_replaced_while_it_was_away_writes_nothing(
        self, postgresql_dsn: Dsn
    ) -> None:
        async with PostgresqlPool(postgresql_dsn) as pool, PostgresqlJournal(pool) as first:
            told: asyncio.Queue[ReapiError | None] = asyncio.Queue()
            first.add_listener(told.put_nowait)
            first.append(EventRow(1, "first"))
            await first.commit()
            async with replacement(pool) as second:
                assert isinstance(await told.get(), Unavailable)
                assert isinstance(await told.get(), FailedPrecondition)
                first.append(EventRow(2, "late"))
                with pytest.raises(Unavailable, match="taken over"):
                    await first.commit()
                with pytest.raises(Unavailable, match="taken over"):
                    await first.commit()
                with pytest.raises(Unavailable, match="taken over"):
                    first.check()
                assert (await second.load()).events == [EventRow(1, "first")]

    async def test_a_server_ends_when_another_scheduler_has_replaced_its_own(
        self, postgresql_dsn: Dsn, s3_server: S3Server, tmp_path: Path
    ) -> None:
        production = Production(tmp_path, postgresql_dsn, new_bucket(s3_server, tmp_path))
        with production.scheduler() as server:
            async with PostgresqlPool(postgresql_dsn) as pool, replacement(pool):
                assert await asyncio.to_thread(server.wait_for_end) == 1
            server.wait_for_log("another scheduler has taken over; this one must end")

    async def test_an_event_that_cannot_be_kept_fails_its_commit(self, postgresql_dsn: Dsn) -> None:
        async with (
            PostgresqlPool(postgresql_dsn) as pool,
            PostgresqlJournal(pool) as store,
        ):
            journal = Journal(store, finished_retention=1, max_finished=1, snapshot_interval=1)
            await journal.recover(Limits(1, 1, 1, 1))
            await journal.append(WaiterJoined("\0"), 1)  # JSON escapes it
            store._patience_seconds = 0
            store.append(EventRow(1 << 63, "too large a number"))
            with pytest.raises(Unavailable):
                await store.commit()


class TestServer:
    """What the clients of a whole server see."""

    async def test_reliability_F9_execution_alone_is_not_serving_while_the_database_is_away(
        self,
        postgresql_server: PostgresqlServer,
        postgresql_dsn: Dsn,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("reapi.scheduler.postgresql_journal._PATIENCE_SECONDS", 1.0)
        dsn_file = tmp_path / "dsn"
        dsn_file.write_text(postgresql_dsn.url)
        state = {"kind": "postgresql", "dsn_file": dsn_file}
        known = digest_of(b"known before")
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            system = await enter(open_system(tmp_path, storage={"state": state}))
            client = await enter(raw_client(system.address))
            service = RawService(client.channel, re_pb2.DESCRIPTOR.services_by_name["Execution"])
            await system.add_blobs(b"known before")
            action = await system.add(sh("echo"))
            request = re_pb2.ExecuteRequest(action_digest=action.to_message())
            execution = await enter(aclosing(_watch(system, "Execution")))
            storage = await enter(aclosing(_watch(system, "ContentAddressableStorage")))
            assert await anext(execution) == SERVING
            postgresql_server.kill()
            assert await anext(execution) == NOT_SERVING
            assert await anext(storage) == SERVING
            read = ReadRequest(resource_name=read_name("", known))
            (reply,) = await client.bytestream.Read(read)
            assert reply.data == b"known before"
            failure = await failure_of(service.Execute(request))
            assert failure.code() is grpc.StatusCode.UNAVAILABLE
            assert details_of(failure).details
            postgresql_server.start()
            assert await anext(execution) == SERVING
            assert await system.blobs.read_many([known]) == {known: b"known before"}


async def _watch(system: System, service: str) -> AsyncGenerator[int, None]:
    request = health_pb2.HealthCheckRequest(service=f"build.bazel.remote.execution.v2.{service}")
    async with aclosing(system.channel.server_stream(WATCH_HEALTH, request)) as replies:
        async for reply in replies:
            yield reply.status


@asynccontextmanager
async def replacement(pool: PostgresqlPool) -> AsyncIterator[PostgresqlJournal]:
    """The journal of the scheduler that has its turn when the active one loses its session."""
    journal = PostgresqlJournal(pool)
    entering = asyncio.create_task(journal.__aenter__())
    lock = f"locktype = 'advisory' AND objid = {postgresql_journal._LOCK & 0xFFFF_FFFF}"
    while not await pool.fetch(f"SELECT 1 FROM pg_locks WHERE {lock} AND NOT granted"):
        assert not entering.done()
    await pool.fetch(f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE {lock} AND granted")
    await entering
    try:
        yield journal
    finally:
        await journal.__aexit__()


async def _until_committed(journal: PostgresqlJournal) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                return await journal.commit()
            except Unavailable:
                continue
