"""The certificate that a server shows, and whose certificates it wants to see of its clients."""

import logging
import os
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

from .errors import InvalidArgument

logger = logging.getLogger(__name__)

_Stamp = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Files in PEM form. With `client_ca_file`, clients without a certificate signed by one of its
    authorities are refused."""

    certificate_file: Path
    key_file: Path
    client_ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class LoadedTls:
    """What the files said when they were read, once for each kind of transport."""

    context: ssl.SSLContext
    certificate: bytes
    key: bytes
    client_ca: bytes | None


class ServerTls:
    """The content of the files, read again when they change: no connection needs to end for that.

    Raises InvalidArgument for files that cannot be used. Later, such files are logged, and what
    they said before holds. May be asked from any thread.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()  # of the two below
        self._stamp = self._read_stamp()
        self._loaded = load_tls(files)

    def current(self) -> LoadedTls:
        """Asked for each connection: looks at the files, and reads them only if they changed."""
        with self._lock:
            stamp = self._read_stamp()
            if stamp == self._stamp:
                return self._loaded
            # Noted before they are read: what changes meanwhile is looked at again.
            self._stamp = stamp
            try:
                self._loaded = load_tls(self._files)
            except InvalidArgument as error:
                logger.error("the TLS certificate is that from before: %s", error.message)
            else:
                logger.info("%s has changed", self._files.certificate_file)
            return self._loaded

    def _read_stamp(self) -> _Stamp:
        files = (self._files.certificate_file, self._files.key_file, self._files.client_ca_file)
        return tuple(_stamp_of(file) for file in files if file is not None)


def _stamp_of(file: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def load_tls(files: TlsFiles) -> LoadedTls:
    """Raises InvalidArgument that names the file, and what is wrong with it."""
    certificate = _read("tls_certificate_file", files.certificate_file)
    key = _read("tls_key_file", files.key_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    load_pair(context, files.certificate_file, files.key_file)
    client_ca = None
    if files.client_ca_file is not None:
        client_ca = _read("tls_client_ca_file", files.client_ca_file)
        load_authorities(context, "tls_client_ca_file", files.client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return LoadedTls(context, certificate, key, client_ca)


def load_pair(context: ssl.SSLContext, certificate_file: Path, key_file: Path) -> None:
    """Raises InvalidArgument for files that are no certificate and its key."""

    def refuse_password() -> str:
        raise InvalidArgument(f"the key in {key_file} is encrypted: nobody can be asked for it")

    try:
        context.load_cert_chain(certificate_file, key_file, refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            reason = f"the key in {key_file} is not that of the certificate"
        else:
            reason = f"it and {key_file} do not hold a certificate and its key in PEM form"
        raise InvalidArgument(f"cannot use {certificate_file}: {reason}") from error
    except OSError as error:
        raise InvalidArgument(
            f"cannot read {certificate_file} or {key_file}: {error.strerror}"
        ) from error


def load_authorities(context: ssl.SSLContext, setting: str, file: Path) -> None:
    """Raises InvalidArgument for a file without certificates in PEM form."""
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as error:
        raise InvalidArgument(f"{setting} {file} holds no certificates in PEM form") from error
    except OSError as error:
        raise InvalidArgument(f"cannot read {setting} {file}: {error.strerror}") from error


def _read(setting: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidArgument(f"cannot read {setting} {file}: {error.strerror}") from error
