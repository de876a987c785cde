"""ByteStream resource names, to and from typed values (conformance 1.5)."""

from typing import NamedTuple

from .digest import DIGEST_FUNCTIONS, Digest, make_digest, parse_function
from .errors import InvalidArgument

LONGEST_NAME = 4096
"""Characters; a longer name is refused before it is looked at."""

RESERVED_SEGMENTS = frozenset(
    (
        "blobs",
        "uploads",
        "actions",
        "actionResults",
        "operations",
        "capabilities",
        "compressed-blobs",
    )
)
"""Words that no segment of an instance name may be (G7)."""

_FUNCTIONS_BY_SEGMENT = {function.name.lower(): function for function in DIGEST_FUNCTIONS}


class ReadName(NamedTuple):
    """`[instance/]blobs/[function/]hash/size`"""

    instance_name: str
    digest: Digest


class WriteName(NamedTuple):
    """`[instance/]uploads/uuid/blobs/[function/]hash/size[/anything]`"""

    instance_name: str
    upload_id: str
    digest: Digest


def read_name(instance_name: str, digest: Digest) -> str:
    """The name under which `digest` is read."""
    prefix = f"{instance_name}/" if instance_name else ""
    return prefix + digest.subject


def write_name(instance_name: str, upload_id: str, digest: Digest) -> str:
    """The name under which `digest` is written by the upload `upload_id`."""
    prefix = f"{instance_name}/" if instance_name else ""
    return f"{prefix}uploads/{upload_id}/{digest.subject}"


def parse_read_name(name: str) -> ReadName:
    """Raises InvalidArgument for all but the name of an uncompressed blob."""
    instance_name, rest = _split_instance(name)
    if rest[0] != "blobs":
        raise _malformed(name)
    digest, trailing = _parse_blob(name, rest)
    if trailing:
        raise _malformed(name)
    return ReadName(instance_name, digest)


def parse_write_name(name: str) -> WriteName:
    """Raises InvalidArgument for all but the name of the upload of an uncompressed blob."""
    instance_name, rest = _split_instance(name)
    if rest[0] != "uploads" or len(rest) < 3 or not rest[1]:
        raise _malformed(name)
    digest, _ = _parse_blob(name, rest[2:])
    return WriteName(instance_name, rest[1], digest)


def _split_instance(name: str) -> tuple[str, list[str]]:
    """The instance name is all that stands left of the first keyword (BS1)."""
    if len(name) > LONGEST_NAME:
        raise InvalidArgument(
            f"resource name of {len(name)} characters; at most {LONGEST_NAME} are allowed"
        )
    segments = name.split("/")
    for index, segment in enumerate(segments):
        if segment in RESERVED_SEGMENTS:
            if "" in segments[:index]:
                raise _malformed(name)
            return "/".join(segments[:index]), segments[index:]
    raise _malformed(name)


def _parse_blob(name: str, segments: list[str]) -> tuple[Digest, list[str]]:
    """Reads `blobs/[function/]hash/size` and returns what stands behind it."""
    if segments[0] == "compressed-blobs":
        compressor = segments[1] if len(segments) > 1 else ""
        raise InvalidArgument(f"compressor {compressor[:40]!r} is not served; see GetCapabilities")
    if segments[0] != "blobs":
        raise _malformed(name)
    rest = segments[1:]
    function = _FUNCTIONS_BY_SEGMENT.get(rest[0]) if rest else None
    if function is not None:
        rest = rest[1:]
    if len(rest) < 2 or not rest[1].isascii() or not rest[1].isdigit() or len(rest[1]) > 16:
        raise _malformed(name)
    if function is None:
        function = parse_function(0, len(rest[0]))
    return make_digest(rest[0], int(rest[1]), function), rest[2:]


def _malformed(name: str) -> InvalidArgument:
    shown = name if len(name) <= 200 else name[:200] + "…"
    return InvalidArgument(
        f"malformed resource name {shown!r}: expected [INSTANCE/]blobs/HASH/SIZE to read "
        "or [INSTANCE/]uploads/UUID/blobs/HASH/SIZE to write"
    )
