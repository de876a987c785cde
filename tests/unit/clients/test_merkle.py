"""Local trees as canonical Directories, and their way to the server and back."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from reapi.clients.download import download
from reapi.clients.file_digests import FileDigests
from reapi.clients.merkle import LocalTree, build_tree
from reapi.clients.model import Progress
from reapi.clients.remote_tree import Entries, read_directories
from reapi.clients.upload import upload
from reapi.core.digest import BLAKE3, SHA256, SHA512, digest_of
from reapi.core.errors import FailedPrecondition, InvalidArgument, NotFound
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Directory
from tests.fakes.reapi_server import FakeReapiServer


def tree_of(root: Path, *inputs: str, cache: Path | None = None) -> LocalTree:
    with FileDigests(cache) as digests:
        return build_tree(root, inputs or ("",), digests)


def directory_of(tree: LocalTree) -> Directory:
    return Directory.FromString(tree.blobs[tree.root_digest])


def test_IN13_names_are_sorted_by_their_bytes(tmp_path: Path) -> None:
    for name in ("é", "z", "a.b", "a", "B", "\U0001f600", "\uffee"):
        (tmp_path / name).touch()
    names = [file.name for file in directory_of(tree_of(tmp_path)).files]
    assert names == ["B", "a", "a.b", "z", "é", "\uffee", "\U0001f600"]


def test_files_directories_symlinks_and_executables_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    (tmp_path / "tool").write_text("tool")
    (tmp_path / "tool").chmod(0o700)
    (tmp_path / "dangling").symlink_to("no/where")
    (tmp_path / "to-directory").symlink_to("empty")
    root = directory_of(tree_of(tmp_path))
    assert [(file.name, file.is_executable) for file in root.files] == [
        ("file", False),
        ("tool", True),
    ]
    assert [(node.name, node.digest.size_bytes) for node in root.directories] == [("empty", 0)]
    assert [(link.name, link.target) for link in root.symlinks] == [
        ("dangling", "no/where"),
        ("to-directory", "empty"),
    ]


def test_only_the_inputs_are_in_the_tree_at_their_places(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/wanted").touch()
    (tmp_path / "a/unwanted").touch()
    partial = tree_of(tmp_path, "a/b/wanted")
    (tmp_path / "a/unwanted").unlink()
    assert partial.root_digest == tree_of(tmp_path, "a/b", "a/b/wanted").root_digest
    assert partial.root_digest == tree_of(tmp_path).root_digest


def test_equal_trees_have_equal_digests_wherever_they_are(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place / "sub").mkdir(parents=True)
        for name in ("x", "y") if place == "one" else ("y", "x"):
            (tmp_path / place / "sub" / name).write_text(name)
    assert tree_of(tmp_path / "one").root_digest == tree_of(tmp_path / "two").root_digest


def test_an_absent_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="input no/file does not exist"):
        tree_of(tmp_path, "no/file")


@pytest.mark.parametrize("path", ["..", "../x", "a/../../x", "/etc"])
def test_an_input_outside_of_the_root_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(InvalidArgument, match="outside"):
        tree_of(tmp_path, path)


def test_a_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        with pytest.raises(InvalidArgument, match="neither a file nor a directory"):
            tree_of(tmp_path)


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff")).touch()
    with pytest.raises(InvalidArgument, match="not UTF-8"):
        tree_of(tmp_path)


def test_an_input_below_a_symlink_that_is_an_input_too_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").touch()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(InvalidArgument, match="at and below the symlink 'link'"):
        tree_of(tmp_path, "link", "link/file")


def test_a_scan_that_nobody_waits_for_ends(tmp_path: Path) -> None:
    with FileDigests(None) as digests, pytest.raises(FailedPrecondition, match="given up"):
        build_tree(tmp_path, [""], digests, is_stopped=lambda: True)


async def test_a_file_that_changes_during_the_upload_is_named(
    tmp_path: Path, server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    for content in (b"small", bytes(2 << 20)):
        (tmp_path / "file").write_bytes(content)
        tree = tree_of(tmp_path)
        (tmp_path / "file").write_bytes(b"!" * len(content))
        with pytest.raises(FailedPrecondition, match="file changed while"):
            await upload(store, tree.blobs, tree.files)
        (tmp_path / "file").write_bytes(b"shorter"[: len(content) - 1])
        with pytest.raises(FailedPrecondition, match="file changed while"):
            await upload(store, tree.blobs, tree.files)
    assert not any(data in (b"small", bytes(2 << 20)) for data in server.blobs.blobs.values())


async def test_what_the_server_has_is_not_sent_again(
    tmp_path: Path, server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    for number in range(50):
        (tmp_path / str(number)).write_text(str(number))
    tree = tree_of(tmp_path)
    seen: list[Progress] = []
    first = await upload(store, tree.blobs, tree.files, seen.append)
    assert first.blobs_done == first.blobs_total == 51
    assert (seen[0].blobs_done, seen[-1]) == (0, first)
    again = await upload(store, tree.blobs, tree.files)
    assert again == Progress(0, 0, 0, 0)
    assert dict(server.calls) == {"FindMissingBlobs": 2, "BatchUpdateBlobs": 1}


NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20
).filter(lambda name: name not in (".", ".."))
LEAVES = st.one_of(
    st.tuples(st.binary(max_size=300), st.booleans()),  # a file and whether it is executable
    st.sampled_from(["a", "a/b", "no/where/..c"]),  # a symlink
)
TREES = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=4),
    lambda below: st.dictionaries(NAMES, st.one_of(LEAVES, below), max_size=4),
    max_leaves=20,
)
Tree = dict[str, object]


def make(root: Path, tree: Tree) -> None:
    root.mkdir()
    for name, node in tree.items():
        path = root / name
        if isinstance(node, dict):
            make(path, node)
        elif isinstance(node, str):
            path.symlink_to(node)
        elif isinstance(node, tuple):
            path.write_bytes(node[0])
            path.chmod(0o755 if node[1] else 0o644)


def look(root: Path) -> Tree:
    found: Tree = {}
    for path in root.iterdir():
        if path.is_symlink():
            found[path.name] = os.readlink(path)
        elif path.is_dir():
            found[path.name] = look(path)
        else:
            found[path.name] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tree=TREES)
async def test_what_comes_down_is_what_went_up(
    tmp_path_factory: pytest.TempPathFactory, tree: Tree
) -> None:
    place = tmp_path_factory.mktemp("tree")
    make(place / "up", tree)
    async with FakeReapiServer() as server, Channel(server.address) as channel:
        store = RemoteBlobStore(channel)
        local = tree_of(place / "up")
        await upload(store, local.blobs, local.files)
        entries = Entries()
        directories = await read_directories(store, local.root_digest)
        entries.add_tree("", local.root_digest, directories)
        await download(store, entries, place / "down")
    assert look(place / "down") == tree
    assert tree_of(place / "down").root_digest == local.root_digest


def test_a_known_file_is_not_read_again(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    file = tmp_path / "root/file"
    file.write_text("old")
    os.utime(file, ns=(0, 0))
    cache = tmp_path / "cache/digests.sqlite"
    before = os.stat(file)
    with FileDigests(cache) as digests:
        digests._youngest_ns = 2**63  # the file counts as settled
        assert digests.digest(str(file), before) == digest_of(b"old")
    file.write_text("new")
    with FileDigests(cache) as digests:
        assert digests.digest(str(file), before) == digest_of(b"old")
        assert digests.digest(str(file), os.stat(file)) == digest_of(b"new")


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    cache = tmp_path / "digests.sqlite"
    status = os.stat(file)
    with FileDigests(cache) as digests:
        digests.digest(str(file), status)
    file.write_text("new")
    with FileDigests(cache) as digests:
        assert digests.digest(str(file), status) == digest_of(b"new")


def test_D11_a_file_has_a_remembered_digest_of_each_function(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    cache = tmp_path / "digests.sqlite"
    status = os.stat(file)
    for _ in range(2):  # the second time from memory: the file has changed
        for function in (SHA256, BLAKE3, SHA512):
            with FileDigests(cache, function) as digests:
                digests._youngest_ns = 2**63
                assert digests.digest(str(file), status) == digest_of(b"old", function)
        file.write_text("new")


def test_D5_all_digests_of_a_tree_are_of_one_function(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/file").write_text("text")
    with FileDigests(None, BLAKE3) as digests:
        tree = build_tree(tmp_path, [""], digests)
    assert {digest.function for digest in (*tree.blobs, *tree.files)} == {BLAKE3}
    assert all(digest_of(data, BLAKE3) == digest for digest, data in tree.blobs.items())
    assert list(tree.files) == [digest_of(b"text", BLAKE3)]


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 100])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    cache = tmp_path / "digests.sqlite"
    cache.write_bytes(damage)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_text("text")
    with FileDigests(cache) as digests:
        status = os.stat(tmp_path / "root/file")
        assert digests.digest(str(tmp_path / "root/file"), status) == digest_of(b"text")
    assert cache.read_bytes().startswith(b"SQLite format 3")


def test_a_cache_that_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    tree = tree_of(tmp_path, "file", cache=tmp_path / "file/below/digests.sqlite")
    assert list(tree.files) == [digest_of(b"text")]
