"""No output makes the executor read what lies outside of the input root, or wait for ever (S6)."""

import errno
import itertools
import os
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reapi.core.digest import SHA256, Digest
from reapi.core.errors import FailedPrecondition, ReapiError
from reapi.executor import output_blobs
from reapi.executor.command import DeclaredOutput
from reapi.executor.output_blobs import OutputBlobs
from reapi.executor.outputs import collect_outputs
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.memory_store import MemoryBlobStore
from tests.unit.executor.harness import Harness, impatient, needs_root

SECRET = b"of the executor alone"
ENVIRONMENT = Path("/proc/self/environ").read_bytes()
LARGE = output_blobs._HELD_FILE_BYTES + 1


@pytest.fixture
def bait(reachable_path: Path) -> Path:
    """A directory outside of all input roots, with the names of the outputs."""
    bait = reachable_path / "bait"
    (bait / "sub").mkdir(parents=True)
    for name in ("config.toml", "file", "sub/file", "sub/large"):
        (bait / name).write_bytes(SECRET)
    return bait


@pytest.mark.parametrize(
    "target", ["{bait}/config.toml", "../../../../bait/config.toml", "/proc/self/environ"]
)
async def test_reliability_S6_a_link_out_of_the_root_is_a_link_and_nothing_is_read(
    harness: Harness, bait: Path, target: str
) -> None:
    target = target.format(bait=bait)
    response = await harness.sh(
        f"ln -s {target} link; mkdir tree; ln -s {target} tree/link", output_paths=["link", "tree"]
    )
    assert response.status.code == 0
    assert [link.target for link in response.result.output_symlinks] == [target]
    secrets = (SECRET, ENVIRONMENT)
    assert not set(secrets) & set(harness.store.blobs.values())


@pytest.mark.parametrize("path", ["way/file", "way/sub/file", "tree"])
async def test_reliability_S6_a_directory_that_became_a_link_out_of_the_root_is_not_entered(
    harness: Harness, bait: Path, path: str
) -> None:
    script = f"rm -rf way; ln -s {bait} way; ln -s way/sub tree"
    response = await harness.sh(script, output_paths=[path])
    if path == "tree":
        assert response.result.output_symlinks[0].target == "way/sub"
    else:
        assert "leads out of the input root" in response.status.message
    assert SECRET not in harness.store.blobs.values()


def exchange(path: Path, make: Callable[[Path], object]) -> None:
    path.rename(path.with_name("moved"))
    make(path)


SWAPS: dict[str, Callable[[Path, Path], object]] = {
    "the output directory for a link": lambda root, bait: exchange(
        root / "tree", lambda path: path.symlink_to(bait)
    ),
    "a directory in it for a link": lambda root, bait: exchange(
        root / "tree" / "sub", lambda path: path.symlink_to(bait / "sub")
    ),
    "a file in it for a link": lambda root, bait: exchange(
        root / "tree" / "sub" / "file", lambda path: path.symlink_to(bait / "file")
    ),
    "a large file in it for a link": lambda root, bait: exchange(
        root / "tree" / "sub" / "large", lambda path: path.symlink_to(bait / "file")
    ),
    "a file in it for a FIFO": lambda root, bait: exchange(
        root / "tree" / "sub" / "file", os.mkfifo
    ),
    "the parent of an output for a link": lambda root, bait: exchange(
        root / "way", lambda path: path.symlink_to(bait)
    ),
    "the parent of an output for a link upwards": lambda root, bait: exchange(
        root / "way", lambda path: path.symlink_to("../bait")
    ),
    "an output file for a link": lambda root, bait: exchange(
        root / "way" / "file", lambda path: path.symlink_to(bait / "file")
    ),
}


