"""Outputs as nodes: joined, chosen, and made ready to be written."""

from dataclasses import replace

import pytest

from reapi.clients.merkle import TreeNode
from reapi.clients.model import Entry, EntryKind
from reapi.clients.pipeline import artifacts as artifacts_module
from reapi.clients.pipeline.artifacts import chosen, has, joined, read_outputs, to_download
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import InvalidArgument, NotFound
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Directory, Tree
from tests.fakes.memory_store import MemoryBlobStore

A, B = digest_of(b"a"), digest_of(b"b")


def file(path: str, digest: Digest = A) -> Entry:
    return Entry(path, EntryKind.FILE, digest)


def tree_of(store: MemoryBlobStore, levels: int, *, width: int = 1) -> Digest:
    """A Tree whose every directory has the next one under `width` names."""
    lowest = Directory()
    lowest.files.add(name="leaf", digest=A.to_message())
    below = [lowest]
    for _ in range(levels):
        directory = Directory()
        digest = digest_of(below[-1].SerializeToString(deterministic=True))
        for number in range(width):
            directory.directories.add(name=f"d{number}", digest=digest.to_message())
        below.append(directory)
    return store.add(Tree(root=below[-1], children=below[:-1]).SerializeToString())


def paths(node: TreeNode) -> list[str]:
    entries = to_download(node)
    return sorted([*(one.path for one in entries.files), *entries.symlinks])


async def test_outputs_of_every_kind_lie_at_their_places() -> None:
    store = MemoryBlobStore()
    node = await read_outputs(
        store,
        [
            file("out/app"),
            Entry("latest", EntryKind.SYMLINK, target="out/app"),
            Entry("tree", EntryKind.DIRECTORY, tree_of(store, 1)),
        ],
        ["out/app", "latest", "tree"],
    )
    assert paths(node) == ["latest", "out/app", "tree/d0/leaf"]
    assert has(node, "tree/d0")
    assert not has(node, "tree/d1")
    assert not has(node, "out/app/deep")


async def test_a_result_cannot_put_anything_where_nothing_was_declared() -> None:
    with pytest.raises(InvalidArgument, match=r"refused output '\.\./x', which nobody declared"):
        await read_outputs(MemoryBlobStore(), [file("../x")], ["out"])


async def test_a_tree_with_more_places_than_directories_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(artifacts_module, "MOST_ARTIFACTS", 1000)
    store = MemoryBlobStore()
    entry = Entry("tree", EntryKind.DIRECTORY, tree_of(store, 30, width=4))
    with pytest.raises(InvalidArgument, match="more than 1,000 entries"):
        await read_outputs(store, [entry], ["tree"])


async def test_artifacts_join_where_they_agree_and_not_where_they_differ() -> None:
    store = MemoryBlobStore()
    one = await read_outputs(store, [file("out/a"), file("out/same")], ["out/a", "out/same"])
    two = await read_outputs(store, [file("out/b", B), file("out/same")], ["out/b", "out/same"])
    both = joined([one, two])
    assert paths(both) == ["out/a", "out/b", "out/same"]
    assert paths(one) == ["out/a", "out/same"]
    other = await read_outputs(store, [file("out/same", B)], ["out/same"])
    with pytest.raises(InvalidArgument, match="out/same is there twice and differs"):
        joined([both, other])
    directory = await read_outputs(store, [file("out/a/deep")], ["out/a/deep"])
    for pair in ([one, directory], [directory, one]):
        with pytest.raises(InvalidArgument, match="out/a is there twice and differs"):
            joined(pair)


async def test_a_file_that_may_be_executed_differs_from_one_that_may_not() -> None:
    store = MemoryBlobStore()
    one = await read_outputs(store, [file("x")], ["x"])
    two = await read_outputs(store, [replace(file("x"), is_executable=True)], ["x"])
    with pytest.raises(InvalidArgument):
        joined([one, two])


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["."], ["out/a.o", "out/b.o", "out/deep/c.o", "readme"]),
        (["out/*.o"], ["out/a.o", "out/b.o"]),
        (["out"], ["out/a.o", "out/b.o", "out/deep/c.o"]),
        (["**/*.o"], ["out/a.o", "out/b.o", "out/deep/c.o"]),
        (["out/deep", "readme"], ["out/deep/c.o", "readme"]),
    ],
)
def test_patterns_choose_artifacts(patterns: list[str], expected: list[str]) -> None:
    deep = TreeNode(files={"c.o": (A, False)})
    out = TreeNode(files={"a.o": (A, False), "b.o": (B, False)}, directories={"deep": deep})
    top = TreeNode(files={"readme": (A, False)}, directories={"out": out})
    assert paths(chosen(top, patterns)) == expected
    with pytest.raises(NotFound, match=r"no artifact is lib/\*"):
        chosen(top, ["lib/*", "readme"])
    assert paths(chosen(top, ["lib/*"], may_lack=True)) == []


def test_a_link_that_leads_out_is_never_written() -> None:
    with pytest.raises(InvalidArgument, match="it could lead outside"):
        to_download(TreeNode(symlinks={"x": "../../etc/passwd"}))
