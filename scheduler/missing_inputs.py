"""Finds what is absent of an input tree, for a client that must upload something anyway (EX7)."""

from reapi.core.digest import Digest, parse_digest
from reapi.core.directory import parse_directory
from reapi.core.errors import InvalidArgument
from reapi.core.interfaces import BlobStore

_MOST_DIRECTORIES = 1000
_MOST_BYTES = 4 << 20


async def missing_inputs(blobs: BlobStore, root: Digest) -> list[Digest]:
    """The absent Directories and files below `root`, itself included, each once.

    The best effort: of a tree that is larger than its bounds only the upper part is looked at, and
    malformed Directories are passed over. The worker finds the rest at the next try.
    """
    seen = {root: None}
    files: dict[Digest, None] = {}
    room = _MOST_BYTES
    level = [root]
    while level:
        wanted = []
        for digest in level:
            room -= digest.size_bytes
            if room >= 0:
                wanted.append(digest)
        level = []
        for digest, data in (await blobs.read_many(wanted)).items():
            try:
                directory = parse_directory(data, digest)
            except InvalidArgument:
                continue
            for node in directory.files:
                files[parse_digest(node.digest, digest.function)] = None
            for below in directory.directories:
                child = parse_digest(below.digest, digest.function)
                if child not in seen and len(seen) < _MOST_DIRECTORIES:
                    seen[child] = None
                    level.append(child)
    return await blobs.find_missing([*seen, *files])
