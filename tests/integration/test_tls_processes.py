"""TLS from end to end: a server of several processes, and all that connects to it."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from reapi.clients.client import Client
from reapi.clients.settings import Settings
from tests import transport
from tests.server_process import ServerProcess
from tests.tls_files import TlsFolder

TWO_SLOTS = {"REAPI_EXECUTOR__SLOTS": "2"}


@pytest.fixture
def files(open_path: Path) -> TlsFolder:
    return TlsFolder(open_path / "tls")


def mutual(files: TlsFolder) -> dict[str, str]:
    """The settings of a server whose callers need a certificate."""
    return {
        "REAPI_SERVER__TLS_CERTIFICATE_FILE": str(files.mutual.certificate_file),
        "REAPI_SERVER__TLS_KEY_FILE": str(files.mutual.key_file),
        "REAPI_SERVER__TLS_CLIENT_CA_FILE": str(files.ca),
    }


def settings_of(files: TlsFolder, server: str) -> Settings:
    tls = files.client(has_certificate=True)
    return Settings(
        server,
        tls_ca_file=tls.ca_file,
        tls_client_certificate_file=tls.certificate_file,
        tls_client_key_file=tls.key_file,
    )


def connections(files: TlsFolder) -> dict[str, str]:
    """The settings of a server that connects to such a one."""
    certificate, key = files.pair("another-server")
    return {
        "REAPI_CONNECTIONS__TLS_CA_FILE": str(files.ca),
        "REAPI_CONNECTIONS__TLS_CLIENT_CERTIFICATE_FILE": str(certificate),
        "REAPI_CONNECTIONS__TLS_CLIENT_KEY_FILE": str(key),
    }


@pytest.fixture
def server(files: TlsFolder, open_path: Path) -> Iterator[ServerProcess]:
    """Two frontends, a scheduler and an executor."""
    environment = {**mutual(files), **TWO_SLOTS, "REAPI_SERVER__PROCESSES": "2"}
    with ServerProcess(open_path / "server", environment=environment) as process:
        yield process


async def _ran_on(settings: Settings, text: str) -> str:
    """The worker of a new action."""
    async with Client(settings.server, tls=settings.tls, remembers_digests=False) as client:
        result = await client.run(["echo", text], download_outputs=False, timeout=60)
        assert result.exit_code == 0
        return result.worker


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("REAPI_")}
    return subprocess.run(
        [sys.executable, "-m", *command],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_actions_run_behind_mutual_tls_and_doctor_is_content(
    server: ServerProcess, files: TlsFolder
) -> None:
    settings = settings_of(files, f"grpcs://{server.grpc}")
    asyncio.run(_ran_on(settings, "once"))
    done = _run(["reapi.clients.cli", "doctor", "--json"], settings.variables())
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    wanted = {"server", "blobs", "results", "execution"}
    assert all(checks[name]["is_ok"] for name in wanted), done.stdout

    without = {**settings.variables(), "REAPI_TLS_CLIENT_CERTIFICATE_FILE": ""}
    without = {key: value for key, value in without.items() if "CLIENT" not in key}
    done = _run(["reapi.clients.cli", "doctor", "--json"], without)
    (check,) = json.loads(done.stdout)
    assert not check["is_ok"]
    assert "it asks for a certificate of yours" in check["advice"]


def test_the_transport_is_told_in_the_metrics_of_every_process(server: ServerProcess) -> None:
    with urllib.request.urlopen(f"http://{server.http}/metrics") as answer:
        text = answer.read().decode()
    lines = [line for line in text.splitlines() if line.startswith("reapi_rpc_transport{")]
    assert len(lines) == 2
    assert all(f'transport="{transport.chosen()}"' in line for line in lines)


def test_executors_and_edges_elsewhere_join_by_tls(files: TlsFolder, open_path: Path) -> None:
    roles = ("--role", "frontend", "--role", "scheduler")
    with ServerProcess(open_path / "server", *roles, environment=mutual(files)) as server:
        address = f"grpcs://{server.grpc}"
        executor = connections(files) | TWO_SLOTS
        executor["REAPI_SCHEDULER__ENDPOINT"] = address
        executor["REAPI_EXECUTOR__WORKER_ID"] = "elsewhere"
        edge = connections(files) | {
            "REAPI_UPSTREAM__SERVERS": json.dumps([{"endpoint": address}]),
        }
        with (
            ServerProcess(open_path / "e", "--role", "executor", environment=executor),
            ServerProcess(open_path / "f", "--role", "frontend", environment=edge) as nearby,
        ):
            assert asyncio.run(_ran_on(settings_of(files, address), "direct")) == "elsewhere"
            assert asyncio.run(_ran_on(Settings(nearby.grpc), "by the edge")) == "elsewhere"


def test_compiles_are_made_behind_tls(server: ServerProcess, files: TlsFolder) -> None:
    project = files.ca.parent / "project"
    project.mkdir()
    (project / "a.c").write_text("int a(void) { return 1; }\n")
    database = [{"directory": str(project), "file": "a.c", "command": "gcc -c a.c -o a.o"}]
    (project / "compile_commands.json").write_text(json.dumps(database))
    variables = settings_of(files, f"grpcs://{server.grpc}").variables()
    variables |= {"XDG_CONFIG_HOME": str(project), "XDG_CACHE_HOME": str(project / "cache")}
    variables["REAPI_CC_ROOT"] = str(project)
    done = _run(["reapi.clients.cli", "compile", "-p", str(project), "--json"], variables)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["compiled"] == 1, done.stdout + done.stderr
    assert (project / "a.o").exists()


def test_a_certificate_that_cannot_be_used_stops_the_server_before_it_listens(
    files: TlsFolder, open_path: Path
) -> None:
    broken = mutual(files) | {"REAPI_SERVER__TLS_KEY_FILE": str(files.pair("other")[1])}
    command = ["reapi.server", "serve", "--data-dir", str(open_path / "data")]
    done = _run([*command, "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"], broken)
    assert done.returncode == 1
    assert "is not that of the certificate" in done.stderr
    assert not (open_path / "data").exists()


def test_a_server_on_a_socket_serves_its_own_executor_and_leaves_nothing(open_path: Path) -> None:
    socket = open_path / "socket"
    listen = ("--listen", f"unix:{socket}")
    with ServerProcess(open_path / "server", *listen, environment=TWO_SLOTS) as server:
        assert server.grpc == f"unix:{socket}"
        asyncio.run(_ran_on(Settings(server.grpc), "local"))
    assert not socket.exists()
