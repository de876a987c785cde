"""The names of objects: `[function/]<2 hex>/<hash>-<size><suffix>`.

The digest can be read from the name, so that an index can be made anew from the objects alone. The
suffix makes a name unique: `.` and 16 random hexadecimal digits, then what decorators add. Files
that were written before there were suffixes have none.
"""

import re
import secrets

from reapi.core.digest import DIGEST_FUNCTIONS, Digest, make_digest
from reapi.core.errors import InvalidArgument

_NAME = re.compile(
    r"([a-z0-9]+/)?([0-9a-f]{2})/([0-9a-f]{40,128})-(0|[1-9][0-9]{0,15})((?:\.[0-9a-z]+)*)"
)
_FUNCTIONS = {function.segment: function for function in DIGEST_FUNCTIONS if function.segment}
_INFERRED = {
    2 * function.hash_bytes: function for function in DIGEST_FUNCTIONS if function.is_inferred
}


def new_suffix() -> str:
    """A suffix that no other object has."""
    return f".{secrets.token_hex(8)}"


def object_name(digest: Digest, suffix: str) -> str:
    """The name of the object of `digest` with that suffix."""
    hash_text = digest.hash
    return f"{digest.function.segment}{hash_text[:2]}/{hash_text}-{digest.size_bytes}{suffix}"


def parse_object_name(name: str) -> tuple[Digest, str] | None:
    """Digest and suffix; None for a name that this program did not give."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    segment, folder, hash_text, size, suffix = match.groups()
    function = _FUNCTIONS.get(segment) if segment else _INFERRED.get(len(hash_text))
    if function is None or not hash_text.startswith(folder):
        return None
    try:
        return make_digest(hash_text, int(size), function), suffix
    except InvalidArgument:
        return None
