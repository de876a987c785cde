"""The two clients of a bucket: obstore moves the data, minio does what is seldom done."""

from datetime import timedelta
from typing import TYPE_CHECKING

import urllib3
from minio import Minio
from minio.credentials.providers import Provider
from obstore.store import S3Store

from .s3_config import S3Config
from .s3_credentials import for_obstore

if TYPE_CHECKING:  # exists for type checkers only
    from obstore.store import S3Config as ObstoreConfig

CONNECT_SECONDS = 3
_ADMIN_SECONDS = 10
_RETRIES = 5
_RETRY_SECONDS = 8
_LONGEST_REQUEST = timedelta(days=1)
"""A reader may take its time; what ends a request is silence."""


def data_client(config: S3Config, credentials: Provider, answer_seconds: float) -> S3Store:
    """Retries what fails for some seconds. `answer_seconds` is how long a server may be silent,
    which includes the time in which the body of a request goes out.
    """
    settings: ObstoreConfig = {
        # This name, for the environment's AWS_ENDPOINT_URL_S3 would win over `endpoint`.
        "aws_endpoint_url_s3": config.url,
        "region": config.region,
        "virtual_hosted_style_request": False,
        # TLS protects the bytes on their way; without it their hash is part of the signature.
        "unsigned_payload": config.use_ssl,
    }
    if config.server_side_encryption:
        settings["server_side_encryption"] = config.server_side_encryption
    return S3Store(
        config.bucket,
        config=settings,
        client_options={
            "allow_http": not config.use_ssl,
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "read_timeout": timedelta(seconds=answer_seconds),
            "timeout": _LONGEST_REQUEST,
        },
        retry_config={
            "max_retries": _RETRIES,
            "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=1),
                "base": 2,
            },
        },
        credential_provider=for_obstore(credentials),
    )


def admin_client(config: S3Config, credentials: Provider, *, retries: int = 2) -> Minio:
    """For threads: it blocks."""
    return Minio(
        config.host,
        credentials=credentials,
        region=config.region,
        secure=config.use_ssl,
        http_client=urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=_ADMIN_SECONDS),
            # A server that starts may ask for a minute of patience: too long for what we do here.
            retries=urllib3.Retry(retries, backoff_factor=0.2, respect_retry_after_header=False),
        ),
    )
