"""What every ResultTable must do, also for two processes on one state; a new one adds one line."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from reapi.cas.state import postgresql_results, sqlite_results
from reapi.cas.state.interface import Removal, ResultQuery, ResultRow, ResultTable
from reapi.cas.state.postgresql_results import PostgresqlResults
from reapi.cas.state.sqlite import open_sqlite
from reapi.core.cache_state import CacheState
from reapi.core.postgresql.dsn import Dsn
from reapi.core.postgresql.pool import PostgresqlPool
from tests.cancelling import STEPS, cancel_after

Open = Callable[[], AbstractAsyncContextManager[ResultTable]]
"""Opens the one state of a test as another process would."""


def _postgresql(request: pytest.FixtureRequest) -> Open:
    dsn: Dsn = request.getfixturevalue("postgresql_dsn")

    @asynccontextmanager
    async def opened() -> AsyncIterator[ResultTable]:
        async with PostgresqlPool(dsn) as pool, PostgresqlResults(pool) as results:
            yield results

    return opened


def _sqlite(request: pytest.FixtureRequest) -> Open:
    data_dir: Path = request.getfixturevalue("tmp_path")
    free = sorted(range(8), reverse=True)

    @asynccontextmanager
    async def opened() -> AsyncIterator[ResultTable]:
        member = free.pop()
        async with open_sqlite(data_dir, member=member, members=8) as state:
            yield state.results
        free.append(member)

    return opened


FACTORIES: dict[str, Callable[[pytest.FixtureRequest], Open]] = {
    "postgresql": _postgresql,
    "sqlite": _sqlite,
}


@pytest.fixture(params=FACTORIES)
def open_table(request: pytest.FixtureRequest) -> Open:
    return FACTORIES[request.param](request)


@pytest.fixture
async def table(open_table: Open) -> AsyncIterator[ResultTable]:
    async with open_table() as one:
        yield one


@pytest.fixture
async def other(open_table: Open, table: ResultTable) -> AsyncIterator[ResultTable]:
    """The same state, as another process sees it."""
    async with open_table() as one:
        yield one


KEY = b"\x01" + bytes(32) + (142).to_bytes(8, "big") + b"main"
ROW = ResultRow(
    action_result=b"result",
    closure=b"closure" * 1000,
    used=10,
    stored=5,
    instance_name="main",
    worker="w1",
    writer="somebody",
)


def key(number: int) -> bytes:
    return b"\x01" + sha256(b"%d" % number).digest() + bytes(8)


class TestPut:
    async def test_what_was_put_is_found_by_all(
        self, table: ResultTable, other: ResultTable
    ) -> None:
        await table.put(KEY, ROW)
        assert await other.find(KEY) == ROW
        assert await other.find(KEY + b"2") is None

    async def test_a_later_row_takes_the_place_of_an_earlier_one(
        self, table: ResultTable, other: ResultTable
    ) -> None:
        await table.put(KEY, ROW)
        later = ROW._replace(action_result=b"other", closure=b"", used=3, stored=9, worker="w2")
        await other.put(KEY, later)
        assert await table.find(KEY) == later

    async def test_of_rows_put_at_once_the_last_one_stays(self, table: ResultTable) -> None:
        rows = [ROW._replace(action_result=b"%d" % n) for n in range(10)]
        await asyncio.gather(*(table.put(KEY, row) for row in rows))
        assert await table.find(KEY) == rows[-1]
        assert await table.total_bytes() == 1 + len(ROW.closure)

    async def test_names_may_hold_any_character(self, table: ResultTable) -> None:
        row = ROW._replace(worker="a\0b\\0é", writer="\n", instance_name="")
        await asyncio.gather(table.put(KEY, row), table.put(key(1), ROW))
        assert await table.find(KEY) == row
        assert await table.select(ResultQuery(worker="a\0b\\0é"), b"", 10) == [(KEY, row)]

    async def test_writers_of_the_same_keys_do_not_block_each_other(
        self, table: ResultTable, other: ResultTable
    ) -> None:
        keys = [key(n) for n in range(60)]
        for step in range(4):
            row = ROW._replace(used=step)
            await asyncio.gather(
                *(table.put(one, row) for one in keys),
                *(other.put(one, row) for one in reversed(keys)),
                *(other.touch(one, step) for one in keys[::-3]),
            )
        assert len(await table.select(ResultQuery(), b"", 100)) == 60


class TestCancellation:
    async def test_a_cancelled_put_is_there_at_once_or_never(self, open_table: Open) -> None:
        present = {}
        async with open_table() as table:
            for steps in range(STEPS):
                await cancel_after(steps, table.put(key(steps), ROW))
                present[steps] = await table.find(key(steps))
        async with open_table() as table:
            assert present == {steps: await table.find(key(steps)) for steps in range(STEPS)}

    async def test_a_cancelled_removal_happens_at_once_or_never(self, open_table: Open) -> None:
        present = {}
        async with open_table() as table:
            for steps in range(STEPS):
                await table.put(key(steps), ROW)
            for steps in range(STEPS):
                before = await table.version(key(steps))
                await cancel_after(steps, table.remove(key(steps), ROW))
                present[steps] = await table.find(key(steps))
                assert present[steps] or await table.version(key(steps)) != before
        async with open_table() as table:
            assert present == {steps: await table.find(key(steps)) for steps in range(STEPS)}


class TestVersion:
    async def test_it_changes_with_every_put_and_removal(
        self, table: ResultTable, other: ResultTable
    ) -> None:
        versions = [await table.version(KEY)]
        for one in (table, other):
            await one.put(KEY, ROW)
            versions.append(await table.version(KEY))
        assert len(set(versions)) == 3
        await other.remove(KEY, ROW)
        assert await table.version(KEY) != versions[-1]
        await other.put(KEY, ROW)
        assert await table.version(KEY) not in versions

    async def test_it_stays_while_others_change_and_the_row_is_touched(
        self, table: ResultTable, other: ResultTable
    ) -> None:
        await table.put(KEY, ROW)
        before = await table.version(KEY)
        await other.put(key(1), ROW)
        await other.touch(KEY, 20)
        assert await table.version(KEY) == before

    async def test_many_are_asked_for_at_once(self, table: ResultTable) -> None:
        await asyncio.gather(*(table.put(key(n), ROW) for n in range(50)))
        versions = await asyncio.gather(*(table.version(key(n % 60)) for n in range(120)))
        assert versions[:60] == versions[60:]
        assert 0 not in versions[:50]


class TestTouch:
    async def test_it_raises_the_last_use_and_never_lowers_it(
        self, table: ResultTable, other: ResultTable
    ) -> None:
        await table.put(KEY, ROW)
        await other.touch(KEY, 20)
        await table.touch(KEY, 15)
        await table.touch(key(1), 15)
        assert await table.find(KEY) == ROW._replace(used=20)


class TestRemove:
    async def test_a_row_goes_though_it_was_touched(
        self, table: ResultTable, other: ResultTable
    ) -> None:
        await table.put(KEY, ROW)
        await table.touch(KEY, 99)
        assert await other.remove(KEY, ROW)
        assert await table.find(KEY) is None
        assert await table.total_bytes() == 0
        assert not await other.remove(KEY, ROW)

    async def test_a_row_that_holds_another_result_stays(self, table: ResultTable) -> None:
        await table.put(KEY, ROW._replace(action_result=b"newer"))
        assert not await table.remove(KEY, ROW)
        assert await table.find(KEY) is not None

    async def test_why_a_row_was_removed_is_remembered_by_all(
        self, table: ResultTable, other: ResultTable
    ) -> None:
        revoked = Removal(7, CacheState.REVOKED)
        incomplete = Removal(8, CacheState.INCOMPLETE, "blobs/x/1")
        for removal in (revoked, incomplete):
            await table.put(KEY, ROW)
            assert await other.remove(KEY, ROW, removal)
            assert await table.last_removal(KEY) == removal
        assert not await table.remove(KEY, ROW, revoked)
        await table.put(KEY, ROW)
        await table.remove(KEY, ROW)
        assert await other.last_removal(KEY) == incomplete
        assert await table.last_removal(key(1)) is None

    async def test_only_the_latest_removals_are_remembered(
        self, table: ResultTable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in (postgresql_results, sqlite_results):
            monkeypatch.setattr(module, "MOST_REMOVALS", 3)
        for number in range(5):
            await table.put(key(number), ROW)
            await table.remove(key(number), ROW, Removal(number, CacheState.REVOKED))
        remembered = [await table.last_removal(key(number)) for number in range(5)]
        assert remembered[0] is None
        assert remembered[2:] == [Removal(n, CacheState.REVOKED) for n in (2, 3, 4)]

    async def test_rows_out_of_use_go(self, table: ResultTable, other: ResultTable) -> None:
        await asyncio.gather(*(table.put(key(n), ROW._replace(used=n)) for n in range(500)))
        await asyncio.gather(table.remove_unused(449), other.remove_unused(400))
        rest = await other.select(ResultQuery(), b"", 1000)
        assert sorted(row.used for _, row in rest) == list(range(450, 500))
        assert await table.total_bytes() == 50 * (len(ROW.action_result) + len(ROW.closure))


class TestSelect:
    @pytest.fixture
    async def rows(self, table: ResultTable) -> dict[bytes, ResultRow]:
        rows = {
            key(n): ROW._replace(
                stored=n,
                instance_name=("", "main")[n % 2],
                worker=f"w{n % 3}",
                writer=f"writer{n % 5}",
            )
            for n in range(60)
        }
        await asyncio.gather(*(table.put(one, row) for one, row in rows.items()))
        return rows

    @pytest.mark.parametrize(
        "query",
        [
            ResultQuery(),
            ResultQuery(instance_name=""),
            ResultQuery(worker="w1"),
            ResultQuery(writer="writer2"),
            ResultQuery(since=10),
            ResultQuery(until=10),
            ResultQuery("main", "w2", "writer1", 5, 50),
            ResultQuery(worker="nobody"),
        ],
    )
    async def test_rows_that_meet_all_conditions_come_in_order(
        self, table: ResultTable, rows: dict[bytes, ResultRow], query: ResultQuery
    ) -> None:
        def matches(row: ResultRow) -> bool:
            return (
                query.instance_name in (None, row.instance_name)
                and query.worker in (None, row.worker)
                and query.writer in (None, row.writer)
                and (query.since is None or row.stored >= query.since)
                and (query.until is None or row.stored <= query.until)
            )

        expected = sorted((one, row) for one, row in rows.items() if matches(row))
        assert await table.select(query, b"", 100) == expected
        assert await table.select(query, b"", 3) == expected[:3]

    async def test_pages_follow_each_other(
        self, table: ResultTable, rows: dict[bytes, ResultRow]
    ) -> None:
        found: list[bytes] = []
        while page := await table.select(ResultQuery(), found[-1] if found else b"", 7):
            found += [one for one, _ in page]
        assert found == sorted(rows)


async def test_bytes_are_those_of_results_and_closures(
    table: ResultTable, other: ResultTable
) -> None:
    await asyncio.gather(table.put(KEY, ROW), other.put(key(1), ROW._replace(closure=b"abc")))
    await other.put(KEY, ROW._replace(action_result=b"", closure=b"12"))
    assert await table.total_bytes() == 2 + len(ROW.action_result) + 3
