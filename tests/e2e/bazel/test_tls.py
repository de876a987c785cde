"""Bazel, a client in Java, over TLS."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.bazel.invocation import Bazel
from tests.server_process import ServerProcess
from tests.tls_files import TlsFolder

LARGE_BYTES = 20_000_000
_BUILD = """
genrule(
    name = "large",
    srcs = ["large.bin"],
    outs = ["larger.bin"],
    cmd = "cat $< $< > $@",
)
"""


@pytest.fixture
def files(open_path: Path) -> TlsFolder:
    return TlsFolder(open_path / "tls")


@pytest.fixture
def tls_server(files: TlsFolder, open_path: Path) -> Iterator[ServerProcess]:
    environment = {
        "REAPI_SERVER__TLS_CERTIFICATE_FILE": str(files.server.certificate_file),
        "REAPI_SERVER__TLS_KEY_FILE": str(files.server.key_file),
    }
    with ServerProcess(open_path / "server", environment=environment) as running:
        yield running


def test_large_inputs_and_outputs_go_both_ways_over_tls(
    oldest_bazel: Bazel, tls_server: ServerProcess, files: TlsFolder
) -> None:
    large = oldest_bazel.workspace / "large"
    large.mkdir()
    (large / "BUILD.bazel").write_text(_BUILD)
    content = bytes(range(250)) * (LARGE_BYTES // 250)
    (large / "large.bin").write_bytes(content)
    flags = f"--remote_executor=grpcs://{tls_server.grpc}", f"--tls_certificate={files.ca}"
    built = oldest_bazel.succeed("build", "//large", *flags)
    assert built.processes == {"remote": 1}
    assert oldest_bazel.output("large/larger.bin").read_bytes() == 2 * content
