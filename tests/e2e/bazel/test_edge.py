"""Bazel with an edge frontend in between: it notices nothing, but that bytes are near."""

import json
from pathlib import Path

import pytest

from tests.e2e.bazel.invocation import Bazel
from tests.server_process import ServerProcess

pytestmark = pytest.mark.soak


def _edge(folder: Path, *servers: ServerProcess, **upstream: object) -> ServerProcess:
    section = {"servers": [{"endpoint": server.grpc} for server in servers], **upstream}
    environment = {
        f"REAPI_UPSTREAM__{key.upper()}": json.dumps(value).strip('"')
        for key, value in section.items()
    }
    return ServerProcess(folder, "--role", "frontend", environment=environment)


@pytest.mark.parametrize(
    "upstream",
    [
        {"combine": "shard"},
        {"combine": "mirror"},
        {"combine": "shard", "write_back_max_bytes": 1 << 30},
    ],
    ids=["shards", "mirrors", "shards that are owed"],
)
def test_what_one_office_has_built_is_a_hit_in_another(
    bazel: Bazel, server: ServerProcess, open_path: Path, upstream: dict[str, object]
) -> None:
    with ServerProcess(open_path / "second") as second:
        with _edge(open_path / "here", server, second, **upstream) as edge:
            first = bazel.succeed("test", "//...", f"--remote_cache=grpc://{edge.grpc}")
        with _edge(open_path / "there", server, second, **upstream) as edge:
            again = bazel.elsewhere().succeed("test", "//...", f"--remote_cache=grpc://{edge.grpc}")
    assert "remote cache hit" not in first.processes
    assert again.processes == {"remote cache hit": sum(first.processes.values())}


@pytest.mark.parametrize("write_back_max_bytes", [0, 1 << 30])
def test_actions_run_upstream(
    bazel: Bazel, server: ServerProcess, open_path: Path, write_back_max_bytes: int
) -> None:
    with _edge(open_path / "e", server, write_back_max_bytes=write_back_max_bytes) as edge:
        first = bazel.succeed("test", "//...", f"--remote_executor=grpc://{edge.grpc}")
    assert first.processes.keys() == {"remote"}
    again = bazel.elsewhere().succeed("test", "//...", f"--remote_executor=grpc://{server.grpc}")
    assert again.processes == {"remote cache hit": first.processes["remote"]}
