"""Writes small files in the plainest way: what fetching and collecting are measured against."""

import os
import time
from collections.abc import Sequence
from pathlib import Path


def write_files(folder: Path, blobs: Sequence[bytes]) -> float:
    """Makes `folder` with a file of each; the milliseconds that the files took.

    They stay there: ext4 is slow at making files after many were deleted.
    """
    folder.mkdir()
    paths = [f"{folder}/{number}" for number in range(len(blobs))]
    started = time.perf_counter()
    for path, data in zip(paths, blobs, strict=True):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, data)
        os.close(fd)
    return 1000 * (time.perf_counter() - started)
