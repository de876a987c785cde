"""Downloads: hostile trees, things in the way, and damaged bytes."""

import os
from pathlib import Path

import pytest

from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.download import download
from reapi.clients.paths import check_path, check_symlink
from reapi.clients.remote_tree import Entries, read_directories, read_tree
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Directory, Tree
from tests.fakes.reapi_server import FakeReapiServer

LARGE = bytes(range(256)) * 4_000


def entries(**files: Digest) -> Entries:
    made = Entries()
    for path, digest in files.items():
        made.add_file(path, digest, is_executable=False)
    return made


@pytest.mark.parametrize(
    "path",
    ["", "/etc/x", "..", "../x", "a/../x", "a//b", "a/.", "a\0b", "a/" * 300 + "a", "x" * 256],
)
def test_B18_an_unsafe_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidArgument, match="refused"):
        check_path(path)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("link", ".."),
        ("link", "../x"),
        ("a/link", "../../x"),
        ("link", "/etc/passwd"),
        ("link", "other/../../x"),
        ("a/link", "b/.."),
        ("link", ""),
        ("link", "a\0b"),
    ],
)
def test_B18_a_symlink_that_could_lead_out_is_refused(path: str, target: str) -> None:
    with pytest.raises(InvalidArgument, match="refused"):
        check_symlink(path, target)


@pytest.mark.parametrize(
    ("path", "target"), [("link", "a/b"), ("a/link", "../x"), ("a/b/link", "../../x/y"), ("l", ".")]
)
def test_a_symlink_that_stays_inside_is_fine(path: str, target: str) -> None:
    check_symlink(path, target)


async def test_a_tree_with_an_unsafe_name_writes_nothing(
    tmp_path: Path, server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    bait = server.blobs.add(b"evil")
    hostile = Directory()
    hostile.files.add(name="good", digest=bait.to_message())
    hostile.files.add(name="../bait", digest=bait.to_message())
    root = server.blobs.add(hostile.SerializeToString())
    with pytest.raises(InvalidArgument, match=r"'\.\./bait' is not a safe name"):
        await read_directories(store, root)
    tree = server.blobs.add(Tree(root=hostile).SerializeToString())
    with pytest.raises(InvalidArgument, match=r"'\.\./bait' is not a safe name"):
        await read_tree(store, tree)


async def test_nothing_is_written_through_a_symlink(
    tmp_path: Path, server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "target"
    target.mkdir()
    (target / "link").symlink_to(outside)
    made = entries(**{"link/file": server.blobs.add(b"evil")})
    with pytest.raises(FailedPrecondition, match="refused to write through the symlink"):
        await download(store, made, target)
    assert list(outside.iterdir()) == []


async def test_a_symlink_in_the_place_of_a_file_is_replaced_not_followed(
    tmp_path: Path, server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    bait = tmp_path / "bait"
    bait.write_text("untouched")
    (tmp_path / "file").symlink_to(bait)
    await download(store, entries(file=server.blobs.add(b"new")), tmp_path)
    assert bait.read_text() == "untouched"
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


async def test_a_file_below_a_file_that_is_a_symlink_too_is_refused(
    tmp_path: Path, server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    made = entries(**{"a/file": server.blobs.add(b"x")})
    made.add_symlink("a", "b")
    with pytest.raises(FailedPrecondition, match="cannot write"):
        await download(store, made, tmp_path)
    assert not (tmp_path / "b").exists()


def test_a_path_that_is_named_twice_is_refused() -> None:
    made = entries(a=digest_of(b"x"))
    with pytest.raises(InvalidArgument, match="twice"):
        made.add_file("a", digest_of(b"y"), is_executable=False)
    with pytest.raises(InvalidArgument, match="twice"):
        made.add_symlink("a", "b")


def test_Q_SYMLINK_a_symlink_in_two_lists_is_one() -> None:
    made = Entries()
    made.add_symlink("link", "a")
    made.add_symlink("link", "a")
    assert made.symlinks == {"link": "a"}
    with pytest.raises(InvalidArgument, match="twice"):
        made.add_symlink("link", "b")


async def test_a_directory_in_the_way_of_a_file_is_named(
    tmp_path: Path, server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    (tmp_path / "file/kept").mkdir(parents=True)
    with pytest.raises(FailedPrecondition, match="file: a directory is in the way"):
        await download(store, entries(file=server.blobs.add(b"x")), tmp_path)
    assert os.listdir(tmp_path) == ["file"]
    assert os.listdir(tmp_path / "file") == ["kept"]


async def test_a_file_in_the_way_of_a_directory_is_named(
    tmp_path: Path, server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    (tmp_path / "a").write_text("kept")
    with pytest.raises(FailedPrecondition, match="a file is in the way"):
        await download(store, entries(**{"a/b": server.blobs.add(b"x")}), tmp_path)
    assert (tmp_path / "a").read_text() == "kept"


@pytest.mark.parametrize("content", [b"small", LARGE])
async def test_damaged_bytes_never_get_the_name_of_the_file(
    tmp_path: Path, server: FakeReapiServer, store: RemoteBlobStore, content: bytes
) -> None:
    digest = server.blobs.add(content)
    server.corrupt.add(digest)
    with pytest.raises((DataLoss, NotFound)):
        await download(store, entries(file=digest), tmp_path)
    assert os.listdir(tmp_path) == []


async def test_a_large_file_is_fetched_once_for_all_its_places(
    tmp_path: Path, server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    digest = server.blobs.add(LARGE)
    server.drop_reads_after_bytes = [500_000]
    made = entries(**{"a": digest, "sub/b": digest})
    made.add_file("tool", digest, is_executable=True)
    progress = await download(store, made, tmp_path)
    assert progress.blobs_done == progress.blobs_total == 1
    for path in ("a", "sub/b", "tool"):
        assert (tmp_path / path).read_bytes() == LARGE
    assert os.access(tmp_path / "tool", os.X_OK)
    assert server.calls["Read"] == 2


async def test_a_tree_bomb_is_refused(server: FakeReapiServer, store: RemoteBlobStore) -> None:
    """Each level has the one below it twice: 2^40 directories in forty blobs."""
    digest = server.blobs.add(Directory().SerializeToString())
    for _ in range(40):
        level = Directory()
        for name in ("a", "b"):
            level.directories.add(name=name, digest=digest.to_message())
        digest = server.blobs.add(level.SerializeToString())
    directories = await read_directories(store, digest)
    made = Entries(most=1000)
    with pytest.raises(InvalidArgument, match="more than 1000"):
        made.add_tree("", digest, directories)


async def test_a_missing_directory_is_named(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    parent = Directory()
    absent = digest_of(b"absent")
    parent.directories.add(name="sub", digest=absent.to_message())
    root = server.blobs.add(parent.SerializeToString())
    with pytest.raises(NotFound, match=absent.hash):
        await read_directories(store, root)
