"""`reapi-server check`, of the transport and of the files of TLS."""

from pathlib import Path
from typing import Any

import pytest

from reapi.core import transport
from reapi.core.finding import Finding
from reapi.server.check_transport import check_transport
from reapi.server.config import ServerConfig
from tests.tls_files import TlsFolder


def _check(server: dict[str, Any], **connections: Any) -> list[Finding]:
    settings = {"server": server, "connections": connections}
    return list(check_transport(ServerConfig.model_validate(settings)))


def test_the_transport_that_would_serve_is_named() -> None:
    (finding,) = _check({"transport": "grpc.aio"})
    assert (finding.status, finding.name) == ("ok", "transport")
    assert finding.text.startswith("grpc.aio, ")


def test_one_that_is_not_installed_fails_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_PACKAGE", "reapi_no_such_package")
    (finding,) = _check({"transport": "native"})
    assert finding.status == "failed"
    assert "install it" in finding.advice


def test_the_files_of_tls_are_tried(tmp_path: Path) -> None:
    files = TlsFolder(tmp_path)
    server = {
        "transport": "grpc.aio",
        "tls_certificate_file": files.server.certificate_file,
        "tls_key_file": files.server.key_file,
    }
    _, finding = _check(server)
    assert (finding.status, finding.text.endswith("callers need none")) == ("ok", True)
    _, finding = _check(server | {"tls_client_ca_file": files.ca})
    assert (finding.status, finding.text.endswith("callers need one too")) == ("ok", True)
    _, finding = _check(server | {"tls_key_file": files.pair("other")[1]})
    assert finding.status == "failed"
    assert "is not that of the certificate" in finding.text


def test_what_is_for_other_servers_is_tried_for_an_executor_too(tmp_path: Path) -> None:
    assert _check({"roles": ["executor"]}, tls_ca_file=TlsFolder(tmp_path).ca) == []
    (finding,) = _check({"roles": ["executor"]}, tls_ca_file=tmp_path / "nowhere")
    assert finding.status == "failed"
    assert "nowhere" in finding.text
