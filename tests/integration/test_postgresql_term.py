"""Terms of office in PostgreSQL: one at a time, the next one at once, and none after its end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from reapi.cas.state.interface import ResultRow
from reapi.cas.state.postgresql_results import PostgresqlResults
from reapi.core.errors import Aborted
from reapi.core.postgresql import term as terms
from reapi.core.postgresql.dsn import Dsn
from reapi.core.postgresql.pool import PostgresqlPool
from reapi.core.postgresql.term import Ousted, Tenure, in_office
from tests.postgresql import PostgresqlServer

TASK = "a task"
ROW = ResultRow(b"result", b"closure", 1, 1, "", "w", "me")


class Candidate:
    """One process that wants to be in office."""

    def __init__(self, pool: PostgresqlPool) -> None:
        self._pool = pool
        self._leaving = asyncio.Event()
        self.stands_by = asyncio.Event()
        self.has_renewed = asyncio.Event()
        self.tenure: asyncio.Future[Tenure] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with in_office(
            self._pool, TASK, self.stands_by.set, lambda _: self.has_renewed.set()
        ) as tenure:
            self.tenure.set_result(tenure)
            await self._leaving.wait()

    async def leave(self) -> None:
        self._leaving.set()
        await self.task


@pytest.fixture
async def pool(postgresql_dsn: Dsn) -> AsyncIterator[PostgresqlPool]:
    async with PostgresqlPool(postgresql_dsn) as opened:
        yield opened


@pytest.fixture
async def candidates(pool: PostgresqlPool) -> AsyncIterator[list[Candidate]]:
    """One in office, and one that stands by."""
    first = Candidate(pool)
    # Before, it would have a session that ends again, and its lock, ahead of the second one.
    await first.has_renewed.wait()
    second = Candidate(pool)
    await second.stands_by.wait()
    yield [first, second]
    for candidate in (first, second):
        candidate.task.cancel()
    await asyncio.wait([first.task, second.task])


async def test_the_next_one_follows_with_a_higher_epoch(candidates: list[Candidate]) -> None:
    first, second = candidates
    assert not second.tenure.done()
    await first.leave()
    assert (await second.tenure).term.epoch == (await first.tenure).term.epoch + 1


async def test_the_death_of_a_session_is_enough(candidates: list[Candidate]) -> None:
    first, second = candidates
    (await (await first.tenure).session()).terminate()
    await second.tenure
    with pytest.raises(Ousted):
        await (await first.tenure).session()
    await (await first.tenure).over()


async def test_F7_a_holder_that_is_silent_loses_its_session(
    candidates: list[Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its renewals stop, as those of a frozen process do; its session and its lock stay."""
    monkeypatch.setattr(terms, "LOST_AFTER_SECONDS", 0)
    first, second = candidates
    tenure = await first.tenure
    session = await tenure.session()
    tenure._over.set()  # ends renewing
    await second.tenure
    assert session.is_closed() or await _is_ended(session)
    with pytest.raises(Ousted):
        await tenure.session()


async def _is_ended(session: terms.Connection) -> bool:
    ended = asyncio.Event()
    session.add_termination_listener(lambda _: ended.set())
    await ended.wait()
    return True


async def test_C1_a_holder_that_renews_keeps_its_session_whatever_the_clocks_say(
    candidates: list[Candidate], pool: PostgresqlPool
) -> None:
    """Nothing in the table is a time; what counts is that the number rises."""
    ((columns,),) = await pool.fetch(
        "SELECT array_agg(data_type::text) FROM information_schema.columns"
        " WHERE table_name = 'reapi_term'"
    )
    assert set(columns) == {"text", "bigint"}
    before = await _renewals(pool)
    while await _renewals(pool) < before + 2:
        pass
    assert not candidates[1].tenure.done()


