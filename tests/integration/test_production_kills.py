"""`kill -9` of a frontend, of the object store and of the database, under load, again and again.

What was acknowledged is read back byte for byte through another frontend, nothing is half-visible,
and nothing of ours has to be restarted for what others do.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.rpc import code_pb2
from minio import Minio
from minio.datatypes import Upload
from minio.error import S3Error
from prometheus_client import CollectorRegistry

from reapi.cas.objects.s3_config import S3Config
from reapi.cas.objects.s3_credentials import find_credentials
from reapi.cas.objects.s3_janitor import S3Janitor
from reapi.cas.objects.s3_metrics import S3Metrics
from reapi.clients.channel import Channel
from reapi.core.digest import digest_of
from reapi.core.postgresql.dsn import Dsn
from reapi.core.resource_name import read_name, write_name
from reapi.protos.google.bytestream.bytestream_pb2 import ReadRequest, WriteRequest
from reapi.server.config import ServerConfig
from tests.fakes.raw_client import RawClient, raw_client
from tests.integration.production import Production
from tests.integration.production_load import PAUSE_SECONDS, Load
from tests.integration.system import Gate, System, sh
from tests.minio import S3Server, minio_client, new_bucket
from tests.postgresql import PostgresqlServer
from tests.server_process import ServerProcess

CLIENTS = 6
ANSWERS = (25, 45, 70, 10, 60, 30)
"""After so many answers to its clients comes a kill, and then the next."""

LAST_ANSWERS = 25
"""After the last kill: all work again."""

OUTAGES = (0, 3)
"""Those kills after which what was killed stays away until calls are refused."""

OUTAGE_SECONDS = 120
WARM_ANSWERS = 300
"""After which a frontend has held what the load needs."""

MOST_MORE_KIB = 64 << 10
MOST_MORE_FILES = 64
"""What a frontend may hold beyond that in an outage, when more calls wait at once."""

Kill = Callable[[bool], Coroutine[None, None, None]]
"""Kills and starts again; what is killed is down for some refused calls if told so."""


@pytest.fixture
def own_s3(minio_server: S3Server, tmp_path: Path) -> Iterator[S3Server]:
    """One that may be killed, and then still has its objects."""
    with S3Server(tmp_path / "s3", is_minio=True) as server:
        yield server


@asynccontextmanager
async def _client(frontend: ServerProcess) -> AsyncIterator[RawClient]:
    async with raw_client(frontend.grpc) as client:
        yield client


class Killing:
    """A load that kills something when so many answers have come, and waits until it is back."""

    def __init__(self, seed: int) -> None:
        self.load = Load(seed, self._answered)
        self._answers = 0
        self._wanted = 0
        self._reached = asyncio.Event()

    def _answered(self) -> None:
        self._answers += 1
        if self._answers >= self._wanted:
            self._reached.set()

    async def answers(self, number: int) -> None:
        """Waits until the load has had so many answers more."""
        self._wanted = self._answers + number
        self._reached.clear()
        await self._reached.wait()

    async def run(
        self,
        clients: list[Callable[[], RawClient]],
        kill: Kill,
        answers_between: Sequence[int] = ANSWERS,
    ) -> None:
        """The load on each of the connections in turn, and the kills."""
        stopped = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self.load.run(clients[number % len(clients)], stopped))
            for number, answers in enumerate(answers_between):
                await self.answers(answers)
                await kill(number in OUTAGES)
            await self.answers(LAST_ANSWERS)
            stopped.set()

    async def is_refused(self) -> None:
        """Waits until one more call is refused."""
        self.load.refused.clear()
        await self.load.refused.wait()


def _uploads(server: S3Server, config: S3Config) -> list[str]:
    """Those that hold parts.

    MinIO lists from memory, and goes on listing an upload whose end it carried out for a client
    that had gone meanwhile.
    """
    client = minio_client(server)
    page = client._list_multipart_uploads(config.bucket)
    return [upload.object_name for upload in page.uploads if _has_parts(client, config, upload)]


def _has_parts(client: Minio, config: S3Config, upload: Upload) -> bool:
    try:
        client._list_parts(config.bucket, upload.object_name, upload.upload_id or "")
    except S3Error as error:
        if error.code == "NoSuchUpload":
            return False
        raise
    return True


async def _sweep_two_hours_on(config: S3Config) -> None:
    credentials, _ = find_credentials(config)
    janitor = S3Janitor(
        config,
        credentials,
        deadline_seconds=3600,
        metrics=S3Metrics(CollectorRegistry()),
        now=lambda: datetime.now(UTC) + timedelta(hours=2),
    )
    await janitor.sweep()


async def _check_afterwards(killing: Killing, production: Production, s3: S3Server) -> None:
    """Everything, through a frontend that has not been there before."""
    with production.frontend("afterwards") as frontend:
        async with _client(frontend) as client:
            await killing.load.check(client)
    await _sweep_two_hours_on(production.s3)
    assert _uploads(s3, production.s3) == []
    verified = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-m", "reapi.server", "storage", "verify", "--dry-run"),
            *("--config", production.config_file, "--data-dir", production.folder / "verify"),
        ],
        capture_output=True,
        text=True,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


def _codes(killing: Killing) -> set[int]:
    return {refused.status.code for refused in killing.load.refusals}


@pytest.mark.soak
@pytest.mark.timeout(180)
async def test_kill_9_of_a_frontend_loses_nothing_and_the_other_one_notices_nothing(
    tmp_path: Path, postgresql_dsn: Dsn, minio_server: S3Server
) -> None:
    production = Production(tmp_path, postgresql_dsn, new_bucket(minio_server, tmp_path))
    killing, others = Killing(seed=1), Killing(seed=2)
    async with AsyncExitStack() as stack:
        victims = AsyncExitStack()
        stack.push_async_callback(victims.aclose)
        victim = victims.enter_context(production.frontend("victim"))
        current = await stack.enter_async_context(_client(victim))
        survivor = stack.enter_context(production.frontend("survivor"))
        steady = await stack.enter_async_context(_client(survivor))

        async def kill(_: bool) -> None:
            nonlocal current, victim
            victim.kill()
            await killing.is_refused()
            victim = victims.enter_context(production.frontend("victim"))
            current = await stack.enter_async_context(_client(victim))

        stopped = asyncio.Event()
        other = asyncio.create_task(others.load.run(lambda: steady, stopped))
        await killing.run([lambda: current], kill)
        stopped.set()
        await other
        assert others.load.refusals == []
        assert others.load.acknowledged
        assert _codes(killing) <= {code_pb2.UNAVAILABLE}
        await others.load.check(current)
    await _check_afterwards(killing, production, minio_server)


@pytest.mark.soak
@pytest.mark.timeout(180)
async def test_reliability_F8_kill_9_of_the_object_store_loses_nothing_and_heals_by_itself(
    tmp_path: Path, postgresql_dsn: Dsn, own_s3: S3Server
) -> None:
    production = Production(tmp_path, postgresql_dsn, new_bucket(own_s3, tmp_path))
    killing = Killing(seed=3)

    async def kill(stays_down: bool) -> None:
        own_s3.kill()
        if stays_down:
            await killing.is_refused()
        await asyncio.to_thread(own_s3.start)

    await _kill_beneath_two_frontends(killing, production, kill)
    await _check_afterwards(killing, production, own_s3)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_reliability_F8_two_minutes_without_the_object_store_are_borne(
    tmp_path: Path,
    postgresql_dsn: Dsn,
    own_s3: S3Server,
    record_property: Callable[[str, object], None],
) -> None:
    """Frontends refuse what needs it, pile nothing up, and go on when it is back."""
    production = Production(tmp_path, postgresql_dsn, new_bucket(own_s3, tmp_path))
    killing = Killing(seed=5)
    async with AsyncExitStack() as stack:
        frontends = [stack.enter_context(production.frontend(name)) for name in ("one", "other")]
        one, other = [await stack.enter_async_context(_client(frontend)) for frontend in frontends]

        async def outage(_: bool) -> None:
            before = [_held(frontend) for frontend in frontends]
            own_s3.kill()
            await asyncio.sleep(OUTAGE_SECONDS)
            await killing.is_refused()
            for frontend, (memory_kib, files) in zip(frontends, before, strict=True):
                memory_kib_now, files_now = _held(frontend)
                more = f"{memory_kib_now - memory_kib} KiB and {files_now - files} files more"
                record_property("measured", more)
                assert memory_kib_now - memory_kib < MOST_MORE_KIB
                assert files_now - files < MOST_MORE_FILES
            await asyncio.to_thread(own_s3.start)
            started = time.monotonic()
            await asyncio.gather(*(_until_served(client) for client in (one, other)))
            waited = time.monotonic() - started
            record_property("measured", f"well again {waited:.1f} s after the object store")

        await killing.run([lambda: one, lambda: other], outage, (WARM_ANSWERS,))
    _check_all_are_told(killing)
    await _check_afterwards(killing, production, own_s3)


def _held(server: ServerProcess) -> tuple[int, int]:
    return server.peak_memory_kib(), server.open_files()


async def _until_served(client: RawClient) -> None:
    """Tries until an object can be written and read."""
    data = random.randbytes(3 << 20)
    digest = digest_of(data)
    name = write_name("", "recovery", digest)
    upload = [WriteRequest(resource_name=name, data=data, finish_write=True)]
    read = ReadRequest(resource_name=read_name("", digest))
    while True:
        try:
            await client.bytestream.Write(upload)
            replies = await client.bytestream.Read(read)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            assert b"".join(reply.data for reply in replies) == data
            return


@pytest.mark.soak
@pytest.mark.timeout(180)
async def test_kill_9_of_the_database_loses_nothing_and_heals_by_itself(
    tmp_path: Path,
    postgresql_server: PostgresqlServer,
    postgresql_dsn: Dsn,
    minio_server: S3Server,
) -> None:
    production = Production(tmp_path, postgresql_dsn, new_bucket(minio_server, tmp_path))
    killing = Killing(seed=4)

    async def kill(stays_down: bool) -> None:
        postgresql_server.kill()
        if stays_down:
            await killing.is_refused()
        await asyncio.to_thread(postgresql_server.start)

    await _kill_beneath_two_frontends(killing, production, kill)
    await _check_afterwards(killing, production, minio_server)


async def _kill_beneath_two_frontends(killing: Killing, production: Production, kill: Kill) -> None:
    """Both stay, and every call that they refuse is told when to come again."""
    async with AsyncExitStack() as stack:
        frontends = [stack.enter_context(production.frontend(name)) for name in ("one", "other")]
        one, other = [await stack.enter_async_context(_client(frontend)) for frontend in frontends]
        await killing.run([lambda: one, lambda: other], kill)
    _check_all_are_told(killing)


def _check_all_are_told(killing: Killing) -> None:
    assert killing.load.refusals
    assert _codes(killing) <= {code_pb2.UNAVAILABLE}
    untold = [refused for refused in killing.load.refusals if not refused.retry_delay_is_told]
    assert untold == []


@pytest.mark.timeout(180)
async def test_outputs_of_an_executor_on_the_storage_itself_outlast_an_outage_of_the_database(
    open_path: Path,
    gate: Gate,
    postgresql_server: PostgresqlServer,
    postgresql_dsn: Dsn,
    s3_server: S3Server,
) -> None:
    production = Production(open_path, postgresql_dsn, new_bucket(s3_server, open_path))
    async with AsyncExitStack() as stack:
        scheduler = stack.enter_context(production.scheduler()).grpc
        frontend = stack.enter_context(production.frontend("frontend", scheduler))
        stack.enter_context(production.executor("direct", scheduler, storage="direct"))
        channel = await stack.enter_async_context(Channel(frontend.grpc))
        system = System(ServerConfig(), frontend.grpc, channel, open_path)
        script = gate.script("echo small; head -c 5000000 /dev/zero > large")
        action = await system.add(sh(script, output_paths=["large"]))
        running = asyncio.create_task(system.run_action(action))
        await gate.begun()
        postgresql_server.kill()
        gate.open()
        await asyncio.to_thread(postgresql_server.start)
        response = await running
        assert await system.stdout(response) == "small\n"
        assert await system.read(response.result.output_files[0].digest) == bytes(5_000_000)
