"""What every HistoryStore must do; a new one adds one line to MAKERS."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path

import pytest

from reapi.core.database import Database
from reapi.core.digest import BLAKE3, digest_of
from reapi.core.postgresql.dsn import Dsn
from reapi.core.postgresql.pool import PostgresqlPool
from reapi.scheduler import sqlite_history
from reapi.scheduler.history import (
    EXPIRY_BATCH,
    Attempt,
    HistoryQuery,
    HistoryRow,
    HistoryStore,
    ObservedDuration,
)
from reapi.scheduler.postgresql_history import PostgresqlHistory
from reapi.scheduler.sqlite_history import MIGRATIONS, SqliteHistory
from tests.fakes.memory_history import MemoryHistory

Opened = AbstractAsyncContextManager[HistoryStore]


def _sqlite(request: pytest.FixtureRequest) -> Opened:
    path: Path = request.getfixturevalue("tmp_path")

    @asynccontextmanager
    async def opened() -> AsyncIterator[HistoryStore]:
        async with Database(path / "history.db", MIGRATIONS) as database:
            yield SqliteHistory(database)

    return opened()


def _postgresql(request: pytest.FixtureRequest) -> Opened:
    dsn: Dsn = request.getfixturevalue("postgresql_dsn")

    @asynccontextmanager
    async def opened() -> AsyncIterator[HistoryStore]:
        async with PostgresqlPool(dsn) as pool, PostgresqlHistory(pool) as store:
            yield store

    return opened()


def _memory(request: pytest.FixtureRequest) -> Opened:
    return nullcontext(MemoryHistory())


MAKERS = {"memory": _memory, "postgresql": _postgresql, "sqlite": _sqlite}


@pytest.fixture(params=MAKERS)
def opened(request: pytest.FixtureRequest) -> Opened:
    return MAKERS[request.param](request)


@pytest.fixture
async def store(opened: Opened) -> AsyncIterator[HistoryStore]:
    async with opened as made:
        yield made


ROW = HistoryRow(
    operation_name="operations/0",
    instance_name="main",
    action=digest_of(b"action", BLAKE3),
    tenant="main",
    invocation="build-1",
    target="//app:count",
    mnemonic="CppCompile",
    target_key=b"same target",
    program_key=b"same program",
    cache_state="absent",
    cache_reason="",
    queued_at=100,
    started_at=200,
    finished_at=900,
    duration=600,
    exit_code=0,
    status_code=0,
    message="",
    attempts=(
        Attempt("w1", 7, 150, "it is the preferred worker", "lost", 180),
        Attempt('"w2"', 8, 200, 'better ones have no room: ["w3",', "completed", 900),
    ),
    user_time=300,
    system_time=20,
    peak_memory_bytes=3 << 40,
    read_bytes=4096,
    written_bytes=1 << 62,
)


def rows(number: int) -> list[HistoryRow]:
    """Each finishes a second after the one before it."""
    return [
        ROW._replace(operation_name=f"operations/{n}", finished_at=n * 1_000_000)
        for n in range(1, number + 1)
    ]


async def test_what_was_added_is_found_with_all_that_it_has(store: HistoryStore) -> None:
    bare = ROW._replace(operation_name="operations/1", target_key=None, program_key=None)
    await store.add([ROW, bare])
    assert await store.select(HistoryQuery(operation_name="operations/0"), 10) == [ROW]
    assert await store.select(HistoryQuery(), 10) == [bare, ROW]


async def test_an_operation_is_kept_once(store: HistoryStore) -> None:
    await store.add([ROW])
    await store.add([ROW._replace(message="later"), ROW._replace(operation_name="operations/1")])
    found = await store.select(HistoryQuery(), 10)
    assert [(row.operation_name, row.message) for row in found] == [
        ("operations/1", ""),
        ("operations/0", ""),
    ]


async def test_the_latest_come_first_and_no_more_than_asked_for(
    store: HistoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_history, "_ROWS_PER_LOOK", 2)
    await store.add(rows(9))
    found = await store.select(HistoryQuery(target="//app:count"), 5)
    assert [row.operation_name for row in found] == [f"operations/{n}" for n in (9, 8, 7, 6, 5)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (HistoryQuery(instance_name="main"), {2, 3, 4, 5}),
        (HistoryQuery(instance_name=""), {1}),
        (HistoryQuery(action=digest_of(b"other")), {2}),
        (HistoryQuery(target_key=b"k", other_than=digest_of(b"other")), {3}),
        (HistoryQuery(program_key=b"p"), {3}),
        (HistoryQuery(target="//lib"), {4}),
        (HistoryQuery(worker_id="w1"), {1, 2, 3, 4}),
        (HistoryQuery(worker_id='"w2"'), {1, 2, 3, 4}),
        (HistoryQuery(worker_id="w3"), set()),
        (HistoryQuery(worker_id="w"), set()),
        (HistoryQuery(finished_since=4_000_000), {4, 5}),
        (HistoryQuery(finished_before=4_000_000), {1, 2, 3}),
        (HistoryQuery(is_failed=True), {3, 5}),
        (HistoryQuery(is_failed=False, finished_since=2_000_000), {2, 4}),
    ],
)
async def test_rows_that_meet_all_conditions_are_found(
    store: HistoryStore, query: HistoryQuery, expected: set[int]
) -> None:
    first, second, third, fourth, fifth = rows(5)
    await store.add(
        [
            first._replace(instance_name=""),
            second._replace(action=digest_of(b"other"), target_key=b"k"),
            third._replace(target_key=b"k", program_key=b"p", exit_code=1),
            fourth._replace(target="//lib"),
            fifth._replace(attempts=(), status_code=10),
        ]
    )
    found = await store.select(query, 10)
    assert {int(row.operation_name.partition("/")[2]) for row in found} == expected


async def test_rows_expire_by_age(store: HistoryStore) -> None:
    await store.add(rows(5))
    assert await store.expire(3_000_000, 100) == 2
    assert await store.expire(3_000_000, 100) == 0
    assert [row.operation_name for row in await store.select(HistoryQuery(), 10)] == [
        "operations/5",
        "operations/4",
        "operations/3",
    ]


async def test_rows_beyond_the_number_expire(store: HistoryStore) -> None:
    await store.add(rows(5))
    assert await store.expire(0, 2) == 3
    found = await store.select(HistoryQuery(), 10)
    assert [row.operation_name for row in found] == ["operations/5", "operations/4"]


async def test_rows_expire_in_batches(store: HistoryStore) -> None:
    await store.add(rows(EXPIRY_BATCH + 5))
    assert await store.expire(1 << 60, 100_000) == EXPIRY_BATCH
    assert await store.expire(1 << 60, 100_000) == 5
    assert await store.expire(1 << 60, 100_000) == 0


async def test_durations_are_of_successful_runs_in_their_order(store: HistoryStore) -> None:
    assert await store.durations(10) == []
    added = rows(5)
    added[0] = added[0]._replace(duration=1)
    added[1] = added[1]._replace(exit_code=1)
    added[2] = added[2]._replace(duration=0, cache_state="present")
    await store.add(added)
    expected = ObservedDuration("main", "//app:count", "CppCompile", 600)
    assert await store.durations(10) == [expected._replace(duration=1), expected, expected]
    assert await store.durations(2) == [expected, expected]