async def _renewals(pool: PostgresqlPool) -> int:
    ((renewals,),) = await pool.fetch("SELECT renewals FROM reapi_term WHERE task = $1", TASK)
    return int(renewals)


async def test_F9_the_holder_stays_in_office_when_the_database_restarts(
    postgresql_server: PostgresqlServer, pool: PostgresqlPool
) -> None:
    candidate = Candidate(pool)
    tenure = await candidate.tenure
    ended = asyncio.create_task(_is_ended(await tenure.session()))
    await asyncio.sleep(0)
    postgresql_server.restart()
    assert await ended
    assert not (await tenure.session()).is_closed()
    await candidate.leave()


async def test_F7_results_are_stored_in_office_only(
    candidates: list[Candidate], pool: PostgresqlPool
) -> None:
    first, second = candidates
    async with AsyncExitStack() as stack:
        old = PostgresqlResults(pool, (await first.tenure).term)
        old = await stack.enter_async_context(old)
        await old.put(b"1", ROW)
        await first.leave()
        new = PostgresqlResults(pool, (await second.tenure).term)
        new = await stack.enter_async_context(new)
        with pytest.raises(Aborted):
            await old.put(b"2", ROW)
        with pytest.raises(Aborted):
            await asyncio.gather(*(old.put(key, ROW) for key in (b"1", b"2")))
        assert await new.find(b"2") is None
        await new.put(b"2", ROW)
        assert await old.find(b"2") == ROW
        assert await new.total_bytes() == 2 * len(b"resultclosure")


async def test_F7_the_next_term_waits_for_a_write_of_the_one_before(
    candidates: list[Candidate], pool: PostgresqlPool
) -> None:
    """A write that has seen the epoch is over before the next one begins: none comes after."""
    first, second = candidates
    term = (await first.tenure).term
    async with pool.session({}) as session:
        transaction = session.transaction()
        await transaction.start()
        await session.execute(
            "SELECT FROM reapi_term WHERE task = $1 AND epoch = $2 FOR KEY SHARE", *term
        )
        before = await _renewals(pool)
        while await _renewals(pool) == before:
            pass  # which the write does not hold up
        await first.leave()
        await _until_waiting(pool)
        assert not second.tenure.done()
        await transaction.commit()
        await second.tenure


async def _until_waiting(pool: PostgresqlPool) -> None:
    waiting = "SELECT 1 FROM pg_locks WHERE locktype IN ('tuple', 'transactionid') AND NOT granted"
    while not await pool.fetch(waiting):
        pass


class FakeSession:
    """Says what it is told to, after the clock has moved on by so much."""

    def __init__(self, answers: list[tuple[float, int]]) -> None:
        self._answers = answers
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._moved = 0.0
        self.ended_at: int | None = None
        self.is_over = self._loop.create_task(asyncio.Event().wait())

    def time(self) -> float:
        return self._time() + self._moved

    async def fetchval(self, sql: str, task: str) -> int:
        seconds, renewals = self._answers.pop(0)
        self._moved += seconds
        if not self._answers:
            self.is_over.cancel()
        return renewals

    async def execute(self, sql: str, lock: int) -> None:
        self.ended_at = len(self._answers)
        self.is_over.cancel()


async def test_C2_whoever_was_suspended_looks_again_before_it_ends_the_session_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten minutes have passed for it; the holder has renewed its term all the time."""
    for answers, expected in (
        ([(0, 1), (1, 2), (600, 602), (1, 603)], None),
        ([(0, 1), (1, 2), (600, 2), (1, 2)], 1),
        ([(0, 1), (2.9, 1), (0, 2), (2.9, 2)], None),
    ):
        session = FakeSession([*answers])
        with monkeypatch.context() as patched:
            patched.setattr(asyncio.get_running_loop(), "time", session.time)
            patched.setattr(terms, "_WATCH_EVERY_SECONDS", 0)
            await terms._watch(session, TASK, 1, session.is_over)
        assert session.ended_at == expected
