"""Walks a tree of Directory blobs, each distinct one once, within bounds (CAS13, CAS15)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from reapi.core.digest import Digest, parse_digest
from reapi.core.directory import parse_directory
from reapi.core.errors import InvalidArgument, NotFound, ResourceExhausted
from reapi.core.interfaces import BlobStore

LARGEST_DIRECTORY_BYTES = 16 << 20
DEEPEST_LEVEL = 2048
"""Paths of 4096 bytes cannot go deeper."""
MOST_DIRECTORIES = 500_000

_READ_BYTES = 4 << 20
_INLINE_BYTES = 64 << 10
"""A Directory of so many bytes is parsed in some milliseconds; a larger one is a thread's work."""


class WalkedDirectory(NamedTuple):
    """A Directory as it is stored, and the digests in it."""

    digest: Digest
    data: bytes
    file_digests: tuple[Digest, ...]
    directory_digests: tuple[Digest, ...]


async def walk_tree(blobs: BlobStore, root: Digest) -> AsyncIterator[WalkedDirectory]:
    """The root and all below it, level by level, in the order of their first mention.

    Raises NotFound when the root is absent and leaves out an absent descendant; InvalidArgument for
    bytes that are no safe Directory or levels without end, ResourceExhausted for too many of them.
    """
    seen = {root}
    level = [root]
    depth = 0
    while level:
        if depth > DEEPEST_LEVEL:
            raise InvalidArgument(f"the tree of {root} is deeper than {DEEPEST_LEVEL} levels")
        below: dict[Digest, None] = {}
        for some in _batches(level):
            found = await blobs.read_many(some)
            if root in some and root not in found:
                raise NotFound(f"directory {root} is not here")
            for digest in some:
                if digest in found:
                    if digest.size_bytes <= _INLINE_BYTES:
                        walked = _read(digest, found[digest])
                    else:
                        walked = await asyncio.to_thread(_read, digest, found[digest])
                    below.update((child, None) for child in walked.directory_digests)
                    yield walked
        below = {digest: None for digest in below if digest not in seen}
        seen.update(below)
        if len(seen) > MOST_DIRECTORIES:
            raise ResourceExhausted(f"the tree of {root} has over {MOST_DIRECTORIES} directories")
        level = list(below)
        depth += 1


def _read(digest: Digest, data: bytes) -> WalkedDirectory:
    directory = parse_directory(data, digest)
    function = digest.function
    return WalkedDirectory(
        digest,
        data,
        tuple(parse_digest(node.digest, function) for node in directory.files),
        tuple(parse_digest(node.digest, function) for node in directory.directories),
    )


def _batches(digests: Sequence[Digest]) -> list[list[Digest]]:
    """Parts of a level that fit into memory at once."""
    batches: list[list[Digest]] = []
    room = 0
    for digest in digests:
        if digest.size_bytes > LARGEST_DIRECTORY_BYTES:
            raise InvalidArgument(
                f"directory {digest} is larger than {LARGEST_DIRECTORY_BYTES} bytes"
            )
        if not batches or digest.size_bytes > room:
            batches.append([])
            room = _READ_BYTES
        batches[-1].append(digest)
        room -= digest.size_bytes
    return batches
