"""grpc-go against each transport, as a program of ours (go/)."""

import subprocess
from pathlib import Path

import pytest

from .process import InteropProcess

DEADLINE_SECONDS = 100
STREAMS = ("collect", "expand", "converse")
CASES = (
    "unary",
    *STREAMS,
    "deadline",
    "cancellation",
    "large messages",
    "metadata",
    "error details",
    "gzip",
    "many at once",
    "long transfer",
    "unknown method",
)


def run(client: Path, server: InteropProcess, case: str, *flags: str | Path) -> None:
    done = subprocess.run(
        [client, "-target", server.target, *flags, case],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", CASES)
def test_without_tls(go_client: Path, interop: InteropProcess, case: str) -> None:
    run(go_client, interop, case)


@pytest.mark.parametrize("case", CASES)
def test_over_tls(go_client: Path, tls_server: InteropProcess, tls_folder: Path, case: str) -> None:
    run(go_client, tls_server, case, "-tls", tls_folder)


@pytest.mark.parametrize("case", ["certificate name", *STREAMS])
def test_over_tls_with_a_certificate(
    go_client: Path, mtls_server: InteropProcess, tls_folder: Path, case: str
) -> None:
    run(go_client, mtls_server, case, "-tls", tls_folder, "-shows-certificate")


def test_without_a_certificate_where_one_is_asked_for(
    go_client: Path, mtls_server: InteropProcess, tls_folder: Path
) -> None:
    with pytest.raises(AssertionError, match="Unavailable"):
        run(go_client, mtls_server, "unary", "-tls", tls_folder)
