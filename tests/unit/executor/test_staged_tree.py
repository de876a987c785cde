"""An input root is turned into the next one; whatever an action did to it leaves no trace."""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reapi.core.errors import BlobsMissing, InvalidArgument
from reapi.executor.staged_directory import OutputParents
from tests.unit.executor.harness import Executable, Harness, Link, Tree, add_tree, read_tree

TREE: Tree = {
    "a": b"a",
    "tool": Executable(b"tool"),
    "link": Link("a"),
    "one": {"f": b"one", "g": b"g", "inner": {"h": b"h"}},
    "two": {"f": b"two"},
}


async def stage(harness: Harness, tree: Tree, parents: OutputParents | None = None) -> None:
    digest = add_tree(harness.store, tree)
    directory = await harness.trees.load(digest, {}, harness.store, harness.cache)
    await harness.slot.tree.stage(directory, parents or {}, harness.store)


async def restore(harness: Harness) -> None:
    await harness.slot.restore(time.time_ns())


def inodes(root: str) -> dict[str, tuple[int, int]]:
    """Inode and time of change of all that is below `root`: whoever touches it is found out."""
    found = {}
    for path, directories, files in os.walk(root):
        for name in (*directories, *files):
            status = os.lstat(f"{path}/{name}")
            found[os.path.relpath(f"{path}/{name}", root)] = (status.st_ino, status.st_ctime_ns)
    return found


class TestDifferences:
    async def test_an_equal_input_root_is_not_touched(self, harness: Harness) -> None:
        await stage(harness, TREE)
        before = inodes(harness.root)
        await restore(harness)
        await stage(harness, TREE)
        assert inodes(harness.root) == before

    async def test_equal_subtrees_are_not_touched_when_others_change(
        self, harness: Harness
    ) -> None:
        await stage(harness, TREE)
        before = inodes(harness.root)
        await restore(harness)
        changed: Tree = {**TREE, "two": {"f": b"other"}, "a": {"is": b"a directory now"}}
        await stage(harness, changed)
        assert read_tree(harness.root) == changed
        after = inodes(harness.root)
        for path in ("one", "one/f", "one/inner", "one/inner/h", "tool"):
            assert after[path] == before[path]

    async def test_the_executable_bit_alone_is_a_difference(self, harness: Harness) -> None:
        await stage(harness, {"f": b"x"})
        await stage(harness, {"f": Executable(b"x")})
        assert read_tree(harness.root) == {"f": Executable(b"x")}

    async def test_parents_of_outputs_come_and_go(self, harness: Harness) -> None:
        await stage(harness, TREE, {"one": {"new": {"er": {}}}, "out": {}})
        assert read_tree(harness.root)["one"]["new"] == {"er": {}}
        assert read_tree(harness.root)["out"] == {}
        await restore(harness)
        await stage(harness, TREE)
        assert read_tree(harness.root) == TREE

    async def test_a_file_where_an_output_parent_is_to_be_changes_nothing(
        self, harness: Harness
    ) -> None:
        await stage(harness, TREE)
        with pytest.raises(InvalidArgument, match="'a' stands where"):
            await stage(harness, {"a": b"file", "new": b"x"}, {"a": {}})
        assert read_tree(harness.root) == TREE

    async def test_EX7_missing_files_change_nothing(self, harness: Harness) -> None:
        await stage(harness, TREE)
        digest = add_tree(harness.store, {"new": b"new", "other": b"other"})
        directory = await harness.trees.load(digest, {}, harness.store, harness.cache)
        lost = [blob for blob, data in harness.store.blobs.items() if data in (b"new", b"other")]
        for blob in lost:
            del harness.store.blobs[blob]
        with pytest.raises(BlobsMissing) as caught:
            await harness.slot.tree.stage(directory, {}, harness.store)
        assert set(caught.value.subjects) == {blob.subject for blob in lost}
        assert read_tree(harness.root) == TREE

    async def test_many_files_are_staged_in_a_thread_just_as_well(self, harness: Harness) -> None:
        many: Tree = {f"d{i}": {f"f{j}": f"{i}/{j}".encode() for j in range(60)} for i in range(5)}
        await stage(harness, many)
        assert read_tree(harness.root) == many
        await stage(harness, TREE)
        assert read_tree(harness.root) == TREE


def rename_swap(root: Path) -> None:
    (root / "one").rename(root / "spare")
    (root / "two").rename(root / "one")
    (root / "spare").rename(root / "two")


def swap_for_link(root: Path) -> None:
    (root / "one").rename(root / "moved")
    (root / "one").symlink_to("moved")


