"""Lists what a Directory in the store holds."""

from collections.abc import Iterator, Mapping
from itertools import islice

from reapi.core.digest import Digest, parse_digest
from reapi.core.errors import InvalidArgument
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Directory

from .model import Entry, EntryKind
from .paths import DEEPEST
from .remote_tree import read_directories

_MOST_ENTRIES = 1_000_000


async def list_directory(store: BlobStore, root: Digest, *, is_recursive: bool) -> list[Entry]:
    """The entries of the Directory `root` by name, each directory before what is in it.

    Raises NotFound for a Directory that is absent.
    """
    directories = await read_directories(store, root, levels=DEEPEST if is_recursive else 1)
    entries = list(
        islice(_entries(root, directories, "", is_recursive=is_recursive), _MOST_ENTRIES + 1)
    )
    if len(entries) > _MOST_ENTRIES:
        raise InvalidArgument(f"directory {root} has more than {_MOST_ENTRIES} entries below it")
    return entries


def _entries(
    digest: Digest, directories: Mapping[Digest, Directory], prefix: str, *, is_recursive: bool
) -> Iterator[Entry]:
    directory = directories[digest]
    here: dict[str, Entry] = {}
    for file in directory.files:
        file_digest = parse_digest(file.digest, digest.function)
        here[file.name] = Entry(prefix + file.name, EntryKind.FILE, file_digest, file.is_executable)
    for link in directory.symlinks:
        here[link.name] = Entry(prefix + link.name, EntryKind.SYMLINK, target=link.target)
    for child in directory.directories:
        child_digest = parse_digest(child.digest, digest.function)
        here[child.name] = Entry(prefix + child.name, EntryKind.DIRECTORY, child_digest)
    for name in sorted(here):
        entry = here[name]
        yield entry
        if is_recursive and entry.kind is EntryKind.DIRECTORY and entry.digest is not None:
            below = f"{entry.path}/"
            yield from _entries(entry.digest, directories, below, is_recursive=True)
