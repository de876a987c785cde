"""Data of earlier and of later versions, and an index that is lost (reliability F11)."""

import random
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from reapi.cas.closure import pack_closure
from reapi.cas.factory import Storage
from reapi.cas.result_key import result_key
from reapi.cas.state import sqlite_index, sqlite_inline, sqlite_results
from reapi.cas.state.postgresql import PostgresqlIndex
from reapi.cas.state.postgresql_results import PostgresqlResults
from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import FailedPrecondition, NotFound
from reapi.core.postgresql.dsn import Dsn
from reapi.core.postgresql.pool import PostgresqlPool
from reapi.core.postgresql.term import in_office
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.scheduler.postgresql_history import PostgresqlHistory
from reapi.scheduler.postgresql_journal import PostgresqlJournal
from tests.fakes.local_storage import ManualClock, local_storage
from tests.server_process import ServerProcess

FRONTEND = ("--role", "frontend", "--role", "scheduler")
ACTION = digest_of(b"an action")


def contents(seed: int, *sizes: int) -> dict[Digest, bytes]:
    chosen = random.Random(seed)
    return {digest_of(data): data for data in map(chosen.randbytes, sizes)}


SMALL = contents(1, 1, 10, 100, 999)
LARGE = contents(2, 1001, 20_000, 2_500_000)
LEAVING = contents(3, 5000)
"""Being deleted when the old program was killed."""


