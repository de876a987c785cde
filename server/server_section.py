"""The settings below [server] and [connections]."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from reapi.clients.tls import ClientTls
from reapi.core.errors import InvalidArgument
from reapi.core.listening import socket_path
from reapi.core.tls import TlsFiles
from reapi.core.transport import TransportSetting

from .section import PositiveSeconds, Role, Section


class ServerSection(Section):
    """[server]"""

    # HOST:PORT of gRPC; port 0 takes a free one. Or unix:/PATH, a socket in the file system.
    listen: str = "127.0.0.1:8980"
    # HOST:PORT of HTTP: /healthz, /readyz, /cluster_healthz, /metrics.
    http_listen: str = "127.0.0.1:8080"
    # What carries gRPC: "native" is the distribution reapi-transport, "auto" that where it is
    # installed and "grpc.aio" elsewhere.
    transport: TransportSetting = "auto"
    # The certificate that callers are shown, with those between it and the authority, and its key,
    # in PEM form; read again when they change. With them, gRPC is spoken by TLS only.
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    # The authorities whose clients may call; without it, callers need no certificate.
    tls_client_ca_file: Path | None = None
    # What this process does; all of it by default.
    roles: tuple[Role, ...] = ("frontend", "scheduler", "executor")
    # The instance names that are served; a request for another one is refused.
    instance_names: tuple[str, ...] = ("", "main")
    # Frontend processes, which share the port: one for each processor that shall serve.
    processes: Annotated[int, Field(gt=0, le=256)] = 1
    # How long running calls may take to end after SIGTERM.
    drain_seconds: PositiveSeconds = 20

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_certificate_file and tls_key_file belong together: set both")
        if self.tls_client_ca_file is not None and self.tls_certificate_file is None:
            raise ValueError("tls_client_ca_file needs tls_certificate_file and tls_key_file")
        if not self.is_on_socket:
            return self
        if self.processes > 1:
            raise ValueError("processes share a port, not a socket: set listen to HOST:PORT")
        if self.tls_certificate_file is not None:
            raise ValueError("tls_certificate_file is for HOST:PORT: a socket needs no TLS")
        return self

    @property
    def is_on_socket(self) -> bool:
        """Whether `listen` is in the file system. Raises ValueError for one that cannot be."""
        try:
            return socket_path(self.listen) is not None
        except InvalidArgument as error:
            raise ValueError(f"listen: {error.message}") from error

    def tls_files(self) -> TlsFiles | None:
        """The same for the component; None without TLS."""
        if self.tls_certificate_file is None or self.tls_key_file is None:
            return None
        return TlsFiles(self.tls_certificate_file, self.tls_key_file, self.tls_client_ca_file)


class ConnectionsSection(Section):
    """[connections]: how this server reaches others whose address is grpcs://HOST:PORT: an executor
    its scheduler and frontend, a frontend its scheduler, an edge frontend its upstream"""

    # The authorities that sign their certificates; those of the system unless set.
    tls_ca_file: Path | None = None
    # What they are shown if they ask for a certificate. All three are read at the start.
    tls_client_certificate_file: Path | None = None
    tls_client_key_file: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.tls_client_certificate_file is None) != (self.tls_client_key_file is None):
            raise ValueError(
                "tls_client_certificate_file and tls_client_key_file belong together: set both"
            )
        return self

    def tls(self) -> ClientTls:
        """The same for a client."""
        return ClientTls(
            _text(self.tls_ca_file),
            _text(self.tls_client_certificate_file),
            _text(self.tls_client_key_file),
        )


def _text(file: Path | None) -> str | None:
    return None if file is None else str(file)
