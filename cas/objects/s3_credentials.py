"""Who we are to the bucket: keys in files, keys in the environment, or a web identity.

The first that is configured counts. All are asked again from time to time, so keys and tokens can
be changed under a running process.
"""

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from xml.etree import ElementTree

import urllib3
from minio.credentials.credentials import Credentials
from minio.credentials.providers import EnvAWSProvider, Provider

from reapi.core.errors import FailedPrecondition, Unavailable

from .s3_config import S3Config

if TYPE_CHECKING:
    from obstore.store import S3Credential

_FETCH_AGAIN = timedelta(minutes=5)
"""Before they expire. The library that carries the data asks again so long before, too."""

_KEEP = timedelta(minutes=10)
"""How long credentials count that name no end themselves."""

_STS_TIMEOUT_SECONDS = 10


class FileCredentials(Provider):
    """A key pair in two files, as secrets are mounted."""

    def __init__(self, access_key_id_file: Path, secret_access_key_file: Path) -> None:
        self._access_key_id_file = access_key_id_file
        self._secret_access_key_file = secret_access_key_file

    def retrieve(self) -> Credentials:
        """What the files say now; raises FailedPrecondition that names a file."""
        return Credentials(_read(self._access_key_id_file), _read(self._secret_access_key_file))


class WebIdentityCredentials(Provider):
    """Temporary keys for a token that the orchestrator writes into a file and renews.

    Safe for use by several threads.
    """

    def __init__(self, role_arn: str, token_file: Path, sts_url: str) -> None:
        self._role_arn = role_arn
        self._token_file = token_file
        self._sts_url = sts_url
        self._lock = threading.Lock()  # of the two below
        self._current: Credentials | None = None
        self._until = datetime.min.replace(tzinfo=UTC)

    def retrieve(self) -> Credentials:
        """Keys that are good for some minutes at least. Blocks while it asks for new ones.

        Raises FailedPrecondition for the token file, Unavailable when the service does not answer.
        """
        with self._lock:
            if self._current is None or datetime.now(UTC) > self._until - _FETCH_AGAIN:
                self._current, self._until = self._assume_role(_read(self._token_file))
            return self._current

    def _assume_role(self, token: str) -> tuple[Credentials, datetime]:
        # The token goes into the body: URLs end up in logs.
        fields = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": self._role_arn,
            "RoleSessionName": os.environ.get("AWS_ROLE_SESSION_NAME", "reapi"),
            "WebIdentityToken": token,
        }
        try:
            response = urllib3.request(
                "POST",
                self._sts_url,
                body=urlencode(fields),
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                timeout=_STS_TIMEOUT_SECONDS,
                retries=urllib3.Retry(2, backoff_factor=0.2, respect_retry_after_header=False),
            )
            root = ElementTree.fromstring(response.data)
        except (urllib3.exceptions.HTTPError, ElementTree.ParseError) as error:
            raise Unavailable(
                f"{self._sts_url} gives no credentials for the web identity: "
                f"{type(error).__name__}",
                retry_after_seconds=5,
            ) from error
        if response.status != 200:
            code = _text(root, "Code") or f"HTTP {response.status}"
            raise FailedPrecondition(
                f"{self._sts_url} refuses the web identity of {self._token_file} for the role "
                f"{self._role_arn}: {code}"
            )
        until = datetime.fromisoformat(_text(root, "Expiration"))
        found = Credentials(
            _text(root, "AccessKeyId"),
            _text(root, "SecretAccessKey"),
            _text(root, "SessionToken"),
            until,
        )
        return found, until


def find_credentials(config: S3Config) -> tuple[Provider, str]:
    """The first that is configured, and where it is, for logs.

    Raises FailedPrecondition when there is none.
    """
    environment = os.environ
    role_arn = environment.get("AWS_ROLE_ARN")
    token_file = environment.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    if config.access_key_id_file is not None and config.secret_access_key_file is not None:
        source = f"the files {config.access_key_id_file} and {config.secret_access_key_file}"
        found: Provider = FileCredentials(config.access_key_id_file, config.secret_access_key_file)
    elif environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY"):
        source = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
        found = EnvAWSProvider()
    elif role_arn and token_file:
        source = f"the web identity in {token_file} for the role {role_arn}"
        found = WebIdentityCredentials(role_arn, Path(token_file), _sts_url(config))
    else:
        raise FailedPrecondition(
            f"no credentials for the bucket {config.bucket}: set access_key_id_file and "
            "secret_access_key_file in [storage.blobs], or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE"
        )
    return found, source


def for_obstore(provider: Provider) -> "Callable[[], S3Credential]":
    """The same credentials in the form that obstore asks for; it calls from a thread of its own."""

    def current() -> "S3Credential":
        credentials = provider.retrieve()
        expiration = credentials.expiration
        return {
            "access_key_id": credentials.access_key,
            "secret_access_key": credentials.secret_key,
            "token": credentials.session_token,
            "expires_at": expiration.replace(tzinfo=UTC)
            if expiration
            else datetime.now(UTC) + _KEEP,
        }

    return current


def _sts_url(config: S3Config) -> str:
    """AWS has a service of its own for this; others answer at the endpoint of the bucket."""
    configured = os.environ.get("AWS_ENDPOINT_URL_STS")
    if configured:
        return configured
    if config.host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return f"https://sts.{config.region}.{config.host[config.host.index('amazonaws') :]}"
    return config.url


def _read(file: Path) -> str:
    try:
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise FailedPrecondition(f"cannot read credentials from {file}: {reason}") from error
    if not text:
        raise FailedPrecondition(f"cannot read credentials from {file}: it is empty")
    return text


def _text(root: ElementTree.Element, name: str) -> str:
    """Of the first element of that name in whatever namespace."""
    return root.findtext(f".//{{*}}{name}") or ""
