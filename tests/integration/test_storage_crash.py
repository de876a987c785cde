"""`kill -9` of a loaded server, many times: acknowledged blobs are there, and none in part."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from reapi.core.digest import digest_of
from tests.fakes.raw_client import RawClient, raw_client
from tests.integration.crash_load import Load, upload

ROUNDS = 24


@asynccontextmanager
async def server(
    data_dir: Path, log: Path, **settings: str
) -> AsyncIterator[tuple[Process, RawClient]]:
    """A server of its own session and a client of it; both are gone at the end."""
    program = Path(sys.executable).with_name("reapi-server")
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(program, "serve", "--data-dir", data_dir),
            *("--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"),
            stdout=PIPE,
            stderr=errors,
            start_new_session=True,
            env=dict(os.environ) | settings,
        )
    try:
        assert process.stdout is not None
        words = (await process.stdout.readline()).decode().split()
        assert words[:1] == ["ready"], f"see {log}"
        address = words[1].removeprefix("grpc=")
        async with raw_client(address) as client:
            yield process, client
    finally:
        kill(process)
        await process.wait()


def kill(process: Process) -> None:
    """As hard as can be, with whatever it has started."""
    with contextlib.suppress(ProcessLookupError):  # it died by itself, or by an earlier call
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(400)
async def test_reliability_F1_kill_9_loses_nothing_acknowledged_and_shows_nothing_partial(
    tmp_path: Path,
) -> None:
    seed = 20_240
    load = Load(seed)
    data_dir, log = tmp_path / "data", tmp_path / "log"
    for number in range(ROUNDS):
        async with server(data_dir, log) as (process, client):
            assert list((data_dir / "incoming").iterdir()) == []
            await load.check(client)
            await load.run(partial(kill, process), client, at_a_byte=number % 2 == 0)
    async with server(data_dir, log) as (_, client):
        await load.check(client, everything=True)
    assert len(load.acknowledged) > 100 * ROUNDS // 10
    assert not list((data_dir / "quarantine").iterdir())


@pytest.mark.slow
async def test_reliability_F2_what_is_acknowledged_is_there_after_kill_9(tmp_path: Path) -> None:
    settings = {"REAPI_STORAGE__SURVIVES_POWER_LOSS": "true"}
    data_dir, log = tmp_path / "data", tmp_path / "log"
    load = Load(20_241)
    for size in (1, 70_000, 2_000_000):
        async with server(data_dir, log, **settings) as (process, client):
            await load.check(client, everything=True)
            data = load.random.randbytes(size)
            load.tried[digest_of(data)] = data
            await client.bytestream.Write(upload(digest_of(data), data))
            kill(process)
            load.acknowledged.add(digest_of(data))
    async with server(data_dir, log, **settings) as (_, client):
        await load.check(client, everything=True)
    assert len(load.acknowledged) == 3
