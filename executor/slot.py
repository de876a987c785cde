"""One place where actions run, one after the other: directories, staged input root, runner.

SLOT/root    the input root
SLOT/tmp     the command's TMPDIR, empty at its start; its /tmp in a sandbox
SLOT/warm    the same for a persistent worker, for as long as it lives
SLOT/trash   what is being removed; no action can reach it
"""

import os
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

from reapi.core.uninterrupted import uninterrupted
from reapi.protos.reapi.executor.v1.isolation_pb2 import Isolation

from .action_uid import ActionUid
from .cgroups import Cgroups
from .command import DEFAULT_PATH, PreparedCommand
from .device_nodes import make_devices, remove_devices
from .limits import Limits
from .local_cache import LocalCache, LocalFile
from .persistent_worker import PersistentWorker
from .persistent_workers import PersistentWorkers
from .root_enclosure import with_root
from .roots import Root
from .run_outcome import RunOutcome
from .runner import Runner
from .sandbox import TEMPORARY, Bubblewrap, Enclosure
from .staged_tree import StagedTree
from .trash import Trash
from .work_request import Work

_FOR_EVER_SECONDS = 1e9

_MOST_SPARE_DIRECTORIES = 2_000


class Slot:
    """An async context manager; `directory` does not exist before it.

    With `separate_uid` actions run under a uid of their own, which no other slot has. With
    `bubblewrap` each runs in an enclosure, without it they see what the executor sees. They are
    held to `limits`, by means of the cgroup that `cgroups` make for `directory`.
    """

    def __init__(
        self,
        directory: Path,
        cache: LocalCache,
        *,
        separate_uid: bool,
        bubblewrap: Bubblewrap | None = None,
        limits: Limits | None = None,
        cgroups: Cgroups | None = None,
        persistent_worker_idle_seconds: float = 0,
    ) -> None:
        self.limits = limits or Limits()
        self._cgroups = cgroups
        self._directory = directory
        self._bubblewrap = bubblewrap
        self._cache = cache
        self._uid = ActionUid() if separate_uid else None
        self._stack = AsyncExitStack()
        temporary = TEMPORARY if bubblewrap else str(directory / "tmp")
        self.default_environment = {"PATH": DEFAULT_PATH, "TMPDIR": temporary}
        self.persistent_workers = PersistentWorkers(persistent_worker_idle_seconds)
        self.tree: StagedTree
        self.runner: Runner
        self._trash: Trash

    async def __aenter__(self) -> Self:
        uid = self._uid.number if self._uid else None
        if self._uid:
            self._stack.callback(self._uid.release)
        self._directory.mkdir(mode=0o710)
        self._directory.chmod(0o710)
        if uid is not None:
            os.chown(self._directory, -1, uid)
        (self._directory / "trash").mkdir(mode=0o700)
        trash = self._trash = Trash(self._directory / "trash", _MOST_SPARE_DIRECTORIES)
        self.tree = StagedTree(str(self._directory / "root"), uid, self._cache, trash)
        self._temporary = StagedTree(str(self._directory / "tmp"), uid, self._cache, trash)
        self._warm = StagedTree(str(self._directory / "warm"), uid, self._cache, trash)
        self.runner = await self._stack.enter_async_context(self._open_runner())
        self._stack.push_async_callback(self.persistent_workers.end)
        return self

    @asynccontextmanager
    async def _open_runner(self, conversation: int | None = None) -> AsyncIterator[Runner]:
        """A runner of this slot, in a cgroup of its own: one for actions, and one that is spoken
        to, for a persistent worker."""
        name = self._directory.name if conversation is None else f"{self._directory.name}-warm"
        cgroup = self._cgroups.slot(name) if self._cgroups else None
        try:
            async with Runner(
                self._directory,
                self._uid.number if self._uid else None,
                self._bubblewrap.program if self._bubblewrap else None,
                self.limits,
                cgroup,
                conversation,
            ) as runner:
                yield runner
        finally:
            if cgroup:
                cgroup.close()

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def run(
        self,
        command: PreparedCommand,
        root: Root,
        timeout_seconds: float,
        booked: Mapping[str, int],
        *,
        network: bool = False,
    ) -> RunOutcome:
        """Runs a command in the input root that is staged; see Runner.run.

        Without bubblewrap it has the network of the executor, whatever `network` says. What was
        made to mount upon and would be seen among the outputs is gone afterwards.
        """
        await self.persistent_workers.end()
        try:
            if self._bubblewrap is not None:
                enclosure = self._enclosure(self._bubblewrap, root, network=network)
                return await self.runner.run(
                    command.arguments,
                    command.environment,
                    enclosure.working_directory(command.working_directory),
                    timeout_seconds,
                    enclosure=enclosure,
                    booked=booked,
                )
            if root.mounts is not None:
                return await self._run_in_root(command, timeout_seconds, booked)
            return await self.runner.run(
                command.arguments,
                command.environment,
                "/".join((self.tree.path, *command.working_directory)),
                timeout_seconds,
                booked=booked,
            )
        finally:
            for name in root.mounts.hidden if root.mounts else ():
                self._trash.take(f"{self.tree.path}/{name}")

    def _enclosure(self, bubblewrap: Bubblewrap, root: Root, *, network: bool) -> Enclosure:
        enclosure = Enclosure(
            root=bubblewrap.host_tools,
            input_root=self.tree.path,
            temporary=self._temporary.path,
            network=network,
            is_root=self._uid is None and os.geteuid() == 0,
        )
        return with_root(enclosure, root)

    async def _run_in_root(
        self, command: PreparedCommand, timeout_seconds: float, booked: Mapping[str, int]
    ) -> RunOutcome:
        """Without bubblewrap the command gets its root by chroot."""
        environment = dict(command.environment)
        if environment["TMPDIR"] == self.default_environment["TMPDIR"]:
            environment["TMPDIR"] = TEMPORARY
        devices = make_devices(self.tree.path)
        try:
            return await self.runner.run(
                command.arguments,
                environment,
                "/" + "/".join(command.working_directory),
                timeout_seconds,
                root=self.tree.path,
                booked=booked,
            )
        finally:
            remove_devices(self.tree.path, devices)

    def can_work(self, root: Root) -> bool:
        """Whether `work` is possible for a command with that root file system."""
        has_host_tools = root.mounts is None and root.image is None
        return has_host_tools and self.persistent_workers.idle_seconds > 0

    async def work(
        self,
        command: PreparedCommand,
        root: Root,
        work: Work,
        timeout_seconds: float,
        *,
        network: bool = False,
    ) -> RunOutcome:
        """Has a persistent worker do `work`, in the input root that is staged; as `run`.

        Raises WorkerFailed: what it did to the tree is then to be undone.
        """
        self.runner.stdout.clear()
        self.runner.stderr.clear()
        # A tree that was made anew is another directory to a process that is in it.
        place = os.stat(self.tree.path).st_ino
        outcome, output = await self.persistent_workers.run(
            (work.key, place),
            lambda: self._persistent_worker(command, root, work, network=network),
            work.request,
            timeout_seconds,
        )
        self.runner.stderr.write(output.encode())
        return outcome

    @asynccontextmanager
    async def _persistent_worker(
        self, command: PreparedCommand, root: Root, work: Work, *, network: bool
    ) -> AsyncIterator[PersistentWorker]:
        environment = dict(command.environment)
        enclosure = None
        if self._bubblewrap is not None:
            enclosure = replace(
                self._enclosure(self._bubblewrap, root, network=network), temporary=self._warm.path
            )
            directory = enclosure.working_directory(command.working_directory)
        else:
            directory = "/".join((self.tree.path, *command.working_directory))
            if environment["TMPDIR"] == self._temporary.path:
                environment["TMPDIR"] = self._warm.path
        started_ns = time.time_ns()

        async def start(runner: Runner) -> RunOutcome:
            return await runner.run(
                work.key.startup, environment, directory, _FOR_EVER_SECONDS, enclosure
            )

        try:
            async with PersistentWorker(self._open_runner, start) as worker:
                yield worker
        finally:
            await uninterrupted(self._warm.restore(started_ns))

    def suitability(self, input_root_hash: str, client_key: str | None) -> tuple[bool, bool]:
        """Greater for a slot that has more of what an action needs, or loses less by it.

        A persistent worker comes first, for it costs most to start; then the input root.
        """
        directory = self.tree.directory
        return (
            self.persistent_workers.client_key == client_key,
            directory is not None and directory.digest.hash == input_root_hash,
        )

    def isolation(self, root: Root, *, network: bool) -> Isolation:
        """What `run` keeps a command apart from, for the metadata of its result."""
        if self._bubblewrap is None:
            return Isolation(sandbox="none", network=True, root=root.label("host"))
        return Isolation(sandbox="bubblewrap", network=network, root=root.label("host tools"))

    def keep(self, files: Iterable[LocalFile]) -> None:
        """Files of the action that has ended may go to the cache, if no action can alter them."""
        if self._uid:
            self._cache.adopt(files)

    async def restore(self, started_ns: int) -> None:
        """Undoes what the action that began at `started_ns` did to the slot's directories."""
        await self.tree.restore(started_ns)
        await self._temporary.restore(started_ns)
