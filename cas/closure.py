"""All blobs that an ActionResult needs, directly or through its trees (AC2, AC3)."""

from collections.abc import Sequence
from struct import Struct

from google.protobuf.message import DecodeError

from reapi.core.digest import (
    DIGEST_FUNCTIONS,
    Digest,
    DigestFunction,
    digest_of_key,
    parse_digest,
)
from reapi.core.directory import check_directory
from reapi.core.errors import BlobsMissing, InvalidArgument, NotFound
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult, Tree

from .tree import walk_tree

LARGEST_TREE_BYTES = 64 << 20

_RECORDS = {
    function.number: Struct(f">{1 + function.hash_bytes}sQ") for function in DIGEST_FUNCTIONS
}
"""By the first byte of a record: key (number of the function, hash) and size."""


async def closure_of(
    blobs: BlobStore, result: ActionResult, function: DigestFunction
) -> list[Digest]:
    """Each needed digest once; empty blobs are left out.

    Raises BlobsMissing when a tree is absent, for then its content is unknown, and InvalidArgument
    for a malformed digest or tree.
    """
    needed: dict[Digest, None] = {}
    for file in result.output_files:
        needed[parse_digest(file.digest, function)] = None
    for name in ("stdout_digest", "stderr_digest"):
        if result.HasField(name):
            needed[parse_digest(getattr(result, name), function)] = None
    for directory in result.output_directories:
        if directory.HasField("tree_digest"):
            tree = parse_digest(directory.tree_digest, function)
            needed[tree] = None
            needed.update(dict.fromkeys(await _files_of_tree(blobs, tree)))
        if directory.HasField("root_directory_digest"):
            root = parse_digest(directory.root_directory_digest, function)
            needed[root] = None
            needed.update(dict.fromkeys(await _hierarchy(blobs, root)))
    return [digest for digest in needed if digest.size_bytes]


def pack_closure(digests: Sequence[Digest]) -> bytes:
    """The closure as a row holds it: one record per digest, all of one function (D5)."""
    if not digests:
        return b""
    pack = _RECORDS[digests[0].function.number].pack
    return b"".join([pack(digest.key, digest.size_bytes) for digest in digests])


def unpack_closure(packed: bytes) -> list[Digest]:
    """What `pack_closure` packed."""
    if not packed:
        return []
    return [digest_of_key(key, size) for key, size in _RECORDS[packed[0]].iter_unpack(packed)]


async def _files_of_tree(blobs: BlobStore, digest: Digest) -> list[Digest]:
    if digest.size_bytes > LARGEST_TREE_BYTES:
        raise InvalidArgument(f"tree {digest} is larger than {LARGEST_TREE_BYTES} bytes")
    data = (await blobs.read_many([digest])).get(digest)
    if data is None:
        raise BlobsMissing([digest.subject])
    try:
        tree = Tree.FromString(data)
    except DecodeError as error:
        raise InvalidArgument(f"blob {digest} is not a Tree") from error
    files = []
    for directory in (tree.root, *tree.children):
        check_directory(directory, digest.function, f"tree {digest}")
        files += [parse_digest(node.digest, digest.function) for node in directory.files]
    return files


async def _hierarchy(blobs: BlobStore, root: Digest) -> list[Digest]:
    needed: list[Digest] = []
    try:
        async for directory in walk_tree(blobs, root):
            needed += directory.directory_digests
            needed += directory.file_digests
    except NotFound as error:
        raise BlobsMissing([root.subject]) from error
    return needed
