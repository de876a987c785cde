"""Whether somebody listens at an endpoint, and speaks TLS or does not, as configured."""

import socket
import ssl
from collections.abc import Iterator

from reapi.core.finding import Finding

from .s3_clients import CONNECT_SECONDS
from .s3_config import S3Config

_MOST_BYTES = 4096


def inspect_endpoint(config: S3Config) -> Iterator[Finding]:
    """A finding for the endpoint, and if that is well, one for TLS. Blocks for some seconds."""
    host, port = _address(config)
    shown = f"{host}:{port}"
    try:
        connection = socket.create_connection((host, port), CONNECT_SECONDS)
    except socket.gaierror:
        yield _failed(f"the name {host} cannot be resolved", "correct endpoint, or the DNS")
    except ConnectionRefusedError:
        yield _failed(f"nobody listens at {shown}", "start the object store, or correct endpoint")
    except TimeoutError:
        yield _failed(f"no answer from {shown}", "is there a firewall in between?")
    except OSError as error:
        yield _failed(f"cannot connect to {shown}: {error.strerror}", "correct endpoint")
    else:
        with connection:
            yield Finding("s3 endpoint", "ok", f"{shown} listens")
            try:
                yield (
                    _inspect_tls(connection, host)
                    if config.use_ssl
                    else _inspect_plain(connection, host)
                )
            except OSError as error:
                yield Finding("s3 tls", "failed", f"{shown} hangs up: {error}")


def _address(config: S3Config) -> tuple[str, int]:
    host, colon, port = config.host.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = config.host, "443" if config.use_ssl else "80"
    return host.strip("[]"), int(port)


def _inspect_tls(connection: socket.socket, host: str) -> Finding:
    try:
        with ssl.create_default_context().wrap_socket(connection, server_hostname=host) as secure:
            return Finding("s3 tls", "ok", str(secure.version()))
    except ssl.SSLCertVerificationError as error:
        return Finding(
            "s3 tls",
            "failed",
            f"the certificate of {host} is not trusted: {error.verify_message}",
            "set SSL_CERT_FILE to the certificates of its authority, or correct endpoint",
        )
    except (ssl.SSLError, ConnectionResetError) as error:
        return Finding(
            "s3 tls",
            "failed",
            f"{host} does not speak TLS here ({getattr(error, 'reason', None) or 'reset'})",
            "set use_ssl = false, or correct the port",
        )


def _inspect_plain(connection: socket.socket, host: str) -> Finding:
    """Servers that expect TLS say so in an error page, answer in TLS, or hang up."""
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    answer = b""
    try:
        connection.sendall(request.encode())
        while len(answer) < _MOST_BYTES and (received := connection.recv(_MOST_BYTES)):
            answer += received
    except ConnectionResetError:
        pass  # what came before it counts
    if not answer.startswith(b"HTTP/"):
        text = f"{host} does not speak HTTP here"
    elif b" 400 " in answer[:20] and b"https" in answer.lower():
        text = f"{host} speaks TLS here"
    else:
        return Finding("s3 tls", "ok", "off: plain HTTP, as configured")
    return Finding("s3 tls", "failed", text, "set use_ssl = true, or correct the port")


def _failed(text: str, advice: str) -> Finding:
    return Finding("s3 endpoint", "failed", text, advice)
