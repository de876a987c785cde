"""Whatever an action does to an input file, the next action gets the right one (S7)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reapi.core.digest import digest_of
from reapi.executor.cached_file import CachedFile, FileKey
from reapi.executor.slot import Slot
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.unit.executor.harness import Harness, Tree, add_lease, needs_root

TREE: Tree = {"sub": {"in": b"data\n"}, "other": b"other\n"}
KEY = FileKey(digest_of(b"data\n"), False)
SHOW = "cat sub/in; stat -c '%a %Y' sub/in"
AS_FETCHED = "data\n444 946684800\n"

ALTERATIONS = {
    "writes to it": "echo evil >> sub/in",
    "empties it": ": > sub/in",
    "changes its mode": "chmod 777 sub/in",
    "sets its time": "touch sub/in",
    "writes as much, and sets mode and time back": (
        "echo evil > sub/in; chmod 444 sub/in; touch -d @946684800 sub/in"
    ),
    "writes to it by another link": "ln sub/in hard; echo evil > hard; rm hard",
    "writes to it and removes it": "echo evil >> sub/in; rm sub/in",
    "writes to it and puts a copy in its place": (
        "cp -p sub/in copy; echo evil > sub/in; mv -f copy sub/in"
    ),
    "writes to it and moves it": "echo evil > sub/in; mv sub/in elsewhere",
    "writes to it and removes its directory": "echo evil > sub/in; rm -r sub",
    "writes to it and locks up its directory": "echo evil > sub/in; chmod 0 sub",
    "writes to it and puts a link in place of its directory": (
        "echo evil > sub/in; mv sub moved; ln -s moved sub"
    ),
}


def content(file: CachedFile) -> bytes:
    return Path(file.path).read_bytes()


@pytest.mark.parametrize("alteration", ALTERATIONS)
async def test_reliability_S7_the_cached_file_is_right_after_an_action_that(
    harness: Harness, alteration: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With a uid of its own it could not alter it; without one this is noticed and reported."""
    assert harness.stdout(await harness.sh(SHOW, TREE)) == AS_FETCHED
    (before,) = await harness.cache.acquire([KEY], harness.store)
    inode = before.inode
    script = f"chmod u+w sub/in; {ALTERATIONS[alteration]}; true"
    await harness.sh(script, TREE)
    harness.cache.release([before])
    response = await harness.sh(SHOW, TREE)
    assert harness.stdout(response) == AS_FETCHED
    (after,) = await harness.cache.acquire([KEY], harness.store)
    assert content(after) == b"data\n"
    if harness.has_separate_uid:
        assert (after, after.inode, harness.cache.damaged_count) == (before, inode, 0)
    else:
        assert (after is before, harness.cache.damaged_count) == (False, 1)
        assert f"altered the input file {KEY.digest}" in caplog.text
    harness.cache.release([after])


@pytest.mark.parametrize("harmless", ["rm sub/in", "echo new > new; mv -f new sub/in", "rm -r sub"])
async def test_reliability_S7_a_file_that_is_only_removed_or_replaced_is_kept(
    harness: Harness, harmless: str
) -> None:
    await harness.sh(harmless, TREE)
    assert harness.cache.damaged_count == 0
    assert harness.stdout(await harness.sh(SHOW, TREE)) == AS_FETCHED
    assert KEY in harness.cache


async def test_reliability_S7_an_altered_file_leaves_other_slots_too(harness: Harness) -> None:
    directory = Path(harness.root).parent.parent / "1"
    async with Slot(directory, harness.cache, separate_uid=harness.has_separate_uid) as other:
        first = harness.slot
        await harness.sh("true", TREE)
        harness.slot = other
        await harness.sh("chmod u+w sub/in; echo evil > sub/in; true", TREE)
        harness.slot = first
        assert harness.stdout(await harness.sh(SHOW, TREE)) == AS_FETCHED


async def test_reliability_S7_files_are_not_dropped_because_other_slots_link_them(
    harness: Harness,
) -> None:
    """A link changes a file's time of change, as an alteration does."""
    directory = Path(harness.root).parent.parent / "1"
    async with Slot(directory, harness.cache, separate_uid=harness.has_separate_uid) as other:
        lease = add_lease(harness.store, re_pb2.Command(arguments=["true"]), TREE)
        action = harness.action(lease)
        await action.run(harness.slot, lambda: None)
        root = await harness.trees.load(
            harness.slot.tree.directory.digest, {}, harness.store, harness.cache
        )
        await other.tree.stage(root, {}, harness.store)
        await harness.slot.restore(action.started_ns)
    assert harness.cache.damaged_count == 0
    assert harness.slot.tree.directory is root


async def test_reliability_S7_a_link_that_leads_out_is_not_followed_to_a_file_that_is_dropped(
    harness: Harness, reachable_path: Path
) -> None:
    bait = reachable_path / "bait"
    bait.mkdir()
    (bait / "in").write_text("bait")
    bait.chmod(0o777)
    await harness.sh(
        f"chmod u+w sub/in; echo evil > sub/in; mv sub moved; ln -s {bait} sub; true", TREE
    )
    assert harness.stdout(await harness.sh(SHOW, TREE)) == AS_FETCHED
    assert (bait / "in").read_text() == "bait"


async def test_reliability_S7_cached_files_that_are_gone_are_fetched_again(
    harness: Harness,
) -> None:
    """Only an action with the rights of the executor can remove them."""
    await harness.sh("true", TREE)
    for name in os.listdir(harness.cache.directory):
        os.unlink(f"{harness.cache.directory}/{name}")
    await harness.sh("true", {"new": b"new"})
    assert harness.stdout(await harness.sh(SHOW, TREE)) == AS_FETCHED


@contextmanager
def links_refused() -> Iterator[None]:
    """For a while, files are copied because they cannot be linked."""
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(18, os.strerror(18))

        patch.setattr("os.link", refuse)
        yield


async def test_reliability_S7_an_altered_copy_is_found_like_a_link(harness: Harness) -> None:
    with links_refused():
        await harness.sh("true", TREE)
    await harness.sh("chmod u+w sub/in; echo evil > sub/in; true", TREE)
    assert harness.stdout(await harness.sh(SHOW, TREE)) == AS_FETCHED


@needs_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_reliability_S7_holds_for_an_executor_without_any_capability(tmp_path: Path) -> None:
    """Who is root without capabilities has the rights of an owner, as any user has."""
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
    pytest_here = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider"]
    tests = [__file__, "-k", "same-uid", f"--basetemp={tmp_path / 'child'}"]
    child = subprocess.run([*drop, *pytest_here, *tests], capture_output=True, text=True)
    assert child.returncode == 0, child.stdout
    assert f"{len(ALTERATIONS) + 8} passed" in child.stdout
