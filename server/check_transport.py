"""`reapi-server check`, of how gRPC is served: the transport, and the files of TLS."""

from collections.abc import Iterator

from reapi.core.errors import ReapiError
from reapi.core.finding import Finding
from reapi.core.tls import load_tls
from reapi.core.transport import choose_transport

from .config import ServerConfig


def check_transport(config: ServerConfig) -> Iterator[Finding]:
    """What this server would start with; nothing for one that only runs actions, but how it
    connects."""
    if set(config.server.roles) != {"executor"}:
        yield _transport(config)
        yield from _tls(config)
    try:
        config.connections.tls().contents()
    except ReapiError as error:
        yield Finding("connections", "failed", error.message, "correct what [connections] names")


def _transport(config: ServerConfig) -> Finding:
    setting = config.server.transport
    try:
        chosen = choose_transport(setting)
    except ReapiError as error:
        reason, _, advice = error.message.partition(": ")
        return Finding("transport", "failed", reason, advice)
    text = f'{chosen}, as server.transport = "{setting}" means here'
    return Finding("transport", "ok", text)


def _tls(config: ServerConfig) -> Iterator[Finding]:
    files = config.server.tls_files()
    if files is None:
        return
    try:
        load_tls(files)
    except ReapiError as error:
        yield Finding("tls", "failed", error.message, "correct the file, or server.tls_...")
        return
    callers = "callers need one too" if files.client_ca_file else "callers need none"
    yield Finding("tls", "ok", f"the certificate in {files.certificate_file}; {callers}")
