"""The settings of a bucket, and the checks of those that people mistype."""

import re
from dataclasses import dataclass
from pathlib import Path

from reapi.core.errors import InvalidArgument

_HOST = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9_.-]*[A-Za-z0-9]|\[[0-9a-fA-F:.]+\])"
_ENDPOINT = re.compile(rf"({_HOST})(?::([0-9]{{1,5}}))?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY_PREFIX = re.compile(r"[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*")
_ENCRYPTIONS = ("", "AES256", "aws:kms")


@dataclass(frozen=True, slots=True)
class S3Config:
    """One bucket, or the part of it below a prefix. Raises InvalidArgument that says what is wrong.

    Buckets are addressed by path (`https://host/bucket/key`), which every S3 understands.
    """

    bucket: str
    """Made by `reapi-server storage init`, or by somebody else."""

    endpoint: str = ""
    """HOST:PORT, or HOST for the usual port; empty for the one that AWS has in `region`."""

    region: str = "us-east-1"
    """Part of every signature; MinIO takes the default unless it is told otherwise."""

    key_prefix: str = ""
    """What all keys begin with, without a slash at either end; empty for the whole bucket."""

    use_ssl: bool = True
    """TLS, with the certificates of the system or of the file SSL_CERT_FILE."""

    server_side_encryption: str = ""
    """Asked of the store for each object: "AES256", "aws:kms" or nothing."""

    access_key_id_file: Path | None = None
    """Credentials are in these two files, or else in the environment (s3_credentials.py)."""

    secret_access_key_file: Path | None = None

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket):
            raise InvalidArgument(
                f"bucket: {self.bucket!r} is no name of a bucket: 3 to 63 lowercase letters, "
                "digits, '.' and '-'"
            )
        if self.endpoint:
            _check_endpoint(self.endpoint)
        if self.key_prefix and (
            not _KEY_PREFIX.fullmatch(self.key_prefix)
            or {".", ".."} & set(self.key_prefix.split("/"))
        ):
            raise InvalidArgument(
                f"key_prefix: {self.key_prefix!r} is no prefix: write words of letters, digits and "
                "'_.=-' with single slashes between them, without a slash at either end"
            )
        if self.server_side_encryption not in _ENCRYPTIONS:
            raise InvalidArgument(
                f"server_side_encryption: {self.server_side_encryption!r} is not known: "
                "write 'AES256', 'aws:kms' or nothing"
            )
        if (self.access_key_id_file is None) != (self.secret_access_key_file is None):
            raise InvalidArgument(
                "access_key_id_file and secret_access_key_file go together: set both, or neither "
                "to take credentials from the environment"
            )

    @property
    def host(self) -> str:
        """HOST[:PORT], also when none was set."""
        return self.endpoint or f"s3.{self.region}.amazonaws.com"

    @property
    def url(self) -> str:
        """Of the endpoint."""
        return f"{'https' if self.use_ssl else 'http'}://{self.host}"

    def key(self, folder: str, name: str = "") -> str:
        """Of an object; with no name, of all objects in `folder`."""
        return "/".join(part for part in (self.key_prefix, folder, name) if part)


def _check_endpoint(endpoint: str) -> None:
    scheme, separator, rest = endpoint.partition("://")
    if separator:
        use_ssl = "false" if scheme.lower() == "http" else "true"
        raise InvalidArgument(
            f"endpoint: {endpoint!r} has a scheme: write endpoint = "
            f'"{rest.rstrip("/")}" and use_ssl = {use_ssl}'
        )
    if "/" in endpoint:
        raise InvalidArgument(
            f"endpoint: {endpoint!r} has a path: write HOST:PORT alone; bucket and key_prefix have "
            "settings of their own"
        )
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or not 0 < int(match[2] or 443) < 65536:
        raise InvalidArgument(
            f"endpoint: {endpoint!r} is not HOST:PORT: write for example 'minio.example:9000'"
        )
