"""How a client knows its server by TLS, and shows who it is itself."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from reapi.core.errors import InvalidArgument
from reapi.core.tls import load_authorities, load_pair


class TlsContents(NamedTuple):
    """What the files of a ClientTls hold; None for one that is not there."""

    ca: bytes | None
    certificate: bytes | None
    key: bytes | None


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Files in PEM form, read when a connection is prepared.

    `ca_file` has the authorities that sign servers; those of the system unless it is set. A server
    that asks for a certificate is shown that of `certificate_file`, whose key is in `key_file`.
    """

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    def context(self) -> ssl.SSLContext:
        """Raises InvalidArgument for files that cannot be used."""
        if self.ca_file is None:
            context = ssl.create_default_context()
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            load_authorities(context, "tls_ca_file", Path(self.ca_file))
        context.set_alpn_protocols(["h2"])
        if (self.certificate_file is None) != (self.key_file is None):
            raise InvalidArgument(
                "tls_client_certificate_file and tls_client_key_file belong together: set both"
            )
        if self.certificate_file is not None and self.key_file is not None:
            load_pair(context, Path(self.certificate_file), Path(self.key_file))
        return context

    def contents(self) -> TlsContents:
        """The same for a library that has contexts of its own."""
        self.context()
        system = ssl.get_default_verify_paths().cafile
        return TlsContents(
            _content(self.ca_file or system),
            _content(self.certificate_file),
            _content(self.key_file),
        )


def _content(file: str | None) -> bytes | None:
    return None if file is None else Path(file).read_bytes()


SYSTEM_TLS = ClientTls()
"""Any server that this machine trusts, and no certificate of one's own."""
