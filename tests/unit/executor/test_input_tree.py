"""Input roots are read, checked and bounded before anything is made of them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from reapi.core.digest import Digest, digest_of
from reapi.core.errors import BlobsMissing, InvalidArgument, ResourceExhausted
from reapi.executor import input_tree
from reapi.executor.input_tree import InputDirectory, InputTrees
from reapi.executor.local_cache import LocalCache
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Directory
from tests.fakes.memory_store import MemoryBlobStore
from tests.unit.executor.harness import Tree, add_tree


class CountingStore(MemoryBlobStore):
    def __init__(self) -> None:
        super().__init__()
        self.read: list[Digest] = []

    async def read_many(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        self.read += digests
        return await super().read_many(digests)


class Bed:
    def __init__(self, path: Path) -> None:
        self.store = CountingStore()
        self.trees = InputTrees()
        self.cache = LocalCache(path, 1000)

    async def load(self, root: Tree | Digest) -> InputDirectory:
        digest = root if isinstance(root, Digest) else add_tree(self.store, root)
        return await self.trees.load(digest, {}, self.store, self.cache)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def chain(store: MemoryBlobStore, levels: int, names: Sequence[str] = ("d",)) -> Digest:
    """Directories in directories; with several names each level has that many equal children."""
    digest = store.add(b"")
    for _ in range(levels):
        directory = Directory()
        for name in names:
            directory.directories.add(name=name, digest=digest.to_message())
        digest = store.add(directory.SerializeToString())
    return digest


async def test_each_directory_is_read_once_however_often_it_occurs(bed: Bed) -> None:
    shared: Tree = {"f": b"f"}
    root = await bed.load({"a": shared, "b": {"c": shared}, "d": shared})
    assert len(bed.store.read) == len(set(bed.store.read)) == 3
    assert root.directories["a"] is root.directories["d"]
    assert root.nodes == 4 + 3


async def test_directories_in_memory_are_not_read_again(bed: Bed) -> None:
    first = await bed.load({"a": {"f": b"f"}, "b": {"g": b"g"}})
    bed.store.read.clear()
    second = await bed.load({"a": {"f": b"f"}, "b": {"g": b"other"}})
    assert len(bed.store.read) == 2
    assert second.directories["a"] is first.directories["a"]


async def test_memory_is_bounded_by_the_nodes_of_the_trees_remembered(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_tree, "_REMEMBERED_NODES", 10)
    for number in range(20):
        await bed.load({f"f{number}": b"f", "d": {"g": b"g"}})
    assert len(bed.trees._roots) <= 3
    assert len(bed.trees._directories) <= 4


async def test_the_empty_directory_needs_no_blob(bed: Bed) -> None:
    root = await bed.load(digest_of(b""))
    assert root.nodes == 0
    assert (await bed.load({"d": {}})).directories["d"] is root


async def test_EX7_all_absent_directories_are_named_and_absent_files_of_the_others(
    bed: Bed,
) -> None:
    lost = add_tree(bed.store, {"x": b"x"})
    root = Directory()
    root.directories.add(name="lost", digest=lost.to_message())
    root.directories.add(name="there", digest=add_tree(bed.store, {"y": b"y"}).to_message())
    root.files.add(name="z", digest=bed.store.add(b"z").to_message())
    digest = bed.store.add(root.SerializeToString())
    for data in (b"y", b"z"):
        del bed.store.blobs[digest_of(data)]
    del bed.store.blobs[lost]
    with pytest.raises(BlobsMissing) as caught:
        await bed.load(digest)
    assert set(caught.value.subjects) == {
        lost.subject,
        digest_of(b"y").subject,
        digest_of(b"z").subject,
    }


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\0b", "x" * 256])
async def test_reliability_B12_IN14_an_unsafe_name_is_refused(bed: Bed, name: str) -> None:
    directory = Directory()
    directory.files.add(name=name, digest=bed.store.add(b"x").to_message())
    with pytest.raises(InvalidArgument):
        await bed.load(bed.store.add(directory.SerializeToString()))


async def test_what_is_no_directory_is_refused(bed: Bed) -> None:
    with pytest.raises(InvalidArgument, match="is not a Directory"):
        await bed.load(bed.store.add(b"\xff\xff\xff"))


async def test_reliability_B12_a_tree_that_is_too_deep_is_refused_before_it_is_read_to_the_end(
    bed: Bed,
) -> None:
    with pytest.raises(InvalidArgument, match="256 directories deep"):
        await bed.load(chain(bed.store, 10_000))
    assert len(bed.store.read) <= 257


async def test_reliability_B12_depth_counts_what_is_known_already(bed: Bed) -> None:
    below = chain(bed.store, 200)
    await bed.load(below)
    digest = below
    for _ in range(100):
        directory = Directory()
        directory.directories.add(name="d", digest=digest.to_message())
        digest = bed.store.add(directory.SerializeToString())
    with pytest.raises(InvalidArgument, match="256 directories deep"):
        await bed.load(digest)


async def test_reliability_B13_a_tree_that_multiplies_itself_is_refused(bed: Bed) -> None:
    with pytest.raises(ResourceExhausted, match="at most 1000000"):
        await bed.load(chain(bed.store, 200, names=("a", "b")))
    assert len(bed.store.read) == 200


async def test_reliability_B13_thirty_levels_of_two_equal_children_are_refused(bed: Bed) -> None:
    """2**30 paths, 30 Directories; what is asked in vain is not remembered either."""
    root = chain(bed.store, 30, names=("a", "b"))
    for _ in range(2):
        with pytest.raises(ResourceExhausted, match="at most 1000000"):
            await bed.load(root)
    assert len(set(bed.store.read)) == 30
    assert len(bed.store.read) <= 60
    with pytest.raises(ResourceExhausted, match="at most 1000000"):
        await bed.trees.missing(root, {}, bed.store, bed.cache)


async def test_reliability_B13_a_tree_of_as_many_nodes_as_are_allowed_is_taken(bed: Bed) -> None:
    root = await bed.load(chain(bed.store, 18, names=("a", "b")))
    assert root.nodes == 2**19 - 2


async def test_reliability_B12_a_directory_of_more_than_a_million_entries_is_refused(
    bed: Bed,
) -> None:
    directory = Directory()
    for number in range(1_000_001):
        directory.symlinks.add(name=str(number), target="x")
    root = bed.store.add(directory.SerializeToString())
    with pytest.raises(ResourceExhausted, match="1000001 files and directories"):
        await bed.load(root)


async def test_reliability_B12_a_directory_of_too_many_bytes_is_not_even_read(bed: Bed) -> None:
    with pytest.raises(ResourceExhausted, match="is larger than"):
        await bed.load(Digest("ab" * 32, (64 << 20) + 1))
    assert bed.store.read == []


async def test_a_path_longer_than_the_system_takes_is_refused(bed: Bed) -> None:
    with pytest.raises(InvalidArgument, match="a path in the input root"):
        await bed.load(chain(bed.store, 20, names=("n" * 250,)))


async def test_more_file_bytes_than_the_cache_may_hold_are_refused(bed: Bed) -> None:
    with pytest.raises(ResourceExhausted, match="cache_max_size_bytes"):
        await bed.load({"a": bytes(600), "b": bytes(601)})


async def test_equal_files_count_once_against_the_cache(bed: Bed) -> None:
    await bed.load({"a": bytes(600), "b": bytes(600)})
