"""The HTTP side, asked by a client of its own."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from reapi.server import serve
from reapi.server.config import ServerConfig
from reapi.server.http import make_app, serve_http
from tests.ports import lasting_port


def get(address: str, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://{address}{path}") as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def no_metrics() -> bytes:
    return b""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_it_is_served_where_it_was_told_to(host: str) -> None:
    app = make_app(no_metrics, lambda: None)
    async with serve_http(app, f"{host}:0") as port:
        assert await asyncio.to_thread(get, f"{host}:{port}", "/readyz") == (200, "ready\n")


async def test_ipv6_for_all_is_for_ipv4_as_well() -> None:
    app = make_app(no_metrics, lambda: None)
    async with serve_http(app, "[::]:0") as port:
        for host in ("127.0.0.1", "[::1]"):
            assert (await asyncio.to_thread(get, f"{host}:{port}", "/healthz"))[0] == 200


async def test_an_executor_is_ready_when_a_scheduler_has_welcomed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"127.0.0.1:{lasting_port()}"
    answers = []

    async def run_executor(
        config: ServerConfig, stop: asyncio.Event, on_joined: Callable[[], None], *_: object
    ) -> None:
        answers.append(await asyncio.to_thread(get, address, "/readyz"))
        on_joined()
        answers.append(await asyncio.to_thread(get, address, "/readyz"))

    monkeypatch.setattr(serve, "run_executor", run_executor)
    server = {"roles": ("executor",), "http_listen": address}
    await serve.serve(ServerConfig.model_validate({"data_dir": tmp_path, "server": server}))
    assert answers == [(503, "no scheduler has welcomed it yet\n"), (200, "ready\n")]
