"""Page tokens of ListOperations: where the next page begins, and of which list.

They hold nothing but what the caller was told, so a checksum is enough: it tells a token that was
altered, or that belongs to another question, and it needs no state that a restart could lose.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

from reapi.core.errors import InvalidArgument

_CHECKSUM_BYTES = 12


def make_token(after: str, question: str) -> str:
    """The token of the page behind the name `after`, in the answer to `question`."""
    return urlsafe_b64encode(_checksum(after, question) + after.encode()).decode()


def parse_token(token: str, question: str) -> str:
    """The name that `make_token` was given; InvalidArgument unless the question is the same."""
    try:
        decoded = urlsafe_b64decode(token.encode("ascii"))
        after = decoded[_CHECKSUM_BYTES:].decode()
    except (binascii.Error, UnicodeError):
        after = ""
    if not after or make_token(after, question) != token:
        raise InvalidArgument(
            f"page_token {token[:80]!r} is not one that this server gave for this name and filter; "
            "start at the first page"
        )
    return after


def _checksum(after: str, question: str) -> bytes:
    data = f"{after}\0{question}".encode()
    return blake2b(data, digest_size=_CHECKSUM_BYTES, person=b"page token").digest()
