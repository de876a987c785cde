"""ByteStream resource names, to and from typed values (conformance 1.5)."""

from collections.abc import Sequence
from typing import NamedTuple

from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Compressor

from .compression import COMPRESSORS
from .digest import DIGEST_FUNCTIONS, Digest, DigestFunction, make_digest, parse_function
from .errors import InvalidArgument
from .instances import Instances

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
        "logstreams",
    )
)
"""Words that no segment of an instance name may be (G7; the last one is of log_name.py)."""

_SEGMENTS = {number: segment for segment, number in COMPRESSORS.items()}
_FUNCTION_NUMBERS = {
    name.lower(): number
    for name, number in re_pb2.DigestFunction.Value.items()
    if number != re_pb2.DigestFunction.UNKNOWN
}
"""By segment, whether we serve them or not."""


class ReadName(NamedTuple):
    """`[instance/]blobs/[function/]hash/size`, or `compressed-blobs/compressor/` for `blobs/`.

    The digest is that of the uncompressed data.
    """

    instance_name: str
    digest: Digest
    compressor: Compressor.Value = Compressor.IDENTITY


class WriteName(NamedTuple):
    """`[instance/]uploads/uuid/blobs/[function/]hash/size[/anything]`, or compressed as ReadName"""

    instance_name: str
    upload_id: str
    digest: Digest
    compressor: Compressor.Value = Compressor.IDENTITY


def read_name(
    instance_name: str, digest: Digest, compressor: Compressor.Value = Compressor.IDENTITY
) -> str:
    """The name under which `digest` is read."""
    prefix = f"{instance_name}/" if instance_name else ""
    return prefix + _blob(digest, compressor)


def write_name(
    instance_name: str,
    upload_id: str,
    digest: Digest,
    compressor: Compressor.Value = Compressor.IDENTITY,
) -> str:
    """The name under which `digest` is written by the upload `upload_id`."""
    prefix = f"{instance_name}/" if instance_name else ""
    return f"{prefix}uploads/{upload_id}/{_blob(digest, compressor)}"


def _blob(digest: Digest, compressor: Compressor.Value) -> str:
    if compressor == Compressor.IDENTITY:
        return digest.subject
    return f"compressed-blobs/{_SEGMENTS[compressor]}/{digest.subject.removeprefix('blobs/')}"


def parse_read_name(name: str, instances: Instances | None = None) -> ReadName:
    """Raises InvalidArgument for all but the name of a blob in a form that is served.

    Without `instances` any instance name will do, and all functions are told apart as usual.
    """
    instance_name, rest = _split_instance(name)
    compressor, blob = _split_compressor(name, rest)
    digest, trailing = _parse_blob(name, blob, _served(instance_name, instances))
    if trailing:
        raise _malformed(name)
    return ReadName(instance_name, digest, compressor)


def parse_write_name(name: str, instances: Instances | None = None) -> WriteName:
    """Raises InvalidArgument for all but the name of an upload in a form that is served.

    `instances` as in `parse_read_name`.
    """
    instance_name, rest = _split_instance(name)
    if rest[0] != "uploads" or len(rest) < 3 or not rest[1]:
        raise _malformed(name)
    compressor, blob = _split_compressor(name, rest[2:])
    digest, _ = _parse_blob(name, blob, _served(instance_name, instances))
    return WriteName(instance_name, rest[1], digest, compressor)


def instance_of(name: str) -> str:
    """The instance of a name to read or to write; raises InvalidArgument where it has none."""
    return _split_instance(name)[0]


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


def _split_compressor(name: str, segments: list[str]) -> tuple[Compressor.Value, list[str]]:
    """Reads `blobs` or `compressed-blobs/compressor` and returns what stands behind it (BS4)."""
    if segments[0] == "blobs":
        return Compressor.IDENTITY, segments[1:]
    if segments[0] != "compressed-blobs":
        raise _malformed(name)
    segment = segments[1] if len(segments) > 1 else ""
    compressor = COMPRESSORS.get(segment)
    if compressor is None:
        served = ", ".join(COMPRESSORS)
        raise InvalidArgument(f"compressor {segment[:40]!r} is not served; it serves {served}")
    return compressor, segments[2:]


def _served(instance_name: str, instances: Instances | None) -> Sequence[DigestFunction]:
    return DIGEST_FUNCTIONS if instances is None else instances.functions(instance_name)


def _parse_blob(
    name: str, rest: list[str], served: Sequence[DigestFunction]
) -> tuple[Digest, list[str]]:
    """Reads `[function/]hash/size` and returns what stands behind it."""
    number = _FUNCTION_NUMBERS.get(rest[0], 0) if rest else 0
    if number:
        rest = rest[1:]
    if len(rest) < 2 or not rest[1].isascii() or not rest[1].isdigit() or len(rest[1]) > 16:
        raise _malformed(name)
    function = parse_function(number, len(rest[0]), served)
    return make_digest(rest[0], int(rest[1]), function), rest[2:]


def _malformed(name: str) -> InvalidArgument:
    shown = name if len(name) <= 200 else name[:200] + "…"
    return InvalidArgument(
        f"malformed resource name {shown!r}: expected [INSTANCE/]blobs/HASH/SIZE to read "
        "or [INSTANCE/]uploads/UUID/blobs/HASH/SIZE to write; "
        "or compressed-blobs/COMPRESSOR/ in place of blobs/"
    )
