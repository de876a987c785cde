"""One place where actions run, one after the other: directories, staged input root, runner.

SLOT/root    the input root
SLOT/tmp     the command's TMPDIR, empty at its start
SLOT/trash   what is being removed; no action can reach it
"""

import os
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from .action_uid import ActionUid
from .command import DEFAULT_PATH
from .local_cache import LocalCache, LocalFile
from .runner import Runner
from .staged_tree import StagedTree
from .trash import Trash


class Slot:
    """An async context manager; `directory` does not exist before it.

    With `separate_uid` actions run under a uid of their own, which no other slot has.
    """

    def __init__(self, directory: Path, cache: LocalCache, *, separate_uid: bool) -> None:
        self._directory = directory
        self._cache = cache
        self._uid = ActionUid() if separate_uid else None
        self._stack = AsyncExitStack()
        self.default_environment = {"PATH": DEFAULT_PATH, "TMPDIR": str(directory / "tmp")}
        self.tree: StagedTree
        self.runner: Runner

    async def __aenter__(self) -> Self:
        uid = self._uid.number if self._uid else None
        if self._uid:
            self._stack.callback(self._uid.release)
        self._directory.mkdir(mode=0o710)
        self._directory.chmod(0o710)
        if uid is not None:
            os.chown(self._directory, -1, uid)
        (self._directory / "trash").mkdir(mode=0o700)
        trash = Trash(self._directory / "trash")
        self.tree = StagedTree(str(self._directory / "root"), uid, self._cache, trash)
        self._temporary = StagedTree(str(self._directory / "tmp"), uid, self._cache, trash)
        self.runner = await self._stack.enter_async_context(Runner(self._directory, uid))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def keep(self, files: Iterable[LocalFile]) -> None:
        """Files of the action that has ended may go to the cache, if no action can alter them."""
        if self._uid:
            self._cache.adopt(files)

    async def restore(self, started_ns: int) -> None:
        """Undoes what the action that began at `started_ns` did to the slot's directories."""
        await self.tree.restore(started_ns)
        await self._temporary.restore(started_ns)
