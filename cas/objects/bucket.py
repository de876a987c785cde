"""Makes a bucket and inspects one: which of endpoint, TLS, credentials, bucket and rights fails.

For the command line; it blocks. Runs through the minio client, which knows buckets, and tries the
rights with the client that moves the data.
"""

import secrets
from collections.abc import Callable, Iterator
from functools import partial

import obstore
from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.credentials.providers import Provider
from minio.error import MinioException, S3Error
from minio.lifecycleconfig import AbortIncompleteMultipartUpload, LifecycleConfig, Rule
from urllib3.exceptions import HTTPError

from reapi.core.errors import ReapiError
from reapi.core.finding import Finding

from .s3_clients import admin_client, data_client
from .s3_config import S3Config
from .s3_credentials import find_credentials
from .s3_endpoint import inspect_endpoint
from .s3_errors import S3_ERRORS, code_of

_ANSWER_SECONDS = 10
_RULE_ID = "reapi-abort-incomplete-uploads"

_CREDENTIAL_ADVICE = {
    "InvalidAccessKeyId": "the store does not know this access key: check the access key id",
    "SignatureDoesNotMatch": "the secret access key does not belong to the access key id",
    "RequestTimeTooSkewed": "the clocks of this machine and of the store differ: set them",
    "ExpiredToken": "the session token has expired: get a new one",
    "AuthorizationHeaderMalformed": "the store is in another region: set region",
}


def inspect_bucket(config: S3Config) -> Iterator[Finding]:
    """Findings from the outside in; ends after the first failure, for the rest depends on it."""
    for finding in inspect_endpoint(config):
        yield finding
        if finding.status == "failed":
            return
    try:
        credentials, source = find_credentials(config)
        credentials.retrieve()
    except ReapiError as error:
        yield Finding("s3 credentials", "failed", error.message, "see docs/configuration.md")
        return
    client = admin_client(config, credentials, retries=0)
    for finding in _inspect_access(config, client, source):
        yield finding
        if finding.status == "failed":
            return
    rights = _inspect_rights(config, credentials)
    yield rights
    if rights.status == "failed":
        return
    yield _inspect_versioning(config, client)
    yield _inspect_lifecycle(config, client)


def make_bucket(config: S3Config) -> Iterator[Finding]:
    """Makes the bucket unless it is there, and sets its lifecycle rule where the store takes it."""
    for finding in inspect_endpoint(config):
        if finding.status == "failed":
            yield finding
            return
    try:
        credentials, _ = find_credentials(config)
        client = admin_client(config, credentials, retries=0)
        if client.bucket_exists(config.bucket):
            yield Finding("s3 bucket", "ok", f"{config.bucket} is there already")
        else:
            client.make_bucket(config.bucket, config.region)
            yield Finding("s3 bucket", "ok", f"{config.bucket} made")
    except S3Error as error:
        yield _refusal(error, config)
        return
    except (MinioException, HTTPError, ReapiError) as error:
        yield Finding("s3 bucket", "failed", f"cannot make {config.bucket}: {error}")
        return
    yield _set_lifecycle(config, client)


def _inspect_access(config: S3Config, client: Minio, source: str) -> Iterator[Finding]:
    """Whether the store knows us, and the bucket."""
    try:
        next(iter(client.list_objects(config.bucket, f"{config.key('cas')}/")), None)
    except S3Error as error:
        yield _refusal(error, config)
        return
    except (MinioException, HTTPError) as error:
        yield Finding(
            "s3 endpoint",
            "failed",
            f"{config.host} does not answer as an S3 does: {type(error).__name__}",
            "is this the port of the S3 API, and not that of a console?",
        )
        return
    yield Finding("s3 credentials", "ok", f"accepted, from {source}")
    yield Finding("s3 bucket", "ok", f"{config.bucket} is there and can be listed")


