"""Every InvocationTable keeps these promises."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from reapi.cas.state.interface import MOST_INVOCATIONS, Invocation, InvocationTable
from reapi.cas.state.postgresql_invocations import PostgresqlInvocations
from reapi.cas.state.sqlite import open_sqlite
from reapi.core.postgresql.dsn import Dsn
from reapi.core.postgresql.pool import PostgresqlPool

LONGEST_SECONDS = 1000
Tables = tuple[InvocationTable, InvocationTable]
"""Two over one state, as two processes have it."""


Opened = AbstractAsyncContextManager[Tables]


def _sqlite(request: pytest.FixtureRequest) -> Opened:
    path: Path = request.getfixturevalue("tmp_path")

    @asynccontextmanager
    async def opened() -> AsyncIterator[Tables]:
        async with (
            open_sqlite(path, members=2) as first,
            open_sqlite(path, member=1, members=2) as second,
        ):
            yield first.invocations, second.invocations

    return opened()


def _postgresql(request: pytest.FixtureRequest) -> Opened:
    dsn: Dsn = request.getfixturevalue("postgresql_dsn")

    @asynccontextmanager
    async def opened() -> AsyncIterator[Tables]:
        async with (
            PostgresqlPool(dsn) as pool,
            PostgresqlPool(dsn) as other,
            PostgresqlInvocations(pool) as first,
            PostgresqlInvocations(other) as second,
        ):
            yield first, second

    return opened()


MAKERS = {"postgresql": _postgresql, "sqlite": _sqlite}


@pytest.fixture(params=MAKERS)
def opened(request: pytest.FixtureRequest) -> Opened:
    return MAKERS[request.param](request)


@pytest.fixture
async def tables(opened: Opened) -> AsyncIterator[Tables]:
    async with opened as made:
        yield made


async def test_what_one_process_notes_all_see_in_the_order_of_their_beginnings(
    tables: Tables,
) -> None:
    await tables[0].note({"b": 20, "c": 30}, LONGEST_SECONDS)
    await tables[1].note({"a": 10}, LONGEST_SECONDS)
    for table in tables:
        expected = [Invocation("a", 10), Invocation("b", 20), Invocation("c", 30)]
        assert list(await table.live(0, 0)) == expected


async def test_an_invocation_keeps_its_earliest_beginning(tables: Tables) -> None:
    await tables[0].note({"a": 20}, LONGEST_SECONDS)
    await tables[1].note({"a": 50}, LONGEST_SECONDS)
    await tables[0].note({"a": 10}, LONGEST_SECONDS)
    assert list(await tables[1].live(50, 0)) == [Invocation("a", 10)]
    assert list(await tables[1].live(51, 0)) == []
    assert list(await tables[1].live(0, 11)) == []


async def test_one_that_goes_on_for_too_long_begins_anew(tables: Tables) -> None:
    await tables[0].note({"a": 10}, LONGEST_SECONDS)
    await tables[0].unpin(["a"])
    await tables[0].note({"a": 9 + LONGEST_SECONDS}, LONGEST_SECONDS)
    assert list(await tables[0].live(0, 0)) == []
    await tables[0].note({"a": 10 + LONGEST_SECONDS}, LONGEST_SECONDS)
    assert list(await tables[0].live(0, 0)) == [Invocation("a", 10 + LONGEST_SECONDS)]


async def test_pins_are_taken_once(tables: Tables) -> None:
    await tables[0].note({"a": 1, "b": 2, "c": 3}, LONGEST_SECONDS)
    assert list(await tables[0].unpin(["a", "b"])) == ["a", "b"]
    assert list(await tables[1].unpin(["a", "b", "c", "unknown"])) == ["c"]
    assert list(await tables[1].live(0, 0)) == []


async def test_those_that_were_silent_for_longest_are_forgotten_first(tables: Tables) -> None:
    await tables[0].note({"old": 1, "busy": 1}, LONGEST_SECONDS)
    await tables[0].note({"busy": 500}, LONGEST_SECONDS)
    await tables[0].note({f"{n}": 100 + n % 50 for n in range(MOST_INVOCATIONS - 1)}, 1 << 40)
    live = {one.invocation_id for one in await tables[0].live(0, 0)}
    assert len(live) == MOST_INVOCATIONS
    assert "busy" in live
    assert "old" not in live
