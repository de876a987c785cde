"""Removes directories that an action may have made, however deep or forbidding they are."""

import os
import stat
from pathlib import Path


class Trash:
    """A directory on the same file system, out of reach of actions, in which things perish.

    Nothing that `take` is given may be in use by a living process.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self._taken = 0
        self._waiting: list[str] = []

    def take(self, path: str) -> None:
        """Whatever is at `path`, if anything is, is gone from there at once."""
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(mode):
            os.unlink(path)
            return
        self._taken += 1
        target = f"{self._directory}/{self._taken}"
        os.chmod(path, 0o700)  # one that is not writable cannot be moved
        os.rename(path, target)
        self._waiting.append(target)

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    def empty(self) -> None:
        """Removes the directories that were taken. Blocks for as long as that takes.

        Directories inside come up one by one, so no depth exhausts paths, descriptors or the stack.
        """
        while self._waiting:
            path = self._waiting.pop()
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        self.take(entry.path)
                    else:
                        os.unlink(entry.path)
            os.rmdir(path)