def _refusal(error: S3Error, config: S3Config) -> Finding:
    code = str(error.code)
    if code in _CREDENTIAL_ADVICE:
        return Finding("s3 credentials", "failed", f"refused: {code}", _CREDENTIAL_ADVICE[code])
    if code == "NoSuchBucket":
        return Finding(
            "s3 bucket",
            "failed",
            f"there is no bucket {config.bucket} at {config.host}",
            "run `reapi-server storage init` with this configuration, or correct bucket",
        )
    if code == "AccessDenied":
        return Finding(
            "s3 permission",
            "failed",
            f"our key may not do this with {config.bucket}: {code}",
            "allow it to list, read, write and delete objects of this bucket",
        )
    return Finding("s3 bucket", "failed", f"{config.bucket}: {code}: {error.message}")


def _inspect_rights(config: S3Config, credentials: Provider) -> Finding:
    """Writes, reads and deletes a tiny object."""
    store = data_client(config, credentials, _ANSWER_SECONDS)
    key = config.key("probe", secrets.token_hex(8))
    steps: dict[str, Callable[[], object]] = {
        "write": partial(obstore.put, store, key, b"probe"),
        "read": partial(obstore.get, store, key),
        "delete": partial(obstore.delete, store, [key]),
    }
    for right, step in steps.items():
        try:
            step()
        except S3_ERRORS as error:
            reason = code_of(error) or "it fails"
            return Finding(
                "s3 permission",
                "failed",
                f"cannot {right} objects in {config.bucket}: {reason}",
                f"allow our key to {right} objects of this bucket"
                if reason == "AccessDenied"
                else "",
            )
    return Finding("s3 permission", "ok", "objects can be written, read and deleted")


def _inspect_versioning(config: S3Config, client: Minio) -> Finding:
    try:
        status = client.get_bucket_versioning(config.bucket).status
    except (MinioException, HTTPError) as error:
        return Finding("s3 versioning", "ok", f"not known: {_short(error)}")
    if status in ("Enabled", "Suspended"):
        return Finding(
            "s3 versioning",
            "warning",
            f"{status.lower()}: deleted blobs keep their bytes as old versions",
            "use a bucket that never had versioning, or a lifecycle rule that ends old versions",
        )
    return Finding("s3 versioning", "ok", "off, so deletions free their bytes")


def _inspect_lifecycle(config: S3Config, client: Minio) -> Finding:
    try:
        rules = _rules(client, config.bucket)
    except (MinioException, HTTPError) as error:
        return Finding("s3 lifecycle", "ok", f"not known: {_short(error)}")
    ours = f"{config.key('cas')}/"
    for rule in rules:
        prefix = (rule.rule_filter.prefix if rule.rule_filter else None) or ""
        overlaps = ours.startswith(prefix) or prefix.startswith(ours)
        if rule.status == ENABLED and rule.expiration is not None and overlaps:
            return Finding(
                "s3 lifecycle",
                "warning",
                f"the rule {rule.rule_id!r} deletes objects that the server has promised",
                "remove it: the server deletes what it does not need",
            )
    if any(rule.abort_incomplete_multipart_upload for rule in rules):
        return Finding("s3 lifecycle", "ok", "unfinished uploads end after a while")
    return Finding(
        "s3 lifecycle", "ok", "no rule for unfinished uploads; running servers end them in time"
    )


def _set_lifecycle(config: S3Config, client: Minio) -> Finding:
    """Adds our rule to those that are there."""
    rule = Rule(
        ENABLED,
        rule_filter=Filter(prefix=f"{config.key('cas')}/"),
        rule_id=_RULE_ID,
        abort_incomplete_multipart_upload=AbortIncompleteMultipartUpload(days_after_initiation=1),
    )
    try:
        others = [one for one in _rules(client, config.bucket) if one.rule_id != _RULE_ID]
        client.set_bucket_lifecycle(config.bucket, LifecycleConfig([*others, rule]))
    except (MinioException, HTTPError) as error:
        return Finding(
            "s3 lifecycle",
            "ok",
            f"the store takes no rule that ends unfinished uploads ({_short(error)}); "
            "running servers end them in time",
        )
    return Finding("s3 lifecycle", "ok", "unfinished uploads end after a day")


def _rules(client: Minio, bucket: str) -> list[Rule]:
    lifecycle = client.get_bucket_lifecycle(bucket)
    return list(lifecycle.rules) if lifecycle else []


def _short(error: Exception) -> str:
    return str(error.code) if isinstance(error, S3Error) else type(error).__name__
