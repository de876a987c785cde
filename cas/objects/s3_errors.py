"""What the bucket's answers mean: S3's error codes, and connections that fail."""

import re

from obstore.exceptions import BaseError, UnauthenticatedError

from reapi.core.errors import ReapiError, ResourceExhausted, Unavailable

S3_ERRORS = (BaseError, FileNotFoundError)
"""All that obstore raises for what a server or the network did."""

RETRY_AFTER_SECONDS = 2.0

_CODE = re.compile(r"<Code>([A-Za-z0-9]+)</Code>")
_STATUS = re.compile(r"status code: ([0-9]{3}) ")
_KIND = re.compile(r"\bkind: (Connect|Timeout)\b")
_ABSENT = frozenset(("NoSuchKey", "InvalidRange", "PreconditionFailed"))
_FULL = frozenset(("QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull", "507"))
_REFUSED = frozenset(
    (
        *("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationFailed"),
        *("ExpiredToken", "InvalidToken", "InvalidTokenId", "401", "403"),
    )
)


def code_of(error: BaseException) -> str:
    """S3's code such as NoSuchKey, else the HTTP status, else "Connect" or "Timeout", else ""."""
    text = str(error)
    for pattern in (_CODE, _STATUS, _KIND):
        match = pattern.search(text)
        if match:
            return match[1]
    return ""


def is_absent(error: BaseException) -> bool:
    """Whether there is no such object, or not the version or the range of it that was asked for.

    A bucket that is gone, or a proxy that knows no such page, is another thing: no blob may be
    given up for that.
    """
    return code_of(error) in _ABSENT


def s3_error(error: BaseException, doing: str, bucket: str) -> ReapiError:
    """What to tell callers; raise it from `error`. `doing` completes "cannot"."""
    code = code_of(error)
    if code in _FULL:
        return ResourceExhausted(
            f"cannot {doing}: the bucket {bucket} is full ({code})", retry_after_seconds=30
        )
    if code == "NoSuchBucket":
        reason = f"there is no bucket {bucket}"
    elif code in _REFUSED:
        reason = f"the bucket {bucket} refuses our credentials or their rights ({code})"
    elif isinstance(error, UnauthenticatedError) and not code:
        # Raised in s3_credentials.py, of which obstore leaves the text.
        reason = str(error).partition("\n")[0].rpartition(" credential provider: ")[2]
    elif code == "Connect":
        reason = "the object store cannot be reached"
    elif code == "Timeout":
        reason = "the object store does not answer in time"
    else:
        reason = f"the object store fails ({code or 'broken connection'})"
    return Unavailable(f"cannot {doing}: {reason}", retry_after_seconds=RETRY_AFTER_SECONDS)
