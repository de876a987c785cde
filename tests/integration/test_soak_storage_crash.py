"""`kill -9` of a server at a random byte of an upload, five hundred times."""

import shutil
from pathlib import Path

import pytest

from tests.fakes.forked_server import ForkedServer
from tests.fakes.raw_client import raw_client
from tests.integration.crash_load import Load

pytestmark = [pytest.mark.slow, pytest.mark.soak]

SEEDS = range(20)
ROUNDS = 25
"""Of each seed: with every round there is more to be found again."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
async def test_reliability_F1_kill_9_at_a_random_byte_of_an_upload_shows_nothing_partial(
    tmp_path: Path, seed: int
) -> None:
    load = Load(seed)
    data_dir, log = tmp_path / "data", tmp_path / "log"
    for _ in range(ROUNDS):
        async with ForkedServer(data_dir, log) as server, raw_client(server.grpc) as client:
            assert list((data_dir / "incoming").iterdir()) == []
            await load.check(client)
            await load.run(server.kill, client, at_a_byte=True)
    async with ForkedServer(data_dir, log) as server, raw_client(server.grpc) as client:
        await load.check(client, everything=True)
    assert load.acknowledged
    assert not list((data_dir / "quarantine").iterdir())
    shutil.rmtree(data_dir)
