"""PostgreSQL dies, fills up, is new or too new: what was acknowledged stays, and all heals."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from reapi.cas.state.interface import NewObject, ResultRow
from reapi.cas.state.postgresql import PostgresqlIndex
from reapi.cas.state.postgresql_results import PostgresqlResults
from reapi.cas.state.postgresql_schema import BLOB_COMPONENT, BLOB_MIGRATIONS
from reapi.core.errors import FailedPrecondition, InvalidArgument, ReapiError, Unavailable
from reapi.core.postgresql.check import check_postgresql
from reapi.core.postgresql.dsn import Dsn
from reapi.core.postgresql.migrations import migrate
from reapi.core.postgresql.pool import Connection, PostgresqlPool
from reapi.core.postgresql.term import in_office
from reapi.scheduler.events import WaiterJoined
from reapi.scheduler.journal import Journal
from reapi.scheduler.journal_store import EventRow, FinishedRow, Journaled, SnapshotRow
from reapi.scheduler.policy import Policy
from reapi.scheduler.postgresql_journal import COMPONENT as JOURNAL_COMPONENT
from reapi.scheduler.postgresql_journal import MIGRATIONS as JOURNAL_MIGRATIONS
from reapi.scheduler.postgresql_journal import PostgresqlJournal
from tests.postgresql import PostgresqlServer
from tests.unit.scheduler.harness import FakeWorker, Scheduler

ITEM = ("CREATE TABLE item (id integer PRIMARY KEY)",)


def key(kind: bytes, number: int) -> bytes:
    return b"\x01" + sha256(kind + b"%d" % number).digest()


class TestCrash:
    """F9: `kill -9` of the whole server while everybody writes."""

    async def test_F9_what_was_acknowledged_is_there_and_everything_heals(
        self, postgresql_server: PostgresqlServer, postgresql_dsn: Dsn
    ) -> None:
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            pool = await enter(PostgresqlPool(postgresql_dsn))
            index = await enter(PostgresqlIndex(pool))
            results = await enter(PostgresqlResults(pool))
            row = ResultRow(b"result", b"closure", 1, 1, "", "w", "me")

            async def add_inline(number: int) -> None:
                await index.add_inline({key(b"i", number): b"%d" % number}, 1, 1, "")

            async def add_object(number: int) -> None:
                suffix = f".{number:016x}"
                await index.add_objects([NewObject(key(b"o", number), 5, suffix)], 1, 1, "")

            async def put(number: int) -> None:
                await results.put(key(b"r", number), row._replace(used=number))

            writers = [_Writer(write) for write in (add_inline, add_object, put) for _ in range(3)]
            for _ in range(3):
                tasks = [asyncio.create_task(writer.run()) for writer in writers]
                await asyncio.gather(*(writer.has_written(5) for writer in writers))
                postgresql_server.kill()
                await asyncio.gather(*tasks)
                assert {type(writer.error) for writer in writers} == {Unavailable}
                await _until(lambda: index.losses() is None, index)
                postgresql_server.start()
            inline, objects, puts = (
                [number for writer in writers[n : n + 3] for number in writer.acknowledged]
                for n in (0, 3, 6)
            )
            found = await index.find([key(b"i", number) for number in inline])
            ids = {found[key(b"i", number)].inline_id or 0: b"%d" % number for number in inline}
            assert await index.read_inline(list(ids)) == ids
            assert len(await index.find([key(b"o", number) for number in objects])) == len(objects)
            for number in puts:
                assert await results.find(key(b"r", number)) == row._replace(used=number)
            rows = [one async for batch in index.rows() for one in batch]
            assert await index.total_bytes() == {"": sum(one.size for one in rows)}
            await _until(lambda: index.losses() is not None, index)

    async def test_F9_a_loss_during_an_outage_is_never_overlooked(
        self, postgresql_server: PostgresqlServer, postgresql_dsn: Dsn
    ) -> None:
        async with (
            PostgresqlPool(postgresql_dsn) as pool,
            PostgresqlIndex(pool) as index,
        ):
            before = index.losses()
            postgresql_server.restart()
            await _until(lambda: index.losses() not in (before, None), index)

    async def test_F9_an_eviction_whose_session_is_lost_ends(
        self, postgresql_server: PostgresqlServer, postgresql_dsn: Dsn
    ) -> None:
        async with PostgresqlPool(postgresql_dsn) as pool, PostgresqlIndex(pool) as index:
            objects = [NewObject(key(b"", n), 1, f".{n:016x}") for n in range(500)]
            await index.add_objects(objects, 1, 1, "")

            async def evict(after_batch: Callable[[], None]) -> None:
                async with index.evicting():
                    async for _ in index.evict(1000, 1):
                        after_batch()

            with pytest.raises(Unavailable):
                await evict(postgresql_server.restart)
            assert len(await index.leaving()) == 200
            await evict(lambda: None)
            assert len(await index.leaving()) == 500


class TestJournal:
    async def test_F9_the_journal_keeps_all_events_in_order_over_an_outage(
        self, postgresql_server: PostgresqlServer, postgresql_dsn: Dsn
    ) -> None:
        async with PostgresqlPool(postgresql_dsn) as pool:
            async with _open_journal(pool) as journal:
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
            async with _open_journal(pool) as successor:
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

    async def test_F7_a_scheduler_that_was_replaced_while_it_was_away_writes_nothing(
        self, postgresql_dsn: Dsn
    ) -> None:
        async with PostgresqlPool(postgresql_dsn) as pool, AsyncExitStack() as stack:
            renewed = asyncio.Event()
            tenure = await stack.enter_async_context(
                in_office(pool, "scheduler", lambda: None, lambda _: renewed.set())
            )
            # Before, it might have its session again, and its lock, ahead of the second one.
            await renewed.wait()
            first = await stack.enter_async_context(PostgresqlJournal(pool, tenure, ""))
            first.append(EventRow(1, "first"))
            await first.commit()
            (await tenure.session()).terminate()
            async with _open_journal(pool) as second:
                first.append(EventRow(2, "late"))
                for _ in range(2):
                    with pytest.raises(Unavailable, match="taken over"):
                        await first.commit()
                with pytest.raises(Unavailable, match="taken over"):
                    first.check()
                await tenure.over()
                assert (await second.load()).events == [EventRow(1, "first")]

    @pytest.mark.parametrize("turns", [0, 1], ids=["that waits", "under way"])
    async def test_leaving_waits_for_the_last_commit_and_for_nothing_else(
        self, postgresql_dsn: Dsn, turns: int
    ) -> None:
        async with PostgresqlPool(postgresql_dsn) as pool:
            async with _open_journal(pool) as journal:
                journal._patience_seconds = 3600
                journal.append(EventRow(1, "last"))
                last = journal.commit()
                for _ in range(turns):
                    await asyncio.sleep(0)
                assert bool(journal._under_way) == bool(turns)
            assert await last is None
            async with _open_journal(pool) as successor:
                assert (await successor.load()).events == [EventRow(1, "last")]

    async def test_the_journals_of_shards_are_apart(self, postgresql_dsn: Dsn) -> None:
        async with PostgresqlPool(postgresql_dsn) as pool, AsyncExitStack() as stack:
            journals = []
            for shard in ("", "a"):
                task = f"scheduler {shard}"
                tenure = await stack.enter_async_context(in_office(pool, task, lambda: None))
                journal = PostgresqlJournal(pool, tenure, shard)
                journals.append(await stack.enter_async_context(journal))
            for number, journal in enumerate(journals):
                journal.append(EventRow(1, f"folded {number}"))
                journal.append(EventRow(2, f"event {number}"))
                journal.finish(FinishedRow(1, f"name {number}", "", 5, b""))
                await journal.commit()
            journals[0].fold(SnapshotRow(1, 1, "snapshot"))
            journals[0].expire(9, 1)
            await journals[0].commit()
            loaded = [await journal.load() for journal in journals]
            assert [len(one.events) for one in loaded] == [1, 2]
            assert [one.snapshot is None for one in loaded] == [False, True]
            assert [one.last_finished is None for one in loaded] == [True, False]
            assert await journals[0].finished("name 1", 0) is None
            assert await journals[1].list_finished(None, "", 0, 9) == [("name 1", b"")]

    async def test_F11_a_journal_of_the_schema_before_shards_is_read(
        self, postgresql_dsn: Dsn
    ) -> None:
        async with PostgresqlPool(postgresql_dsn) as pool:
            await migrate(pool, JOURNAL_COMPONENT, JOURNAL_MIGRATIONS[:1])
            await pool.fetch("INSERT INTO journal_event VALUES (8, 'event')")
            await pool.fetch("INSERT INTO journal_snapshot VALUES (true, 7, 1, 'snapshot')")
            await pool.fetch("INSERT INTO journal_finished VALUES (1, 'name', 'main', 5, 'last')")
            async with _open_journal(pool) as journal:
                assert await journal.load() == Journaled(
                    SnapshotRow(7, 1, "snapshot"),
                    [EventRow(8, "event")],
                    FinishedRow(1, "name", "main", 5, b"last"),
                )

    async def test_an_event_that_cannot_be_kept_fails_its_commit(self, postgresql_dsn: Dsn) -> None:
        async with (
            PostgresqlPool(postgresql_dsn) as pool,
            _open_journal(pool) as store,
        ):
            journal = Journal(store, finished_retention=1, max_finished=1, snapshot_interval=1)
            await journal.recover(Policy())
            await journal.append(WaiterJoined("\0"), 1, ())  # JSON escapes it
            store._patience_seconds = 0
            store.append(EventRow(1 << 63, "too large a number"))
            with pytest.raises(Unavailable):
                await store.commit()


class TestMigrations:
    async def test_F11_four_that_start_at_once_apply_each_migration_once(
        self, postgresql_dsn: Dsn
    ) -> None:
        async with AsyncExitStack() as stack:
            pools = [
                await stack.enter_async_context(PostgresqlPool(postgresql_dsn)) for _ in range(4)
            ]
            later = (*ITEM, "INSERT INTO item VALUES (1)", "INSERT INTO item VALUES (2)")
            await asyncio.gather(*(migrate(pool, "test", later) for pool in pools))
            rows = await pools[0].fetch("SELECT id FROM item ORDER BY id")
            assert [row[0] for row in rows] == [1, 2]

    async def test_F11_a_newer_schema_is_refused_with_both_numbers(
        self, postgresql_dsn: Dsn
    ) -> None:
        async with PostgresqlPool(postgresql_dsn) as pool:
            newer = (*BLOB_MIGRATIONS, *ITEM)
            await migrate(pool, BLOB_COMPONENT, newer)
            expected = f"schema {len(newer)}; this one knows up to {len(BLOB_MIGRATIONS)}"
            with pytest.raises(FailedPrecondition, match=expected):
                async with PostgresqlIndex(pool):
                    pass

    async def test_F11_a_migration_that_fails_leaves_nothing(self, postgresql_dsn: Dsn) -> None:
        async with PostgresqlPool(postgresql_dsn) as pool:
            failing = (*ITEM, "INSERT INTO item VALUES (1); INSERT INTO item VALUES (1)")
            with pytest.raises(Exception, match="duplicate key"):
                await migrate(pool, "test", failing)
            assert await pool.fetch("SELECT * FROM item") == []
            await migrate(pool, "test", (*ITEM, "INSERT INTO item VALUES (1)"))
            assert len(await pool.fetch("SELECT * FROM item")) == 1


class TestPool:
    async def test_a_deadlock_is_tried_again(self, postgresql_dsn: Dsn) -> None:
        async with PostgresqlPool(postgresql_dsn) as pool:
            await migrate(pool, "test", (*ITEM, "INSERT INTO item VALUES (1), (2)"))
            both_hold_one = asyncio.Barrier(2)
            attempts = 0

            async def change(connection: Connection, first: int, second: int) -> None:
                nonlocal attempts
                attempts += 1
                sql = "UPDATE item SET id = id WHERE id = $1"
                async with connection.transaction():
                    await connection.execute(sql, first)
                    if attempts <= 2:
                        await both_hold_one.wait()
                    await connection.execute(sql, second)

            await asyncio.gather(
                pool.run(lambda connection: change(connection, 1, 2)),
                pool.run(lambda connection: change(connection, 2, 1)),
            )
            assert attempts >= 3

    async def test_a_server_without_room_for_connections_is_unavailable(
        self, postgresql_server: PostgresqlServer, postgresql_dsn: Dsn
    ) -> None:
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(PostgresqlPool(postgresql_dsn))

            async def take_all() -> None:
                while True:
                    await stack.enter_async_context(pool.session({}))

            with pytest.raises(Unavailable, match="too many"):
                await take_all()

    async def test_F9_a_connection_of_which_the_driver_has_lost_track_is_not_used_again(
        self, postgresql_dsn: Dsn
    ) -> None:
        async def lose_track(connection: Connection) -> None:
            raise asyncpg.InternalClientError("got result for unknown protocol state")

        async with PostgresqlPool(postgresql_dsn, max_connections=1) as pool:
            ((lost,),) = await pool.fetch("SELECT pg_backend_pid()")
            with pytest.raises(Unavailable) as caught:
                await pool.run(lose_track)
            assert caught.value.retry_after_seconds
            assert await pool.fetch("SELECT pg_backend_pid()") != [(lost,)]

    async def test_F9_a_connection_whose_end_was_announced_costs_no_call(
        self, postgresql_dsn: Dsn
    ) -> None:
        """What a server says that shuts down arrives a moment before the connection closes."""
        fields = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
        announcement = b"E" + struct.pack("!i", 4 + len(fields)) + fields

        async def hear(connection: Connection) -> None:
            connection._protocol.data_received(announcement)

        async with PostgresqlPool(postgresql_dsn, max_connections=1) as pool:
            ((ending,),) = await pool.fetch("SELECT pg_backend_pid()")
            await pool.run(hear)
            assert await pool.fetch("SELECT pg_backend_pid()") != [(ending,)]

    async def test_ending_the_sessions_costs_no_more_than_the_calls_that_met_it(
        self, postgresql_dsn: Dsn
    ) -> None:
        async with PostgresqlPool(postgresql_dsn, max_connections=2) as pool:
            sleeping = asyncio.create_task(pool.fetch("SELECT pg_sleep(60)"))
            ended: list[Any] = []
            while not ended:
                ended = await pool.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE wait_event = 'PgSleep'"
                )
            with pytest.raises(Unavailable):
                await sleeping
            assert await pool.fetch("SELECT 1")


class TestCheck:
    """What `reapi-server check` says."""

    async def test_all_is_well(self, postgresql_dsn: Dsn) -> None:
        assert "test absent" in await check_postgresql(postgresql_dsn, {"test": 1})
        async with PostgresqlPool(postgresql_dsn) as pool:
            await migrate(pool, "test", ITEM)
        assert "test 1" in await check_postgresql(postgresql_dsn, {"test": 1})

    async def test_what_is_wrong_comes_first(
        self, postgresql_server: PostgresqlServer, postgresql_dsn: Dsn, tmp_path: Path
    ) -> None:
        async with PostgresqlPool(postgresql_dsn) as pool:
            await migrate(pool, "test", (*ITEM, "SELECT 1"))
            await pool.fetch("DROP ROLE IF EXISTS visitor")
            await pool.fetch("CREATE ROLE visitor LOGIN")
            await pool.fetch("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            await pool.fetch("GRANT SELECT ON reapi_schema TO visitor")
        database = postgresql_dsn.url.rpartition("/")[2]
        visitor = postgresql_server.dsn(database, "visitor")
        for dsn, known, part in (
            (Dsn("postgresql://reapi@127.0.0.1:1/x"), 2, "address"),
            (Dsn("postgresql://reapi@127.0.0.1:x/x", tmp_path), 2, "connection string"),
            (postgresql_server.dsn(database, "nobody"), 2, "credentials"),
            (postgresql_server.dsn("absent"), 2, "database"),
            (postgresql_dsn, 1, "schema"),
            (visitor, 2, "permission"),
            (visitor, 3, "permission"),
        ):
            with pytest.raises(FailedPrecondition, match=rf"^{part}: "):
                await check_postgresql(dsn, {"test": known})

    async def test_too_old_a_server_is_named(
        self, postgresql_dsn: Dsn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("reapi.core.postgresql.pool.OLDEST_VERSION", 99)
        with pytest.raises(FailedPrecondition, match=r"^version: .*99 or newer"):
            await check_postgresql(postgresql_dsn, {})

    async def test_a_connection_string_is_never_shown(self, tmp_path: Path) -> None:
        dsn = Dsn("postgresql://user:secret@127.0.0.1:secret/x?secret", tmp_path / "dsn")
        with pytest.raises(InvalidArgument) as caught:
            async with PostgresqlPool(dsn):
                pass
        assert "secret" not in f"{caught.value} {caught.value.__cause__}"
        assert str(tmp_path / "dsn") in caught.value.message


@asynccontextmanager
async def _open_journal(pool: PostgresqlPool) -> AsyncIterator[PostgresqlJournal]:
    """In office."""
    async with (
        in_office(pool, "scheduler", lambda: None) as tenure,
        PostgresqlJournal(pool, tenure, "") as journal,
    ):
        yield journal


class _Writer:
    """Writes one after the other until it is told that it cannot."""

    _numbers = iter(range(1 << 30))

    def __init__(self, write: Callable[[int], Awaitable[None]]) -> None:
        self._write = write
        self._progress = asyncio.Condition()
        self.acknowledged: list[int] = []
        self.error: ReapiError | None = None

    async def run(self) -> None:
        self.error = None
        while True:
            number = next(self._numbers)
            try:
                await self._write(number)
            except ReapiError as error:
                self.error = error
                return
            async with self._progress:
                self.acknowledged.append(number)
                self._progress.notify_all()

    async def has_written(self, more: int) -> None:
        wanted = len(self.acknowledged) + more
        async with self._progress:
            await self._progress.wait_for(lambda: len(self.acknowledged) >= wanted)


async def _until(is_so: Callable[[], bool], index: PostgresqlIndex) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            # Something that takes the time of a call, whether the server answers or not.
            await asyncio.wait([asyncio.ensure_future(index.oldest_used())])


async def _until_committed(journal: PostgresqlJournal) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                return await journal.commit()
            except Unavailable:
                continue
