"""Fixtures of all tests."""

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from reapi.cas.objects.s3_config import S3Config
from tests import transport
from tests.minio import S3Server, build_minio, has_minio, new_bucket
from tests.postgresql import postgresql_dsn, postgresql_server

__all__ = ["open_path", "postgresql_dsn", "postgresql_server"]

# Before any channel is made: what gRPC does in a forked child may crash it before its exec.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

os.environ.update(transport.environment())

# The same examples in each run, and none refused because the machine is busy.
settings.register_profile(
    "reapi", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("reapi")


def pytest_report_header() -> str:
    """Which S3 server the tests use, and which transport."""
    s3 = "moto, for there is no Go to build MinIO with; tests that need MinIO are skipped"
    return f"gRPC: {transport.chosen()}; S3: {'MinIO' if has_minio() else s3}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests measured: they give it to `record_property` as "measured"."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, figures in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(f"{report.nodeid}: {figures}")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds MinIO if a test needs it: here, where nothing times out."""
    gc.freeze()  # the tests themselves are never garbage, and very many objects to look at
    needs_server = any(
        "s3_server" in getattr(item, "fixturenames", ()) or item.get_closest_marker("s3")
        for item in session.items
    )
    if needs_server and has_minio() and not session.config.option.collectonly:
        build_minio()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One for all tests of a process. A test that kills one starts its own."""
    with S3Server(tmp_path_factory.mktemp("s3"), is_minio=has_minio()) as server:
        yield server


@pytest.fixture
def minio_server(s3_server: S3Server) -> S3Server:
    """For what moto cannot do."""
    if not s3_server.is_minio:
        pytest.skip("needs MinIO, which needs Go")
    return s3_server


@pytest.fixture
def s3_config(s3_server: S3Server, tmp_path: Path) -> S3Config:
    """A new bucket, with credentials in files."""
    return new_bucket(s3_server, tmp_path)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that every user may enter, which `tmp_path` is not.

    A server of root's runs actions under other users, who have to get at their inputs.
    """
    with tempfile.TemporaryDirectory(prefix="reapi-test-") as folder:
        path = Path(folder)
        path.chmod(0o711)
        yield path