class CuriousStore(MemoryBlobStore):
    """Remembers all that it was ever sent, be it refused."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def _write(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        self.sent += blobs.values()
        return super()._write(blobs)


class Swapper:
    """Does `swap` just before call `number` of those that reading outputs consists of."""

    def __init__(self, patch: pytest.MonkeyPatch, swap: Callable[[], object], number: int) -> None:
        self.has_swapped = False
        self._swap = swap
        self._calls_left = number
        for name in ("open", "stat", "fstat", "scandir", "readlink", "dup", "pread"):
            patch.setattr(os, name, self._watched(getattr(os, name)))

    def _watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self._calls_left -= 1
            if self._calls_left < 0 and not self.has_swapped:
                self.has_swapped = True
                self._swap()
            return function(*arguments, **options)

        return call


def make_outputs(root: Path) -> Path:
    (root / "tree" / "sub").mkdir(parents=True)
    (root / "way").mkdir()
    for name in ("tree/file", "tree/sub/file", "way/file"):
        (root / name).write_text("right")
    (root / "tree" / "sub" / "large").write_bytes(bytes(LARGE))
    return root


async def collect_while_swapping(
    root: Path, swap: Callable[[], object], number: int
) -> tuple[CuriousStore, bool]:
    """Where it all went when `swap` is done before that call, and whether there were so many."""
    store = CuriousStore()
    outputs = [DeclaredOutput(path, tuple(path.split("/")), "any") for path in ("tree", "way/file")]
    with pytest.MonkeyPatch.context() as patch:
        swapper = Swapper(patch, swap, number)
        async with OutputBlobs(SHA256) as blobs:
            with suppress(ReapiError):  # a refusal is as good
                collect_outputs(str(root), outputs, re_pb2.Command.TREE_ONLY, [], blobs, 1 << 30)
                await blobs.upload(impatient(store))
    return store, swapper.has_swapped


@pytest.mark.parametrize("swap", SWAPS)
async def test_reliability_S6_a_swap_during_collection_leaks_no_file(
    bait: Path, monkeypatch: pytest.MonkeyPatch, swap: str
) -> None:
    """At whichever moment it comes. Files are read once to be hashed, and again to be sent."""
    monkeypatch.setattr(output_blobs, "_HELD_BYTES", 0)
    for number in itertools.count():
        root = make_outputs(bait.parent / f"root-{number}")
        store, has_swapped = await collect_while_swapping(
            root, partial(SWAPS[swap], root, bait), number
        )
        assert SECRET not in store.sent, f"leaked by a swap before call {number}"
        if not has_swapped:
            break
    assert number > 30
    assert b"right" in store.blobs.values()


def collect(root: Path, path: str) -> re_pb2.ActionResult:
    output = DeclaredOutput(path, tuple(path.split("/")), "any")
    blobs = OutputBlobs(SHA256)
    return collect_outputs(str(root), [output], re_pb2.Command.TREE_ONLY, [], blobs, 1 << 30)[0]


@pytest.fixture
def special(tmp_path: Path) -> Iterator[Path]:
    """A root with a socket in a directory."""
    (tmp_path / "tree").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "tree" / "odd"))
        yield tmp_path


@pytest.mark.parametrize("path", ["tree/odd", "tree"])
async def test_IN8_a_socket_is_refused_by_name(special: Path, path: str) -> None:
    with pytest.raises(FailedPrecondition, match="'tree/odd' is a socket"):
        collect(special, path)


@needs_root
@pytest.mark.parametrize(
    ("kind", "name"), [(stat.S_IFCHR, "a character device"), (stat.S_IFBLK, "a block device")]
)
async def test_IN8_a_device_is_refused_by_name(tmp_path: Path, kind: int, name: str) -> None:
    try:
        os.mknod(tmp_path / "odd", kind | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("no device can be made here")
    with pytest.raises(FailedPrecondition, match=f"'odd' is {name}"):
        collect(tmp_path, "odd")


async def test_an_output_that_cannot_be_read_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").write_text("x")
    really_open = os.open

    def refuse(path: str, *arguments: Any, **options: Any) -> int:
        if path == "out":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return really_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FailedPrecondition, match="'out' cannot be read: Permission denied"):
        collect(tmp_path, "out")
