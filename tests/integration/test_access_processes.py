"""Whole servers that ask who calls: their own processes find each other without configuration."""

import asyncio
from pathlib import Path

import pytest

from reapi.clients.client import Client
from reapi.core.errors import PermissionDenied, Unauthenticated
from tests.integration.test_access import token_of, write_tokens
from tests.server_process import ServerProcess


def _server(folder: Path, processes: int) -> ServerProcess:
    return ServerProcess(
        folder / "data",
        environment={
            "REAPI_AUTH__MODE": "tokens",
            "REAPI_AUTH__TOKENS_FILE": str(write_tokens(folder)),
            "REAPI_SERVER__PROCESSES": str(processes),
        },
    )


async def _run(address: str, token: str | None) -> str:
    async with Client(address, token=token, remembers_digests=False) as client:
        result = await client.run(["sh", "-c", "echo made"], skip_cache_lookup=True, timeout=60)
        return (await client.read_bytes(result.stdout_digest)).decode()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_server_of_all_roles_needs_no_token_of_its_own(open_path: Path, processes: int) -> None:
    with _server(open_path, processes) as server:
        for _ in range(2 * processes):  # each connection may be another frontend's
            assert asyncio.run(_run(server.grpc, token_of("runner"))) == "made\n"
            with pytest.raises(PermissionDenied, match="reader"):
                asyncio.run(_run(server.grpc, token_of("reader")))
            with pytest.raises(Unauthenticated):
                asyncio.run(_run(server.grpc, None))
        pids = [server.pid, *server.child_pids()]
        shown = "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in pids)
        assert "token" not in shown
