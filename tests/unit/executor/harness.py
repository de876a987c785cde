"""Stages and runs actions in a real slot, with a store in memory."""

import os
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from reapi.clients.patient_blobs import PatientBlobStore
from reapi.core.digest import Digest
from reapi.core.errors import FailedPrecondition
from reapi.core.interfaces import BlobStore
from reapi.executor.action import Action
from reapi.executor.cgroups import Cgroups, remove_stale
from reapi.executor.images import Images
from reapi.executor.input_tree import InputTrees
from reapi.executor.limits import Limits
from reapi.executor.local_cache import LocalCache
from reapi.executor.roots import Roots, find_abilities
from reapi.executor.sandbox_choice import SandboxChoice, SandboxSetting, choose_sandbox
from reapi.executor.slot import Slot
from reapi.executor.work_area import WorkArea
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.reapi.worker.v1.worker_pb2 import Lease
from tests.fakes.memory_store import MemoryBlobStore


def _why_no_bubblewrap() -> str:
    """What this machine lacks, as far as bubblewrap itself says; empty when it lacks nothing."""
    command = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "bubblewrap is not installed"
    return done.stderr.strip() if done.returncode else ""


_LACK = _why_no_bubblewrap()
needs_bubblewrap = pytest.mark.skipif(bool(_LACK), reason=f"no bubblewrap: {_LACK}")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change uids")


@dataclass(frozen=True)
class Executable:
    data: bytes


@dataclass(frozen=True)
class Tool:
    """A file that is marked as a part of the tool that the action runs."""

    data: bytes


@dataclass(frozen=True)
class Link:
    target: str


Tree: TypeAlias = Mapping[str, "bytes | Executable | Tool | Link | Tree"]


def add_tree(store: MemoryBlobStore, tree: Tree) -> Digest:
    """Stores a tree with all its blobs; returns the digest of its root."""
    directory = re_pb2.Directory()
    for name, node in sorted(tree.items()):
        if isinstance(node, bytes):
            directory.files.add(name=name, digest=store.add(node).to_message())
        elif isinstance(node, Executable):
            digest = store.add(node.data).to_message()
            directory.files.add(name=name, digest=digest, is_executable=True)
        elif isinstance(node, Tool):
            file = directory.files.add(name=name, digest=store.add(node.data).to_message())
            file.node_properties.properties.add(name="bazel_tool_input")
        elif isinstance(node, Link):
            directory.symlinks.add(name=name, target=node.target)
        else:
            directory.directories.add(name=name, digest=add_tree(store, node).to_message())
    return store.add(directory.SerializeToString())


def read_tree(path: str) -> dict[str, Any]:
    """What is at `path`, in the form of a Tree; any executable bit makes an Executable."""
    found: dict[str, Any] = {}
    for entry in os.scandir(path):
        if entry.is_symlink():
            found[entry.name] = Link(os.readlink(entry.path))
        elif entry.is_dir():
            found[entry.name] = read_tree(entry.path)
        elif entry.is_file():
            data = Path(entry.path).read_bytes()
            is_executable = entry.stat().st_mode & 0o111
            found[entry.name] = Executable(data) if is_executable else data
        else:
            found[entry.name] = "special"
    return found


def add_lease(
    store: MemoryBlobStore,
    command: re_pb2.Command,
    tree: Tree | Digest,
    *,
    timeout_seconds: float = 60,
    platform: Mapping[str, str] | None = None,
) -> Lease:
    """A lease of an action that runs `command` in `tree`."""
    root = tree if isinstance(tree, Digest) else add_tree(store, tree)
    action = re_pb2.Action(
        command_digest=store.add(command.SerializeToString()).to_message(),
        input_root_digest=root.to_message(),
    )
    digest = store.add(action.SerializeToString())
    lease = Lease(digest_function=1, action_digest=digest.to_message(), action=action)
    for name, value in (platform or {}).items():
        lease.platform.properties.add(name=name, value=value)
    lease.key.operation_name = f"operations/{digest.hash[:8]}"
    lease.key.epoch = 1
    lease.timeout.FromMilliseconds(round(timeout_seconds * 1000))
    for name, value in (platform or {}).items():
        lease.platform.properties.add(name=name, value=value)
    return lease


def impatient(store: BlobStore) -> PatientBlobStore:
    """What takes the place of a patient one, and fails at once."""
    return PatientBlobStore(store, patience_seconds=0)


