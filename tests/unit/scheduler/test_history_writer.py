"""History is written beside the work, bounded, and fails nothing."""

import asyncio

import pytest

from reapi.core.errors import Unavailable
from reapi.scheduler import history_writer
from reapi.scheduler.history import EXPIRY_BATCH, HistoryRow
from reapi.scheduler.history_writer import HistoryWriter
from tests.contracts.test_history_store import ROW
from tests.fakes.memory_history import MemoryHistory


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PAUSE_SECONDS", "_RETRY_SECONDS"):
        monkeypatch.setattr(history_writer, name, 0)


def row(number: int, finished_at: int = 0) -> HistoryRow:
    return ROW._replace(operation_name=f"operations/{number}", finished_at=finished_at)


def writer(store: MemoryHistory, *, retention: int = 1000, max_rows: int = 1000) -> HistoryWriter:
    return HistoryWriter(store, retention=retention, max_rows=max_rows, now=lambda: 1000)


class ToldHistory(MemoryHistory):
    """Says when rows are there, and when the old ones are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.is_written = asyncio.Event()
        self.is_expired = asyncio.Event()

    async def add(self, rows: list[HistoryRow]) -> None:  # type: ignore[override]
        await super().add(rows)
        self.is_written.set()

    async def expire(self, finished_before: int, max_rows: int) -> int:
        gone = await super().expire(finished_before, max_rows)
        if gone < EXPIRY_BATCH:
            self.is_expired.set()
        return gone


async def test_rows_are_written_in_order_without_being_asked_for() -> None:
    store = ToldHistory()
    async with writer(store) as one:
        for number in range(3):
            one.add(row(number))
        await store.is_written.wait()
    assert [each.operation_name for each in store.rows] == [f"operations/{n}" for n in range(3)]


async def test_leaving_writes_what_waits_in_bounded_commits() -> None:
    store = MemoryHistory()
    async with writer(store) as one:
        for number in range(600):
            one.add(row(number))
    assert len(store.rows) == 600
    assert store.largest_commit == 250


async def test_rows_are_kept_while_the_store_is_away() -> None:
    store = ToldHistory()
    store.failures = [Unavailable("away"), Unavailable("still")]
    async with writer(store) as one:
        one.add(row(1))
        await one.flush()
        assert not store.rows
        one.add(row(2))
        await store.is_written.wait()
    assert [each.operation_name for each in store.rows] == ["operations/1", "operations/2"]


async def test_rows_that_cannot_be_written_do_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryHistory()
    store.failures = [ValueError("a bug")]
    async with writer(store) as one:
        for number in range(300):
            one.add(row(number))
    assert len(store.rows) == 50
    assert "cannot write 250 operations" in caplog.text


async def test_of_too_many_rows_the_oldest_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_writer, "MOST_WAITING", 3)
    store = MemoryHistory()
    async with writer(store) as one:
        for number in range(5):
            one.add(row(number))
    assert [each.operation_name for each in store.rows] == [f"operations/{n}" for n in (2, 3, 4)]


async def test_old_rows_expire() -> None:
    store = ToldHistory()
    store.rows = [row(number, finished_at=number) for number in range(2500)]
    async with writer(store, retention=0, max_rows=5000) as one:
        one.add(row(9999, finished_at=1000))
        await store.is_expired.wait()
    assert [each.finished_at for each in store.rows] == [*range(1000, 2500), 1000]


async def test_a_store_that_never_answers_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(history_writer, "_LAST_SECONDS", 0)
    store = MemoryHistory()

    async def add(rows: list[HistoryRow]) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(store, "add", add)
    async with writer(store) as one:
        one.add(row(1))
    assert "lacks the last 1 operations" in caplog.text
