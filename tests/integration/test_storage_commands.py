"""`reapi-server storage verify`, `gc`, `rebuild` and `stats` as their user calls them."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from reapi.cas.factory import open_storage
from reapi.core.digest import digest_of
from reapi.core.postgresql.dsn import Dsn
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.server.config import load_config
from reapi.server.storage_config import storage_config
from tests.integration.production import Production
from tests.minio import S3Server, minio_client, new_bucket

SMALL = [b"small", b"smaller"]
LARGE = [b"1" * 20_000, b"2" * 30_000, b"3" * 40_000]
ALL_BYTES = sum(map(len, SMALL + LARGE))


@dataclass
class Stored:
    """A storage that nobody has open, and how to look after it."""

    options: list[str]
    delete_object: Callable[[str], None]
    """Behind its back, by the hash of a blob."""

    async def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command with this storage; its standard error is no terminal."""
        return await run("storage", *command, *self.options)

    async def report(self, *command: str, exit_code: int = 0) -> dict[str, Any]:
        """What a command says in JSON."""
        done = await self.run(*command, "--json")
        assert done.returncode == exit_code, done.stderr
        report = json.loads(done.stdout)
        assert isinstance(report, dict)
        return report


async def run(*command: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("REAPI_")}
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "reapi.server", *command],
        capture_output=True,
        text=True,
        env=kept,
    )


def _embedded(_: pytest.FixtureRequest, folder: Path) -> Stored:
    return _embedded_in(folder)


def _embedded_in(folder: Path) -> Stored:
    config = folder / "config.toml"
    config.write_text(f"data_dir = {json.dumps(str(folder / 'data'))}\n")

    def delete_object(blob_hash: str) -> None:
        (file,) = (folder / "data" / "blobs").glob(f"*/{blob_hash}*")
        file.unlink()

    return Stored(["--config", str(config)], delete_object)


def _production(request: pytest.FixtureRequest, folder: Path) -> Stored:
    server: S3Server = request.getfixturevalue("s3_server")
    dsn: Dsn = request.getfixturevalue("postgresql_dsn")
    s3 = new_bucket(server, folder)
    production = Production(folder, dsn, s3)

    def delete_object(blob_hash: str) -> None:
        client = minio_client(server)
        prefix = s3.key("cas", f"{blob_hash[:2]}/{blob_hash}")
        (found,) = client.list_objects(s3.bucket, prefix)
        client.remove_object(s3.bucket, found.object_name or "")

    data_dir = ["--data-dir", str(folder / "data")]
    return Stored(["--config", str(production.config_file), *data_dir], delete_object)


@pytest.fixture(
    params=[_embedded, pytest.param(_production, marks=pytest.mark.s3)],
    ids=["embedded", "production"],
)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Stored:
    """Nothing is stored in it yet."""
    made: Stored = request.param(request, tmp_path)
    return made


@pytest.fixture
async def stored(empty: Stored, tmp_path: Path) -> Stored:
    """It has the blobs above, and one result that needs the first large one."""
    config = storage_config(load_config(tmp_path / "config.toml", {"data_dir": tmp_path / "data"}))
    async with open_storage(config, CollectorRegistry()) as storage:
        blobs = {digest_of(data): data for data in SMALL + LARGE}
        assert await storage.blobs.write_many(blobs) == {}
        result = re_pb2.ActionResult()
        result.output_files.add(path="out", digest=digest_of(LARGE[0]).to_message())
        await storage.action_cache.put("main", digest_of(b"action"), result)
    return empty


async def test_what_is_stored_is_counted(stored: Stored) -> None:
    report = await stored.report("stats")
    assert report["blobs"]["inline"] == 2
    assert report["bytes"]["objects"] == sum(map(len, LARGE))
    assert report["blobs"]["promised"] == 5
    assert report["results"] == 1
    table = (await stored.run("stats")).stdout.splitlines()
    assert any(line.split()[:2] == ["objects", "3"] for line in table)


async def test_lost_bytes_are_told_by_the_exit_code_until_they_are_taken_out(
    stored: Stored,
) -> None:
    report = await stored.report("verify")
    assert report["verified"]["count"] == 5
    assert report["verified"]["size_bytes"] == ALL_BYTES
    gone = digest_of(LARGE[0])
    stored.delete_object(gone.hash)
    for _ in range(2):
        report = await stored.report("verify", "--dry-run", exit_code=1)
        assert report["missing"]["names"] == [str(gone)]
    told = await stored.run("verify")
    assert told.returncode == 1
    assert f"missing: {gone}" in told.stdout
    assert f"incomplete results: main:{digest_of(b'action').hash}" in told.stdout
    report = await stored.report("verify")
    assert report["verified"]["count"] == 4


async def test_the_index_is_made_anew_and_nothing_is_freed_that_is_promised(
    stored: Stored,
) -> None:
    report = await stored.report("rebuild")
    assert report["verified"]["size_bytes"] == ALL_BYTES
    for options in (["--dry-run"], []):
        report = await stored.report("gc", *options)
        assert (report["expired_bytes"], report["orphaned_objects"]) == (0, 0)
    assert (await stored.report("verify"))["verified"]["count"] == 5


async def test_what_cannot_be_done_is_said_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("[storage]\nmax_size = 1\n")
    absent = str(tmp_path / "absent.toml")
    for command, expected in (
        (["verify", "--config", absent], f"reapi-server: no configuration file at {absent}"),
        (["gc", "--config", str(tmp_path / "wrong.toml")], "storage.max_size: there is no such"),
        (["stats", "--dry-run"], "Error: No such option"),
        (["mend"], "No such command 'mend'"),
    ):
        done = await run("storage", *command)
        assert done.returncode == 2, command
        assert expected in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


async def test_the_directory_of_a_running_server_is_left_alone(tmp_path: Path) -> None:
    stored = _embedded_in(tmp_path)
    config = storage_config(load_config(tmp_path / "config.toml", {}))
    async with open_storage(config, CollectorRegistry()):
        done = await stored.run("verify")
    assert done.returncode == 2
    assert f"another process uses {tmp_path / 'data'}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("what", ["database", "bucket"])
async def test_a_server_that_is_away_is_named(
    tmp_path: Path, postgresql_dsn: Dsn, s3_server: S3Server, what: str
) -> None:
    s3 = new_bucket(s3_server, tmp_path)
    if what == "bucket":
        minio_client(s3_server).remove_bucket(s3.bucket)
        expected = f"there is no bucket {s3.bucket}"
    else:
        postgresql_dsn = Dsn("postgresql://reapi@127.0.0.1:1/absent")
        expected = "PostgreSQL is not available"
    production = Production(tmp_path, postgresql_dsn, s3)
    stored = Stored(
        ["--config", str(production.config_file), "--data-dir", str(tmp_path / "data")],
        lambda _: None,
    )
    done = await stored.run("rebuild")
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
