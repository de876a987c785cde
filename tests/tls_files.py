"""Certificates in files: of an authority, of a server at 127.0.0.1, and of a client."""

from pathlib import Path

from reapi.clients.tls import ClientTls
from reapi.core.tls import TlsFiles
from tests.certificates import certificate, new_key, private_pem


class TlsFolder:
    """Everything that one authority has signed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._authority = new_key()
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(certificate("authority", self._authority, self._authority))
        self.server = TlsFiles(*self.pair("server"))
        self.mutual = TlsFiles(*self.pair("mutual"), self.ca)

    def pair(self, name: str, *hosts: str) -> tuple[Path, Path]:
        """A new certificate, of these hosts too, and its key, in files of that name; those before
        are replaced."""
        key = new_key()
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        paths[0].write_bytes(certificate(name, key, self._authority, hosts=hosts))
        paths[1].write_bytes(private_pem(key))
        return paths

    def client(self, *, has_certificate: bool = False) -> ClientTls:
        """A client that trusts the authority."""
        files = map(str, self.pair("client")) if has_certificate else ()
        return ClientTls(str(self.ca), *files)
