"""Removes directories that an action may have made, however deep or forbidding they are."""

import errno
import os
import stat
from pathlib import Path

_LARGEST_SPARE_BYTES = 16 << 10
"""A directory that once had many entries stays large, and slow to look through."""


class Trash:
    """A directory on the same file system, out of reach of actions, in which things perish.

    Up to `most_spares` directories are kept, empty, to be used again: a file system that has just
    deleted many can take a millisecond to make one, for ext4 passes over each inode deleted lately.
    Nothing that `take` is given may be in use by a living process.
    """

    def __init__(self, directory: Path, most_spares: int = 0) -> None:
        self._directory = str(directory)
        self._most_spares = most_spares
        self._taken = 0
        self._waiting: list[str] = []
        self._spares: list[str] = []

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
            if len(self._spares) < self._most_spares and _is_as_new(path):
                self._spares.append(path)
            else:
                os.rmdir(path)

    def make_directory(self, path: str) -> None:
        """Makes `path`, which is not there yet, of a spare one if there is one.

        Its owner and mode are anything.
        """
        if self._spares:
            os.rename(self._spares.pop(), path)
        else:
            os.mkdir(path)


def has_attributes(path: str) -> bool:
    """Whether a directory has extended attributes or access lists that an action can have given."""
    try:
        attributes = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return False
    return any(name.startswith(("user.", "system.")) for name in attributes)


def _is_as_new(path: str) -> bool:
    return os.lstat(path).st_size <= _LARGEST_SPARE_BYTES and not has_attributes(path)
