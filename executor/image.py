"""An image as the executor reads it: a Tree from the store, made fit to be mounted upon."""

import asyncio
from collections.abc import Iterable

from google.protobuf.message import DecodeError

from reapi.core.digest import EMPTY_HASHES, Digest, DigestFunction, digest_of
from reapi.core.directory import LARGEST_TREE_BYTES
from reapi.core.errors import BlobsMissing, InvalidArgument, ResourceExhausted
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Tree

from .cached_file import FileKey
from .input_tree import EMPTY_DIRECTORY, InputDirectory, InputTrees
from .local_cache import LocalCache

_RESOLVER = ("resolv.conf", "hosts")
"""Files of /etc that the host's are mounted on when the network is on."""


async def load_image(
    digest: Digest, trees: InputTrees, store: BlobStore, cache: LocalCache
) -> InputDirectory:
    """The root directory of the Tree `digest`; its files may be absent still.

    Raises BlobsMissing, InvalidArgument for a blob that is no Tree, and what InputTrees.load does.
    """
    if digest.size_bytes > LARGEST_TREE_BYTES:
        raise ResourceExhausted(
            f"the Tree {digest} of the image is larger than the {LARGEST_TREE_BYTES} bytes allowed"
        )
    data = (await store.read_many([digest])).get(digest)
    if data is None:
        raise BlobsMissing([digest.subject])
    root, directories = await asyncio.to_thread(_read, data, digest)
    return await trees.load(root, directories, store, cache)


def mountable(
    root: InputDirectory, directories: Iterable[str], function: DigestFunction
) -> InputDirectory:
    """The image with these directories in its root, whatever stood there, and files in its /etc.

    A read-only file system must have all places that others are mounted on.
    """
    names = set(directories)
    below = {name: each for name, each in root.directories.items()}
    below |= {name: root.directories.get(name, EMPTY_DIRECTORY) for name in names}
    etc = below.get("etc")
    if etc is None and not {"etc"} & (root.files.keys() | root.symlinks.keys()):
        etc = EMPTY_DIRECTORY
    if etc is not None:
        empty = FileKey(Digest(EMPTY_HASHES[function], 0, function), is_executable=False)
        absent = {
            name: empty
            for name in _RESOLVER
            if name not in etc.files and name not in etc.directories
        }
        symlinks = {name: to for name, to in etc.symlinks.items() if name not in _RESOLVER}
        below["etc"] = InputDirectory(etc.digest, etc.files | absent, etc.directories, symlinks)
    files = {name: key for name, key in root.files.items() if name not in names}
    symlinks = {name: to for name, to in root.symlinks.items() if name not in names}
    return InputDirectory(root.digest, files, below, symlinks)


def _read(data: bytes, digest: Digest) -> tuple[Digest, dict[Digest, bytes]]:
    try:
        tree = Tree.FromString(data)
    except DecodeError as error:
        raise InvalidArgument(f"blob {digest} is not the Tree of an image") from error
    blobs = [each.SerializeToString(deterministic=True) for each in (tree.root, *tree.children)]
    digests = [digest_of(blob, digest.function) for blob in blobs]
    return digests[0], dict(zip(digests, blobs, strict=True))
