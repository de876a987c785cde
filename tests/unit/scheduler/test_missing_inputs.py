"""What is absent of an input tree, as told to a client whose Command is absent."""

from collections.abc import Sequence

from reapi.core.digest import Digest, digest_of
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Directory
from reapi.scheduler.missing_inputs import missing_inputs
from tests.fakes.memory_store import MemoryBlobStore

ABSENT = digest_of(b"absent")
ABSENT_FILE = digest_of(b"absent file")


def _directory(files: dict[str, Digest], directories: dict[str, Digest]) -> bytes:
    directory = Directory()
    for name, digest in files.items():
        directory.files.add(name=name, digest=digest.to_message())
    for name, digest in directories.items():
        directory.directories.add(name=name, digest=digest.to_message())
    return directory.SerializeToString()


async def test_EX7_absent_directories_and_files_of_all_levels_are_found_once() -> None:
    store = MemoryBlobStore()
    present = store.add(b"present")
    below = store.add(_directory({"f": ABSENT_FILE, "g": present}, {"absent": ABSENT}))
    root = store.add(_directory({"f": ABSENT_FILE}, {"a": below, "b": below, "c": ABSENT}))
    assert await missing_inputs(store, root) == [ABSENT, ABSENT_FILE]


async def test_EX7_an_absent_root_is_found() -> None:
    assert await missing_inputs(MemoryBlobStore(), ABSENT) == [ABSENT]


async def test_a_malformed_directory_is_left_to_the_worker() -> None:
    store = MemoryBlobStore()
    garbage = store.add(b"\xff\xff")
    root = store.add(_directory({"f": ABSENT_FILE}, {"garbage": garbage}))
    assert await missing_inputs(store, root) == [ABSENT_FILE]
    assert await missing_inputs(store, garbage) == []


class _CountingStore(MemoryBlobStore):
    def __init__(self) -> None:
        super().__init__()
        self.read: list[Digest] = []

    async def read_many(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        self.read += digests
        return await super().read_many(digests)


async def test_reliability_B13_each_directory_of_a_tree_that_multiplies_itself_is_read_once() -> (
    None
):
    """2**30 paths to one absent file, by 31 Directories."""
    store = _CountingStore()
    digest = store.add(_directory({"f": ABSENT_FILE}, {}))
    for _ in range(30):
        digest = store.add(_directory({}, {"a": digest, "b": digest}))
    assert await missing_inputs(store, digest) == [ABSENT_FILE]
    assert len(store.read) == len(set(store.read)) == 31


async def test_reliability_B13_a_deep_tree_is_followed_as_far_as_its_bounds() -> None:
    store = MemoryBlobStore()
    digest = store.add(_directory({"f": ABSENT_FILE}, {}))
    for _ in range(1500):
        digest = store.add(_directory({}, {"d": digest}))
    assert await missing_inputs(store, digest) == []