def dig_deep(root: Path) -> None:
    here = os.open(root, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("x", dir_fd=here)
        below = os.open("x", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def lock_up(root: Path) -> None:
    (root / "locked" / "in").mkdir(parents=True)
    (root / "locked" / "in").chmod(0)
    (root / "locked").chmod(0)


MUTATIONS: dict[str, Callable[[Path], Any]] = {
    "adds a file": lambda root: (root / "one" / "inner" / "new").touch(),
    "adds a directory": lambda root: (root / "one" / "new" / "er").mkdir(parents=True),
    "removes a file": lambda root: (root / "one" / "f").unlink(),
    "removes a directory": lambda root: shutil.rmtree(root / "one"),
    "replaces a file": lambda root: (
        (root / "new").write_bytes(b"a"),
        (root / "new").rename(root / "a"),
    ),
    "replaces a file by a link to one of equal content": lambda root: (
        (root / "two" / "f").unlink(),
        (root / "two" / "f").symlink_to("../one/f"),
    ),
    "replaces a directory by an equal one": lambda root: (
        shutil.copytree(root / "two", root / "copy"),
        shutil.rmtree(root / "two"),
        (root / "copy").rename(root / "two"),
    ),
    "exchanges two directories": rename_swap,
    "puts a link in place of a directory": swap_for_link,
    "changes a link": lambda root: ((root / "link").unlink(), (root / "link").symlink_to("b")),
    "moves a file": lambda root: (root / "one" / "f").rename(root / "one" / "inner" / "f"),
    "changes the mode of a directory": lambda root: (root / "one").chmod(0o700),
    "changes the mode of the root": lambda root: root.chmod(0o777),
    "makes a FIFO": lambda root: os.mkfifo(root / "fifo"),
    "makes directories deeper than any stack": dig_deep,
    "makes directories that nobody may enter": lock_up,
    "removes all": lambda root: [
        shutil.rmtree(p) if p.is_dir() and not p.is_symlink() else p.unlink()
        for p in root.iterdir()
    ],
}


class TestRestore:
    @pytest.mark.parametrize("mutation", MUTATIONS)
    async def test_IN18_the_next_input_root_is_exact_when_an_action(
        self, harness: Harness, mutation: str
    ) -> None:
        await stage(harness, TREE)
        MUTATIONS[mutation](Path(harness.root))
        await restore(harness)
        await stage(harness, TREE)
        assert read_tree(harness.root) == TREE
        assert_modes(harness.root)

    async def test_a_change_within_one_tick_of_the_clock_is_found(self, harness: Harness) -> None:
        # What an action can do at worst: a directory's times are what they were.
        await stage(harness, TREE)
        root = Path(harness.root)
        before = (root / "one").stat()
        (root / "one" / "stray").touch()
        os.utime(root / "one", ns=(before.st_atime_ns, before.st_mtime_ns))
        await restore(harness)
        await stage(harness, TREE)
        assert read_tree(harness.root) == TREE

    async def test_an_extended_attribute_makes_the_tree_new(self, harness: Harness) -> None:
        await stage(harness, TREE)
        one = Path(harness.root, "one")
        try:
            os.setxattr(one, "user.bait", b"x")
        except OSError:
            pytest.skip("this file system has no extended attributes")
        await restore(harness)
        await stage(harness, TREE)
        assert "user.bait" not in os.listxattr(one)

    async def test_restoring_leaves_no_reference_to_files_that_are_gone(
        self, harness: Harness
    ) -> None:
        await stage(harness, TREE)
        shutil.rmtree(Path(harness.root, "one"))
        await restore(harness)
        await stage(harness, {})
        assert_unreferenced(harness)

    @pytest.mark.parametrize("seed", range(8))
    async def test_any_sequence_of_trees_and_mutations_ends_in_the_tree_that_was_asked_for(
        self, harness: Harness, seed: int
    ) -> None:
        rng = random.Random(seed)
        for _ in range(12):
            tree = random_tree(rng, depth=3)
            await stage(harness, tree)
            assert read_tree(harness.root) == tree
            for _ in range(rng.randrange(4)):
                mutate(rng, Path(harness.root))
            await restore(harness)
        await stage(harness, {})
        assert_unreferenced(harness)


def assert_modes(root: str) -> None:
    for path, _, _ in os.walk(root):
        assert os.stat(path).st_mode & 0o7777 == 0o755


def assert_unreferenced(harness: Harness) -> None:
    assert {file.references for file in harness.cache._files.values()} <= {0}


def random_tree(rng: random.Random, depth: int) -> Tree:
    tree: dict[str, Any] = {}
    for name in rng.sample("abcdef", rng.randrange(5)):
        content = f"{rng.randrange(4)}".encode()
        choices: list[Any] = [content, Executable(content), Link(f"to-{rng.randrange(3)}")]
        if depth:
            choices += [random_tree(rng, depth - 1)] * 2
        tree[name] = rng.choice(choices)
    return tree


def everything(root: Path) -> Iterator[Path]:
    for path, directories, files in os.walk(root):
        yield from (Path(path, name) for name in sorted((*directories, *files)))


def mutate(rng: random.Random, root: Path) -> None:
    """One thing that an action may do; some of them fail, as they may."""
    paths = [root, *everything(root)]
    one, other = rng.choice(paths), rng.choice(paths)
    kind = rng.randrange(6)
    try:
        if kind == 0:
            (one / f"new{rng.randrange(3)}").write_bytes(b"new")
        elif kind == 1:
            (one / f"dir{rng.randrange(3)}").mkdir()
        elif kind == 2 and one != root:
            shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()
        elif kind == 3 and one != root:
            one.rename(other / one.name)
        elif kind == 4:
            (one / "alias").symlink_to(other)
        elif one.is_dir() and not one.is_symlink():
            one.chmod(rng.choice((0o700, 0o755, 0o777)))
    except OSError:
        return
