"""The local side of a download: files appear whole, below the target directory only."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from reapi.core.errors import FailedPrecondition


class Destination:
    """Makes files, directories and symlinks below `root`; blocks, for use in a thread.

    What is there already is replaced, but a directory only by itself. No symlink below the root is
    ever followed. Raises FailedPrecondition when something is in the way. Paths given are checked
    already (paths.py).
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._real_directories: set[str] = set()

    def make_directory(self, path: str) -> None:
        """Makes a directory and its parents; "" is the root itself."""
        if path in self._real_directories:
            return
        absolute = os.path.join(self._root, path)
        if not path:
            with _explained(self._root, ""):
                os.makedirs(self._root, exist_ok=True)
        else:
            self.make_directory(os.path.dirname(path))
            with _explained(self._root, path), suppress(FileExistsError):
                os.mkdir(absolute)
            if os.path.islink(absolute):
                raise FailedPrecondition(f"refused to write through the symlink {absolute}")
            if not os.path.isdir(absolute):
                raise FailedPrecondition(f"cannot make {absolute}: a file is in the way")
        self._real_directories.add(path)

    @contextmanager
    def new_file(self, path: str, *, is_executable: bool) -> Iterator[BinaryIO]:
        """A file to write, which gets its name when the block ends well and vanishes if not."""
        self.make_directory(os.path.dirname(path))
        temporary = self._temporary(path)
        mode = 0o777 if is_executable else 0o666
        with _explained(self._root, path):
            fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
            try:
                with os.fdopen(fd, "wb") as file:
                    yield file
                os.replace(temporary, os.path.join(self._root, path))
            except BaseException:
                os.unlink(temporary)
                raise

    def make_symlink(self, path: str, target: str) -> None:
        """Makes a symlink, in place of what had its name."""
        self.make_directory(os.path.dirname(path))
        temporary = self._temporary(path)
        with _explained(self._root, path):
            os.symlink(target, temporary)
            try:
                os.replace(temporary, os.path.join(self._root, path))
            except BaseException:
                os.unlink(temporary)
                raise

    def _temporary(self, path: str) -> str:
        name = f".reapi-{secrets.token_hex(8)}"
        return os.path.join(self._root, os.path.dirname(path), name)


@contextmanager
def _explained(root: Path, path: str) -> Iterator[None]:
    """Says for people why the file system refused."""
    try:
        yield
    except OSError as error:
        place = os.path.join(root, path) if path else str(root)
        reason = "a directory is in the way" if isinstance(error, IsADirectoryError) else error
        raise FailedPrecondition(f"cannot write {place}: {reason}") from error
