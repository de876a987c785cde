"""PostgreSQL dies, fills up, is new or too new: what was acknowledged stays, and all heals."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
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
from tests.postgresql import PostgresqlServer

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
                assert index.losses() is None
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
        """As happens when the server says that it ends while a statement is about to be sent."""

        async def lose_track(connection: Connection) -> None:
            raise asyncpg.InternalClientError("cannot switch to state 12")

        async with PostgresqlPool(postgresql_dsn, max_connections=1) as pool:
            ((lost,),) = await pool.fetch("SELECT pg_backend_pid()")
            with pytest.raises(Unavailable) as caught:
                await pool.run(lose_track)
            assert caught.value.retry_after_seconds
            assert await pool.fetch("SELECT pg_backend_pid()") != [(lost,)]

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