def _run(command: Sequence[str], data_dir: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "reapi.server", *command, "--data-dir", str(data_dir)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def _database(path: Path, script: str) -> sqlite3.Connection:
    """A file of schema 1."""
    connection = sqlite3.connect(path)
    connection.executescript(f"PRAGMA journal_mode = WAL; {script}; PRAGMA user_version = 1")
    return connection


def write_version_1(data_dir: Path, used: int) -> None:
    """What the first version left behind that was killed while it deleted a blob."""
    for digest, data in {**LARGE, **LEAVING}.items():
        path = data_dir / "blobs" / digest.hash[:2] / f"{digest.hash}-{digest.size_bytes}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    rows = [(digest.key, digest.size_bytes, None) for digest in LARGE]
    with closing(_database(data_dir / "inline.db", sqlite_inline.MIGRATIONS[0])) as inline, inline:
        for number, (digest, data) in enumerate(SMALL.items(), start=7):
            inline.execute("INSERT INTO inline VALUES (?, ?)", (number, data))
            rows.append((digest.key, digest.size_bytes, number))
    with closing(_database(data_dir / "index.db", sqlite_index.MIGRATIONS[0])) as index, index:
        index.executemany(f"INSERT INTO blob VALUES (?, ?, ?, {used}, {used})", rows)
        for digest in LEAVING:
            row = (digest.key, digest.size_bytes)
            index.execute("INSERT INTO deleting VALUES (?, ?, NULL)", row)
        index.execute("UPDATE total SET bytes = ?", (sum(size for _, size, _ in rows),))
        index.execute("UPDATE run SET closed_cleanly = 0")
    with closing(_database(data_dir / "results.db", sqlite_results.MIGRATIONS[0])) as table, table:
        output = next(iter(LARGE))
        result = re_pb2.ActionResult(output_files=[{"path": "o", "digest": output.to_message()}])
        serialized, closure = result.SerializeToString(), pack_closure([output])
        row = (result_key("main", ACTION), serialized, closure, used)
        table.execute("INSERT INTO result VALUES (?, ?, ?, ?)", row)
        table.execute("UPDATE total SET bytes = ?", (len(serialized) + len(closure),))


def objects(data_dir: Path) -> list[Path]:
    return sorted(path for path in (data_dir / "blobs").rglob("*") if path.is_file())


async def settled(storage: Storage) -> None:
    assert storage.recovery is not None
    await storage.recovery


class TestVersion1:
    async def test_reliability_F11_blobs_and_results_are_read(self, tmp_path: Path) -> None:
        clock = ManualClock()
        write_version_1(tmp_path, clock.seconds)
        everything = {**SMALL, **LARGE}
        async with local_storage(tmp_path, clock=clock) as storage:
            await settled(storage)
            assert await storage.blobs.find_missing([*everything, *LEAVING]) == [*LEAVING]
            assert len(objects(tmp_path)) == len(LARGE)
            assert await storage.blobs.write_many(LEAVING) == {}
        everything.update(LEAVING)
        async with local_storage(tmp_path, clock=clock) as storage:
            assert await storage.blobs.find_missing([*everything]) == []
            assert await storage.blobs.read_many([*everything]) == everything
            total_bytes = sum((await storage.parts.index.total_bytes()).values())
            assert total_bytes == sum(map(len, everything.values()))
            result = await storage.action_cache.get("main", ACTION)
            assert result.output_files[0].path == "o"
            with pytest.raises(NotFound):
                await storage.action_cache.get("", ACTION)

    async def test_reliability_F11_blobs_are_evicted_with_their_bytes(self, tmp_path: Path) -> None:
        clock = ManualClock()
        write_version_1(tmp_path, clock.seconds)
        clock.seconds += 10 * 24 * 3600
        async with local_storage(tmp_path, clock=clock) as storage:
            await settled(storage)
            async with storage.parts.index.evicting():
                await storage.parts.evictor.evict(1 << 40)
            assert await storage.blobs.find_missing([*SMALL, *LARGE]) == [*SMALL, *LARGE]
            assert sum((await storage.parts.index.total_bytes()).values()) == 0
            assert [blobs async for blobs in storage.parts.index.inline_blobs() if blobs] == []
        assert objects(tmp_path) == []

    async def test_reliability_F11_damaged_blobs_are_quarantined(self, tmp_path: Path) -> None:
        clock = ManualClock()
        write_version_1(tmp_path, clock.seconds)
        for path in objects(tmp_path):
            path.write_bytes(path.read_bytes()[:-1] + b"?")
        registry = CollectorRegistry()
        async with local_storage(tmp_path, clock=clock, registry=registry) as storage:
            await settled(storage)
            assert await storage.blobs.read_many([*SMALL, *LARGE]) == SMALL
            assert await storage.blobs.find_missing([*SMALL, *LARGE]) == [*LARGE]
            counted = registry.get_sample_value("reapi_storage_quarantined_blobs_total")
            assert counted == len(LARGE)
            with pytest.raises(NotFound):
                await storage.action_cache.get("main", ACTION)
            assert await storage.blobs.write_many(LARGE) == {}
            assert await storage.blobs.read_many([*LARGE]) == LARGE
        assert len(list((tmp_path / "quarantine").iterdir())) == len(LARGE)


@asynccontextmanager
async def _journal(pool: PostgresqlPool) -> AsyncIterator[PostgresqlJournal]:
    async with (
        in_office(pool, "scheduler", lambda: None) as tenure,
        PostgresqlJournal(pool, tenure, "") as journal,
    ):
        yield journal


class TestNewerVersions:
    @pytest.mark.slow
    def test_reliability_F11_every_database_of_a_newer_version_is_refused(
        self, tmp_path: Path
    ) -> None:
        data_dir = tmp_path / "data"
        with ServerProcess(data_dir, *FRONTEND):
            pass
        databases = sorted(data_dir.glob("*.db"))
        assert {path.name for path in databases} >= {
            "index.db",
            "inline.db",
            "results.db",
            "scheduler.db",
            "history.db",
        }
        for path in databases:
            with closing(sqlite3.connect(path)) as connection:
                ((known,),) = connection.execute("PRAGMA user_version").fetchall()
                connection.execute(f"PRAGMA user_version = {known + 1}")
            refused = _run(["serve", "--listen", "127.0.0.1:0", *FRONTEND], data_dir)
            assert refused.returncode == 1
            assert refused.stdout == ""
            (message,) = refused.stderr.strip().splitlines()[-1:]
            assert f"{path} was written by a newer version of this program" in message
            assert f"(schema {known + 1}; this one knows up to {known})" in message
            if path.name == "index.db":
                assert "newer version" in _run(["storage", "stats"], data_dir).stderr
            with closing(sqlite3.connect(path)) as connection:
                ((untouched,),) = connection.execute("PRAGMA user_version").fetchall()
                assert untouched == known + 1
                connection.execute(f"PRAGMA user_version = {known}")
        assert _run(["storage", "stats"], data_dir).returncode == 0

    @pytest.mark.parametrize("component", ["blobs", "results", "journal", "history"])
    async def test_reliability_F11_a_newer_schema_in_postgresql_is_refused(
        self, postgresql_dsn: Dsn, component: str
    ) -> None:
        openers = {
            "blobs": PostgresqlIndex,
            "results": PostgresqlResults,
            "journal": _journal,
            "history": PostgresqlHistory,
        }
        async with PostgresqlPool(postgresql_dsn) as pool:
            async with openers[component](pool):
                pass
            rows = await pool.fetch(
                "UPDATE reapi_schema SET version = version + 1 WHERE component = $1"
                " RETURNING version",
                component,
            )
            newer = rows[0][0]
            expected = f"newer version.*schema {newer}; this one knows up to {newer - 1}"
            with pytest.raises(FailedPrecondition, match=expected):
                async with openers[component](pool):
                    pass


@asynccontextmanager
async def blobs_of(data_dir: Path) -> AsyncIterator[RemoteBlobStore]:
    """The blobs of a server, of a process of its own, as its clients have them."""
    with ServerProcess(data_dir, *FRONTEND) as server:
        async with Channel(server.grpc) as channel:
            yield RemoteBlobStore(channel, "")


def lose_index(data_dir: Path) -> None:
    for path in data_dir.glob("index.db*"):
        path.unlink()


@pytest.mark.slow
async def test_reliability_F11_after_a_rebuild_a_server_answers_as_before_its_index_was_lost(
    tmp_path: Path,
) -> None:
    data_dir = tmp_path / "data"
    stored = {**contents(5, *range(1, 40)), **contents(6, 17_000, 300_000, 3_000_000)}
    asked = [*stored, *contents(7, 5, 50_000)]
    async with blobs_of(data_dir) as blobs:
        assert await blobs.write_many(stored) == {}
        before = await blobs.find_missing(asked)
    assert len(before) == 2
    lose_index(data_dir)
    rebuilt = _run(["storage", "rebuild"], data_dir)
    assert rebuilt.returncode == 0, rebuilt.stderr
    async with blobs_of(data_dir) as blobs:
        assert await blobs.find_missing(asked) == before
        for digest, data in stored.items():
            assert b"".join([chunk async for chunk in blobs.read(digest)]) == data


@pytest.mark.slow
async def test_reliability_F11_without_a_rebuild_what_was_lost_is_missing_and_nothing_is_wrong(
    tmp_path: Path,
) -> None:
    """The bytes are left alone, so that the index can still be made anew."""
    data_dir = tmp_path / "data"
    stored = contents(8, 10, 50_000)
    async with blobs_of(data_dir) as blobs:
        assert await blobs.write_many(stored) == {}
    lose_index(data_dir)
    async with blobs_of(data_dir) as blobs:
        assert set(await blobs.find_missing(stored)) == set(stored)
    assert _run(["storage", "rebuild"], data_dir).returncode == 0
    async with blobs_of(data_dir) as blobs:
        assert await blobs.find_missing(stored) == []