def processes_of(argument: str) -> list[str]:
    """Those of this machine that have it on their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(FileNotFoundError, ProcessLookupError):
            if argument in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                found.append(pid)
    return found


class Harness:
    """One slot with all that an action needs."""

    def __init__(
        self,
        cache: LocalCache,
        slot: Slot,
        trees: InputTrees,
        roots: Roots,
        *,
        has_separate_uid: bool,
    ) -> None:
        self.has_separate_uid = has_separate_uid
        self.store = MemoryBlobStore()
        self.cache = cache
        self.slot = slot
        self.trees = trees
        self.roots = roots
        self.starts = 0

    @property
    def root(self) -> str:
        return self.slot.tree.path

    def action(
        self, lease: Lease, store: BlobStore | None = None, *, patience_seconds: float = 60
    ) -> Action:
        """With the store of this harness unless another one is given."""
        patient = PatientBlobStore(store or self.store, patience_seconds=patience_seconds)
        return Action(lease, "worker-1", patient, self.trees, self.cache, self.roots)

    async def run_lease(self, lease: Lease) -> re_pb2.ExecuteResponse:
        action = self.action(lease)
        try:
            return await action.run(self.slot, self._started)
        finally:
            await self.slot.restore(action.started_ns)

    async def run(
        self,
        arguments: Sequence[str],
        tree: Tree | Digest | None = None,
        *,
        timeout_seconds: float = 60,
        platform: Mapping[str, str] | None = None,
        **command: Any,
    ) -> re_pb2.ExecuteResponse:
        message = re_pb2.Command(arguments=arguments, **command)
        lease = add_lease(
            self.store, message, tree or {}, timeout_seconds=timeout_seconds, platform=platform
        )
        return await self.run_lease(lease)

    async def sh(
        self, script: str, tree: Tree | Digest | None = None, **options: Any
    ) -> re_pb2.ExecuteResponse:
        return await self.run(["sh", "-c", script], tree, **options)

    def stdout(self, response: re_pb2.ExecuteResponse) -> str:
        return self._log(response.result.stdout_digest)

    def stderr(self, response: re_pb2.ExecuteResponse) -> str:
        return self._log(response.result.stderr_digest)

    def _log(self, digest: re_pb2.Digest) -> str:
        return (
            self.store.blobs[Digest(digest.hash, digest.size_bytes)].decode() if digest.hash else ""
        )

    def _started(self) -> None:
        self.starts += 1


def new_cgroups(work_area: Path, limits: Limits) -> Cgroups:
    """Those of a work area that has begun: what a killed executor left may bear its name, since the
    numbers of directories come back."""
    remove_stale(work_area)
    return Cgroups(work_area, limits)


async def _choice(
    setting: SandboxSetting, directory: Path, paths: Sequence[str], *, separate_uid: bool
) -> SandboxChoice:
    try:
        return await choose_sandbox(setting, directory, paths, separate_uid=separate_uid)
    except FailedPrecondition as error:
        pytest.skip(error.message)


@asynccontextmanager
async def open_harness(
    directory: Path,
    *,
    separate_uid: bool,
    max_size_bytes: int = 1 << 30,
    sandbox: SandboxSetting = "none",
    sandbox_paths: Sequence[str] = (),
    limits: Limits | None = None,
    cgroups: Cgroups | None = None,
    persistent_worker_idle_seconds: float = 0,
) -> AsyncIterator[Harness]:
    """Skips the test when the `sandbox` does not work here."""
    area = WorkArea(directory / "cache")
    trees = InputTrees()
    try:
        choice = await _choice(sandbox, area.sandbox, sandbox_paths, separate_uid=separate_uid)
        async with (
            LocalCache(area.files, max_size_bytes) as cache,
            Images(area.images, trees, cache) as images,
            Slot(
                area.slots / "0",
                cache,
                separate_uid=separate_uid,
                bubblewrap=choice.bubblewrap,
                limits=limits,
                cgroups=cgroups,
                persistent_worker_idle_seconds=persistent_worker_idle_seconds,
            ) as slot,
        ):
            roots = Roots(find_abilities(choice, area.sandbox), images)
            yield Harness(cache, slot, trees, roots, has_separate_uid=separate_uid)
    finally:
        area.close()
