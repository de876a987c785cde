"""Nothing is ever made of an input root that must not be (reliability B12, B13)."""

from collections.abc import Callable
from pathlib import Path

import pytest
from google.rpc import code_pb2

from reapi.core.digest import Digest
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Directory
from tests.fakes.memory_store import MemoryBlobStore
from tests.unit.executor.harness import Harness, read_tree

INVALID, EXHAUSTED = code_pb2.INVALID_ARGUMENT, code_pb2.RESOURCE_EXHAUSTED


def of_names(*names: str) -> Callable[[MemoryBlobStore], Digest]:
    """A Directory of files, subdirectories and symlinks, in turn, of those names."""

    def make(store: MemoryBlobStore) -> Digest:
        directory = Directory()
        for number, name in enumerate(names):
            if number % 3 == 0:
                directory.files.add(name=name, digest=store.add(b"x").to_message())
            elif number % 3 == 1:
                directory.directories.add(name=name, digest=store.add(b"").to_message())
            else:
                directory.symlinks.add(name=name, target="x")
        return store.add(directory.SerializeToString())

    return make


def of_bytes(data: bytes) -> Callable[[MemoryBlobStore], Digest]:
    return lambda store: store.add(data)


def of_levels(levels: int, *names: str) -> Callable[[MemoryBlobStore], Digest]:
    def make(store: MemoryBlobStore) -> Digest:
        digest = store.add(b"")
        for _ in range(levels):
            directory = Directory()
            for name in names:
                directory.directories.add(name=name, digest=digest.to_message())
            digest = store.add(directory.SerializeToString())
        return digest

    return make


HOSTILE = {
    "a parent": (of_names("f", "..", "l"), INVALID),
    "itself": (of_names("f", ".", "l"), INVALID),
    "no name": (of_names("f", "", "l"), INVALID),
    "a path": (of_names("f", "d", "a/b"), INVALID),
    "a path upwards": (of_names("f", "d", "../escaped"), INVALID),
    "a path from the root": (of_names("f", "/escaped"), INVALID),
    "NUL": (of_names("f", "a\0b"), INVALID),
    "256 bytes": (of_names("f", "é" * 128), INVALID),
    "two files of a name": (of_names("f", "d", "l", "f"), INVALID),
    "file and directory of a name": (of_names("f", "f"), INVALID),
    "directory and symlink of a name": (of_names("f", "d", "d"), INVALID),
    "not UTF-8": (of_bytes(b"\x0a\x03\x0a\x01\xff"), INVALID),
    "no Directory": (of_bytes(b"\xff\xff\xff"), INVALID),
    "10,000 levels": (of_levels(10_000, "d"), INVALID),
    "30 levels of two equal children": (of_levels(30, "a", "b"), EXHAUSTED),
}


@pytest.mark.parametrize("is_root", [True, False], ids=["as the root", "below it"])
@pytest.mark.parametrize("kind", HOSTILE)
async def test_reliability_B12_B13_a_hostile_tree_is_refused_and_nothing_is_made_of_it(
    harness: Harness, kind: str, is_root: bool
) -> None:
    make, code = HOSTILE[kind]
    digest = make(harness.store)
    if not is_root:
        root = Directory()
        root.files.add(name="good", digest=harness.store.add(b"good").to_message())
        root.directories.add(name="hostile", digest=digest.to_message())
        digest = harness.store.add(root.SerializeToString())
    around = Path(harness.root).parent
    before = sorted(entry.name for entry in around.iterdir())
    response = await harness.run(["true"], digest)
    assert response.status.code == code, response.status
    assert harness.starts == 0
    assert read_tree(harness.root) == {}
    assert sorted(entry.name for entry in around.iterdir()) == before
    assert (await harness.sh("ls", {"f": b"f"})).status.code == 0


async def test_reliability_B12_names_that_differ_in_case_alone_are_two(harness: Harness) -> None:
    """The policy: names are compared byte by byte, as Linux does, and need not be sorted."""
    directory = Directory()
    for name in ("b", "A", "a", "é", "e\u0301"):
        digest = harness.store.add(name.encode())
        directory.files.add(name=name, digest=digest.to_message())
    response = await harness.sh(
        "cat a A b é; ls | wc -l", harness.store.add(directory.SerializeToString())
    )
    assert harness.stdout(response) == "aAbé5\n"
