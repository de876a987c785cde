"""A client on another gRPC implementation (connect-go) reads the server by reflection."""

import json
import subprocess
from pathlib import Path
from typing import Any

from reapi.core.digest import DIGEST_FUNCTIONS
from tests.server_process import ServerProcess

CODE_NOT_FOUND = 5
DEADLINE_SECONDS = 60


def curl(buf: Path, server: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `buf curl` over gRPC without TLS; the schema comes from the server."""
    return subprocess.run(
        [buf, "curl", "--reflect", "--protocol", "grpc", "--http2-prior-knowledge", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )


def call(buf: Path, server: ServerProcess, method: str, request: dict[str, Any]) -> Any:
    """The JSON reply of a unary call that has to succeed."""
    url = f"http://{server.grpc}/{method}"
    done = curl(buf, server, "-d", json.dumps(request), url)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_health_check_says_serving(buf: Path, server: ServerProcess) -> None:
    assert call(buf, server, "grpc.health.v1.Health/Check", {}) == {"status": "SERVING"}


def test_reflection_lists_the_services(buf: Path, server: ServerProcess) -> None:
    done = curl(buf, server, "--list-services", f"http://{server.grpc}")
    assert done.returncode == 0, done.stderr
    assert {
        "build.bazel.remote.execution.v2.ActionCache",
        "build.bazel.remote.execution.v2.Capabilities",
        "build.bazel.remote.execution.v2.ContentAddressableStorage",
        "build.bazel.remote.execution.v2.Execution",
        "google.bytestream.ByteStream",
        "google.longrunning.Operations",
        "grpc.health.v1.Health",
    } <= set(done.stdout.split())


def test_capabilities_are_read_by_reflection(buf: Path, server: ServerProcess) -> None:
    method = "build.bazel.remote.execution.v2.Capabilities/GetCapabilities"
    capabilities = call(buf, server, method, {})
    assert capabilities["lowApiVersion"] == {"major": 2}
    functions = capabilities["cacheCapabilities"]["digestFunctions"]
    assert functions == [function.name for function in DIGEST_FUNCTIONS]
    assert capabilities["executionCapabilities"]["execEnabled"] is True


def test_an_error_keeps_its_code_and_tells_the_reason(buf: Path, server: ServerProcess) -> None:
    method = "build.bazel.remote.execution.v2.ActionCache/GetActionResult"
    absent = {"actionDigest": {"hash": "ab" * 32, "sizeBytes": "1"}}
    url = f"http://{server.grpc}/{method}"
    done = curl(buf, server, "-d", json.dumps(absent), url)
    assert done.returncode == 8 * CODE_NOT_FOUND
    assert json.loads(done.stderr)["code"] == "not_found"
