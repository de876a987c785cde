"""The directory that an executor owns, cleared of what an earlier life left there."""

import fcntl
import os
from pathlib import Path

from reapi.core.errors import FailedPrecondition

from .block_groups import make_directory_apart
from .cgroups import remove_stale
from .former_life import end_former_life
from .trash import Trash


class WorkArea:
    """Holds `directory` for this process alone until `close`, or the process, ends.

    The attributes are directories in it, all but `completions` empty; `files` has another name in
    each life.

    Opening ends what an earlier life has running there, and removes `files`, `slots`, `sandbox` and
    `images` in it, and nothing else, which blocks for as long as that takes. Raises
    FailedPrecondition when another executor uses the directory, or something there cannot be ended.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        files = directory / "files"
        self.slots = directory / "slots"
        self.completions = directory / "completions"
        self.sandbox = directory / "sandbox"
        self.images = directory / "images"
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            end_former_life(directory)
            remove_stale(directory)
            self._clear(directory / "trash", files)
            self.files = make_directory_apart(files)
        except BlockingIOError as error:
            os.close(self._lock)
            raise FailedPrecondition(
                f"another executor uses {directory}; give each its own cache_dir"
            ) from error
        except BaseException:
            os.close(self._lock)
            raise

    def _clear(self, trash_directory: Path, files: Path) -> None:
        trash_directory.mkdir(mode=0o700, exist_ok=True)
        trash = Trash(trash_directory)
        leftovers = [*trash_directory.iterdir(), files, self.slots, self.sandbox, self.images]
        for leftover in leftovers:
            trash.take(str(leftover))
        trash.empty()
        files.mkdir(mode=0o700)
        for directory in (self.slots, self.sandbox, self.images):
            directory.mkdir()
            directory.chmod(0o711)
        self.completions.mkdir(mode=0o700, exist_ok=True)

    def close(self) -> None:
        os.close(self._lock)
